"""Errors of the HTTP server, and one table that maps them to status, error type and metric label.

InputError and TooLongError of the package are in the table too, as is Starlette's ClientDisconnect,
which is raised when a client disconnects in the middle of its body.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from isobatch.errors import InputError, IsobatchError, TooLongError


class RequestError(IsobatchError):
    """A request that fails; the message is sent to the client."""


class EmptyRequestError(RequestError):
    """The request contains no text."""


class TooManyTextsError(RequestError):
    """The request contains more texts than `max_client_batch_size`."""


class InvalidBodyError(RequestError):
    """The body is not JSON, or does not match the route's schema."""


class MediaTypeError(RequestError):
    """The body is not declared as uncompressed application/json."""


class BodyTooLargeError(RequestError):
    """The body exceeds `payload_limit`."""


class BodyTimeoutError(RequestError):
    """The body was not complete within `body_seconds`."""


class UnknownModelError(RequestError):
    """The requested model is not the one that is served."""


class WrongTaskError(RequestError):
    """The route does not support the served model."""


class ComputeError(RequestError):
    """The model failed; the request may have been valid."""


class OverloadedError(RequestError):
    """The maximum number of concurrent requests is reached."""


class UnhealthyError(RequestError):
    """The server does not accept requests."""


class ShuttingDownError(UnhealthyError):
    """The server does not accept requests because it is shutting down."""


class UnauthorizedError(RequestError):
    """The API key is missing or wrong."""


class DisconnectedError(RequestError):
    """The client disconnected before its response was ready."""


ErrorType = Literal[
    "Validation",
    "Tokenizer",
    "Backend",
    "Overloaded",
    "Empty",
    "Unhealthy",
    "Unauthorized",
    "NotFound",
    "MethodNotAllowed",
    "Timeout",
    "Dropped",
]
"""text-embeddings-inference's types, and our own where it sends no body."""


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """How an error is reported; `label` is TEI's `err` label of te_request_failure."""

    status: int
    error_type: ErrorType
    label: str
    headers: Mapping[str, str] = field(default_factory=dict)


CLOSE = {"connection": "close"}
UNEXPECTED = ErrorCode(500, "Backend", "inference")

ERROR_CODES: dict[type[Exception], ErrorCode] = {
    EmptyRequestError: ErrorCode(400, "Empty", "validation"),
    UnauthorizedError: ErrorCode(
        401, "Unauthorized", "unauthorized", {"www-authenticate": "Bearer"}
    ),
    UnknownModelError: ErrorCode(404, "NotFound", "validation"),
    BodyTimeoutError: ErrorCode(408, "Timeout", "validation", CLOSE),
    BodyTooLargeError: ErrorCode(413, "Validation", "payload_size", CLOSE),
    MediaTypeError: ErrorCode(415, "Validation", "validation"),
    InvalidBodyError: ErrorCode(422, "Validation", "validation"),
    TooManyTextsError: ErrorCode(422, "Validation", "batch_size"),
    TooLongError: ErrorCode(422, "Validation", "validation"),
    InputError: ErrorCode(422, "Tokenizer", "tokenization"),
    WrongTaskError: ErrorCode(424, "Backend", "model_type"),
    ComputeError: ErrorCode(424, "Backend", "inference"),
    OverloadedError: ErrorCode(429, "Overloaded", "overloaded", {"retry-after": "1"}),
    DisconnectedError: ErrorCode(499, "Dropped", "dropped"),
    ClientDisconnect: ErrorCode(499, "Dropped", "dropped"),
    UnhealthyError: ErrorCode(503, "Unhealthy", "unhealthy"),
    ShuttingDownError: ErrorCode(503, "Unhealthy", "unhealthy", CLOSE),
}
"""The nearest class in an error's MRO counts; every other error is UNEXPECTED."""


def error_code(error: Exception) -> ErrorCode:
    """Look up the code of `error`."""
    kinds = type(error).__mro__
    return next((ERROR_CODES[kind] for kind in kinds if kind in ERROR_CODES), UNEXPECTED)


def error_response(error: Exception) -> Response:
    """Build the response for `error`; an unexpected one hides its message from the client."""
    code = error_code(error)
    message = "internal server error; see the server's log" if code is UNEXPECTED else str(error)
    return _response(code.status, message, code.error_type, code.headers)


async def not_found(request: Request, error: Exception) -> Response:
    """Respond to a path without a route."""
    return _response(404, f"{request.url.path}: no such path. See /docs for the API", "NotFound")


async def method_not_allowed(request: Request, error: Exception) -> Response:
    """Respond to a method that a path does not support; Starlette's error carries `allow`."""
    message = f"{request.url.path}: method {request.method} is not allowed"
    return _response(405, message, "MethodNotAllowed", getattr(error, "headers", None))


def _response(
    status: int, message: str, error_type: ErrorType, headers: Mapping[str, str] | None = None
) -> Response:
    body = json.dumps({"error": message, "error_type": error_type}).encode()
    return Response(body, status, headers, media_type="application/json")

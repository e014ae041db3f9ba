"""Errors of the HTTP server, and one table of their status, error type and metric label."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from isobatch.errors import InputError, IsobatchError, TooLongError

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

OPENAI_PATHS = ("/v1/embeddings",)
"""Where an error is an object, whose `message` is all that OpenAI's client shows of one."""

_CLOSE = {"connection": "close"}


class ErrorCode(Enum):
    """How an error is reported; `label` is TEI's `err` label of te_request_failure."""

    EMPTY_REQUEST = 400, "Empty", "validation"
    UNAUTHORIZED = 401, "Unauthorized", "unauthorized", {"www-authenticate": "Bearer"}
    UNKNOWN_MODEL = 404, "NotFound", "validation"
    BODY_TIMEOUT = 408, "Timeout", "validation", _CLOSE
    BODY_TOO_LARGE = 413, "Validation", "payload_size", _CLOSE
    MEDIA_TYPE = 415, "Validation", "validation"
    VALIDATION = 422, "Validation", "validation"
    TOO_MANY_TEXTS = 422, "Validation", "batch_size"
    TOKENIZATION = 422, "Tokenizer", "tokenization"
    WRONG_TASK = 424, "Backend", "model_type"
    INFERENCE = 424, "Backend", "inference"
    OVERLOADED = 429, "Overloaded", "overloaded", {"retry-after": "1"}
    DISCONNECTED = 499, "Dropped", "dropped"
    UNEXPECTED = 500, "Backend", "inference"
    UNHEALTHY = 503, "Unhealthy", "unhealthy"
    SHUTTING_DOWN = 503, "Unhealthy", "unhealthy", _CLOSE

    def __init__(
        self,
        status: int,
        error_type: ErrorType,
        label: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.error_type = error_type
        self.label = label
        self.headers = headers


class RequestError(IsobatchError):
    """A request that fails with `code`; the message is sent to the client."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def error_code(error: Exception) -> ErrorCode:
    """Choose the code of an error that was raised for a request."""
    match error:
        case RequestError():
            return error.code
        case TooLongError():
            return ErrorCode.VALIDATION
        case InputError():
            return ErrorCode.TOKENIZATION
        case ClientDisconnect():  # in the middle of its body
            return ErrorCode.DISCONNECTED
    return ErrorCode.UNEXPECTED


def error_response(error: Exception, path: str) -> Response:
    """Build the response to `path` for `error`; the message of an unexpected one is not sent."""
    code = error_code(error)
    unexpected = code is ErrorCode.UNEXPECTED
    message = "internal server error; see the server's log" if unexpected else str(error)
    return _response(path, code.status, message, code.error_type, code.headers)


async def not_found(request: Request, error: Exception) -> Response:
    """Respond to a path without a route; names a path that differs by little."""
    path = request.url.path
    routes = (each.path for each in request.app.routes if isinstance(each, Route))
    paths = sorted({each for each in routes if "{" not in each})
    near = [path.rstrip("/")] if path.rstrip("/") in paths else get_close_matches(path, paths, n=1)
    hint = f". Did you mean {near[0]}?" if near else ". See /docs for the API"
    return _response(path, 404, f"{path[:200]}: no such path{hint}", "NotFound")


async def method_not_allowed(request: Request, error: Exception) -> Response:
    """Respond to a method that a path does not support, with those that it does."""
    allowed: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    allow = ", ".join(sorted(allowed))
    message = f"{request.url.path}: method {request.method} is not allowed. Use {allow}"
    path = request.scope["path"]
    return _response(path, 405, message, "MethodNotAllowed", {"allow": allow})


def _response(
    path: str,
    status: int,
    message: str,
    error_type: ErrorType,
    headers: Mapping[str, str] | None = None,
) -> Response:
    content: dict[str, object] = {"error": message, "error_type": error_type}
    if path in OPENAI_PATHS:
        nested = {"message": message, "type": error_type, "param": None, "code": status}
        content = {"error": nested}
    return Response(json.dumps(content).encode(), status, headers, media_type="application/json")

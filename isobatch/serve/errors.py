"""What can go wrong with a request: one table from error to HTTP status, type and metric label.

    RequestError
    ├── EmptyRequestError         no text at all
    ├── TooManyTextsError         more texts than one request may bring
    ├── MalformedError            no JSON, or not the JSON that the route takes
    ├── MediaTypeError            a body of another kind than application/json
    ├── TooLargeError             a body above the limit
    ├── SlowBodyError             a body that does not come to its end
    ├── UnknownModelError         another model than the one that is served
    ├── WrongTaskError            a route that this model has no answer for
    ├── ComputeError              the model failed; the request may have been sound
    ├── OverloadedError           as many requests as allowed are under way
    ├── UnhealthyError            the server takes no requests
    │   └── ShuttingDownError     because it is about to stop
    ├── UnauthorisedError         no key, or a wrong one
    └── ClientGoneError           nobody waits for the answer any more

Beside them stand InputError and TooLongError of the package, and the framework's ClientDisconnect,
for a client that goes in the middle of its body. The body is always
`{"error": message, "error_type": type}`. Invariant: a client never sees a stack trace.
"""

import json
from dataclasses import dataclass, field
from typing import Literal

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from isobatch.errors import InputError, IsobatchError, TooLongError


class RequestError(IsobatchError):
    """A request that gets no answer; the message is for the client."""


class EmptyRequestError(RequestError):
    """No text at all."""


class TooManyTextsError(RequestError):
    """More texts than one request may bring."""


class MalformedError(RequestError):
    """No JSON, or not the JSON that the route takes."""


class MediaTypeError(RequestError):
    """A body of another kind than application/json."""


class TooLargeError(RequestError):
    """A body above the limit."""


class SlowBodyError(RequestError):
    """A body that does not come to its end in time."""


class UnknownModelError(RequestError):
    """Another model than the one that is served."""


class WrongTaskError(RequestError):
    """A route that this model has no answer for."""


class ComputeError(RequestError):
    """The model failed; the request may have been sound."""


class OverloadedError(RequestError):
    """As many requests as allowed are under way."""


class UnhealthyError(RequestError):
    """The server takes no requests."""


class ShuttingDownError(UnhealthyError):
    """The server takes no requests, because it is about to stop."""


class UnauthorisedError(RequestError):
    """No key, or a wrong one."""


class ClientGoneError(RequestError):
    """Nobody waits for the answer any more."""


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
"""TEI's types, and those for what TEI answers without a body."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How an error looks from outside. `label` is TEI's `err` of te_request_failure."""

    status: int
    error_type: ErrorType
    label: str
    headers: dict[str, str] = field(default_factory=dict)


CLOSING = {"connection": "close"}
UNFORESEEN = Fault(500, "Backend", "inference")

FAULTS: dict[type[Exception], Fault] = {
    EmptyRequestError: Fault(400, "Empty", "validation"),
    UnauthorisedError: Fault(401, "Unauthorized", "unauthorized", {"www-authenticate": "Bearer"}),
    UnknownModelError: Fault(404, "NotFound", "validation"),
    SlowBodyError: Fault(408, "Timeout", "validation", CLOSING),
    TooLargeError: Fault(413, "Validation", "payload_size", CLOSING),
    MediaTypeError: Fault(415, "Validation", "validation"),
    MalformedError: Fault(422, "Validation", "validation"),
    TooManyTextsError: Fault(422, "Validation", "batch_size"),
    TooLongError: Fault(422, "Validation", "validation"),
    InputError: Fault(422, "Tokenizer", "tokenization"),
    WrongTaskError: Fault(424, "Backend", "model_type"),
    ComputeError: Fault(424, "Backend", "inference"),
    OverloadedError: Fault(429, "Overloaded", "overloaded", {"retry-after": "1"}),
    ClientGoneError: Fault(499, "Dropped", "dropped"),
    ClientDisconnect: Fault(499, "Dropped", "dropped"),
    UnhealthyError: Fault(503, "Unhealthy", "unhealthy"),
    ShuttingDownError: Fault(503, "Unhealthy", "unhealthy", CLOSING),
}
"""The nearest class above an error counts; everything else is UNFORESEEN."""


def fault_of(error: Exception) -> Fault:
    """The row of the table for `error`."""
    kinds = type(error).__mro__
    return next((FAULTS[kind] for kind in kinds if kind in FAULTS), UNFORESEEN)


def error_response(error: Exception) -> Response:
    """The answer to a request that failed by `error`."""
    fault = fault_of(error)
    if fault is UNFORESEEN:
        return written(fault.status, "the server failed; its log says why", fault.error_type)
    return written(fault.status, str(error), fault.error_type, fault.headers)


def written(
    status: int, message: str, error_type: ErrorType, headers: dict[str, str] | None = None
) -> Response:
    """The body that every error has."""
    body = json.dumps({"error": message, "error_type": error_type}).encode()
    return Response(body, status, headers, media_type="application/json")


async def answer_invalid(request: Request, error: Exception) -> Response:
    """422, for what a route that FastAPI itself reads (a page's) does not describe."""
    assert isinstance(error, RequestValidationError)
    places = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return error_response(MalformedError("; ".join(places)))


async def answer_framework(request: Request, error: Exception) -> Response:
    """What the framework itself refuses, 404 and 405, in the same shape."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, RequestError):  # FastAPI found it while it read a body
        return error_response(error.__cause__)
    kinds: dict[int, ErrorType] = {404: "NotFound", 405: "MethodNotAllowed"}
    message = {
        404: f"there is nothing at {request.url.path}; /docs lists what there is",
        405: f"{request.url.path} does not take {request.method}",
    }.get(error.status_code, str(error.detail))
    kind = kinds.get(error.status_code, "Validation")
    return written(error.status_code, message, kind, dict(error.headers or {}))

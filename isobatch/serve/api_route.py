"""ApiRoute: a route with its request body and OpenAPI description; requests → engine → responses.

Invariant: a body that does not match its route's schema exactly is refused, with place and reason.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isobatch.serve.engine import InferenceResult, ServingEngine
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.types import TextInput

MAX_REASONS = 3
"""Reasons that an error names: more would bury the first."""

Endpoint = Callable[..., Awaitable[Response]]


class ApiRoute(Route):
    """A route and all that OpenAPI says of it; without a summary it is left out of OpenAPI.

    An endpoint with a parameter `body` is a POST route and gets the validated body, of that
    parameter's type. `response` is the type of the 200 response's JSON; `responses` describes every
    status.
    """

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        method: str | None = None,
        tag: str = "",
        summary: str = "",
        response: Any = None,
        responses: dict[int, dict[str, Any]] | None = None,
        operation_id: str | None = None,
    ) -> None:
        self.body: type[BaseModel] | None = endpoint.__annotations__.get("body")
        self.method = method or ("POST" if self.body else "GET")
        self.tag = tag
        self.summary = summary
        self.description = endpoint.__doc__
        self.response = response
        self.responses = responses or {}
        super().__init__(
            path,
            _reading(endpoint, self.body) if self.body else endpoint,
            methods=[self.method],
            name=getattr(endpoint, "__name__", None),
            include_in_schema=bool(summary),
        )
        self.methods = {self.method}  # Starlette adds HEAD to GET
        derived = re.sub(r"\W", "_", f"{self.name}{self.path_format}_{self.method.lower()}")
        self.operation_id = operation_id or derived


def _reading(endpoint: Endpoint, body_type: type[BaseModel]) -> Endpoint:
    """Wrap `endpoint` to validate the body in one step, from bytes to the model."""
    adapter = TypeAdapter(body_type)

    async def read(request: Request) -> Response:
        request.state.started = time.perf_counter()
        check_media_type(request)
        content = await request.body()
        try:
            body = adapter.validate_json(content)
        except ValidationError as error:
            raise RequestError(ErrorCode.VALIDATION, _reasons(error)) from None
        return await endpoint(request, body)

    return read


def check_media_type(request: Request) -> None:
    """Raise RequestError unless the body is declared as uncompressed JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            ErrorCode.MEDIA_TYPE,
            f"unsupported media type (got {kind or 'none'}). Send JSON with the header "
            "Content-Type: application/json",
        )
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        message = f"unsupported Content-Encoding (got {coding}). Send the body uncompressed"
        raise RequestError(ErrorCode.MEDIA_TYPE, message)


def _reasons(error: ValidationError) -> str:
    """Format each problem with its place, e.g. `parameters.top_k: Field required`."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        if problem["loc"]
        else problem["msg"]
        for problem in problems
    ]
    more = f"; and {len(lines) - MAX_REASONS} more" if len(lines) > MAX_REASONS else ""
    return "; ".join(lines[:MAX_REASONS]) + more


def engine_of(request: Request) -> ServingEngine:
    """Return the engine of the application that `request` came to."""
    engine: ServingEngine = request.app.state.engine
    return engine


def check_model(request: Request, name: str | None) -> None:
    """Raise RequestError if a client names another model than the one that is served."""
    served = engine_of(request).settings.model_name
    if name is not None and name != served:
        message = f"model {name!r} is not served here, only {served!r}"
        raise RequestError(ErrorCode.UNKNOWN_MODEL, message)


async def infer(
    request: Request, texts: Sequence[TextInput], *, truncate: bool | None, single: bool
) -> InferenceResult:
    """Run the engine; the headers of RFC 9111, 5.2.1 keep a request from the cache."""
    cache_control = request.headers.get("cache-control", "").lower()
    return await engine_of(request).infer(
        texts,
        truncate=truncate,
        single=single,
        use_cache="no-cache" not in cache_control and "no-store" not in cache_control,
        receive=request.receive,
        started=request.state.started,
    )


def json_response(request: Request, content: object, result: InferenceResult) -> Response:
    """Respond with `content` as JSON and TEI's headers, times in milliseconds.

    Floats are written with the fewest digits that read back as the same number, so that no bit is
    lost. The number of truncated texts is our own header.
    """
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    headers = {
        "x-compute-type": engine_of(request).classifier.device.type,
        "x-compute-time": _milliseconds(result.total_seconds),
        "x-compute-characters": str(result.num_characters),
        "x-compute-tokens": str(result.num_tokens),
        "x-total-time": _milliseconds(result.total_seconds),
        "x-tokenization-time": _milliseconds(result.tokenization_seconds),
        "x-queue-time": _milliseconds(result.queue_seconds),
        "x-inference-time": _milliseconds(result.inference_seconds),
        "x-truncated-inputs": str(result.num_truncated),
    }
    return Response(body, media_type="application/json", headers=headers)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"

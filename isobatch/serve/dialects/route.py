"""Dialect: how its requests are described, how they are read, and how its answers are written.

A body is read in one step from bytes to the checked model. Invariant: what is not exactly the JSON
that a route describes is refused, with the place and the reason.
"""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isobatch.serve.engine import Answer, Engine
from isobatch.serve.errors import MalformedError, MediaTypeError, UnknownModelError
from isobatch.types import TextInput

MAX_REASONS = 3
"""Reasons that a refusal names: more would hide the first."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way: where it goes, and when it came."""

    request: Request
    engine: Engine
    started: float

    async def answer(
        self, texts: Sequence[TextInput], *, truncate: bool | None, single: bool
    ) -> Answer:
        """The Engine's answer to `texts`."""
        return await self.engine.answer(
            texts,
            truncate=truncate,
            single=single,
            afresh=_wants_afresh(self.request),
            receive=self.request.receive,
            started=self.started,
        )

    def check_model(self, name: str | None) -> None:
        """UnknownModelError if a client asks for another model than the one that is here."""
        served = self.engine.settings.model_name
        if name is not None and name != served:
            raise UnknownModelError(f"there is no model {name!r} here, only {served!r}")


Endpoint = Callable[..., Awaitable[Response]]


class Dialect:
    """Routes that answer JSON with JSON, each registered twice: to be described, and to be served.

    `described` is for FastAPI, which makes OpenAPI of an endpoint's signature `(body, request)`.
    `served` is what requests go through: far less code, and every refusal in our own words.
    """

    def __init__(self, whose: str) -> None:
        self.described = APIRouter(tags=[whose])
        self.served: list[Route] = []

    def post(self, path: str, **description: Any) -> Callable[[Endpoint], Endpoint]:
        """Register an endpoint; `description` is what FastAPI's routes take."""

        def register(endpoint: Endpoint) -> Endpoint:
            self.described.add_api_route(path, endpoint, methods=["POST"], **description)
            self.served.append(Route(path, _reading(endpoint), methods=["POST"]))
            return endpoint

        return register


def _reading(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """`endpoint` behind what reads and checks its body."""
    adapter: TypeAdapter[BaseModel] = TypeAdapter(endpoint.__annotations__["body"])

    async def read(request: Request) -> Response:
        request.state.started = time.perf_counter()
        check_media_type(request)
        content = await request.body()
        try:
            body = adapter.validate_json(content)
        except ValidationError as error:
            raise MalformedError(_reasons(error)) from None
        return await endpoint(body=body, request=request, **request.path_params)

    return read


def call_of(request: Request) -> Call:
    """The Call of a request that came to a Dialect."""
    return Call(request, request.app.state.engine, request.state.started)


def check_media_type(request: Request) -> None:
    """MediaTypeError for a body that does not say to be plain JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MediaTypeError(
            f"the body is {kind or 'of no stated kind'}; send JSON, with the header "
            "Content-Type: application/json"
        )
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise MediaTypeError(f"the body is packed ({coding}), which is not taken; send it plain")


def _reasons(error: ValidationError) -> str:
    """Each fault by its place, e.g. `parameters.top_k: Input should be greater than 0`."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" if fault["loc"] else fault["msg"]
        for fault in faults
    ]
    more = f"; and {len(lines) - MAX_REASONS} more" if len(lines) > MAX_REASONS else ""
    return "; ".join(lines[:MAX_REASONS]) + more


def _wants_afresh(request: Request) -> bool:
    """Whether the client asks for nothing remembered, in HTTP's own words (RFC 9111, 5.2.1)."""
    wish = request.headers.get("cache-control", "").lower()
    return "no-cache" in wish or "no-store" in wish


def json_response(content: object, call: Call, answer: Answer) -> Response:
    """`content` as JSON, every float with all its digits, and the headers of what it took.

    The shortest digits that read back as the same number are written, so that bits survive.
    """
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, media_type="application/json", headers=_headers(call, answer))


def _headers(call: Call, answer: Answer) -> dict[str, str]:
    """TEI's headers, in milliseconds; and how many texts were cut, which TEI does not say."""
    timings = answer.timings
    return {
        "x-compute-type": call.engine.classifier.device.type,
        "x-compute-time": _milliseconds(timings.total),
        "x-compute-characters": str(answer.num_characters),
        "x-compute-tokens": str(answer.num_tokens),
        "x-total-time": _milliseconds(timings.total),
        "x-tokenization-time": _milliseconds(timings.tokenization),
        "x-queue-time": _milliseconds(timings.queue),
        "x-inference-time": _milliseconds(timings.inference),
        "x-truncated-inputs": str(answer.num_truncated),
    }


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"

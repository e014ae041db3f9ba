"""ApiRoute: a route with its request body and OpenAPI description; requests → engine → responses.

Invariant: a body that does not match its route's schema exactly is refused, with place and reason,
and so is every request to a route that does not fit the served model.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isobatch.ambient import default_float_environment
from isobatch.serve.body_errors import StrictModel, body_reasons
from isobatch.serve.engine import InferenceResult, ServingEngine, Tokenize
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.json_body import check_media_type, parse_json
from isobatch.serve.text_field import TextField
from isobatch.tasks import Classifier
from isobatch.tasks.pipeline_loading import PipelineTask
from isobatch.types import TextInput

Endpoint = Callable[..., Awaitable[Response]]


class ApiRoute(Route):
    """A route and all that OpenAPI says of it; without a summary it is left out of OpenAPI.

    An endpoint with a parameter `body` is a POST route and gets the validated body, of that
    parameter's type, or of the first type of its union that takes the content. A path with {model}
    is 404 for other models than the served one. `response` is the type of the 200 response's JSON;
    `responses` describes every status. tasks: the served model is for one of them; none for routes
    of every model.
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
        tasks: tuple[PipelineTask, ...] = (),
    ) -> None:
        self.body: Any = endpoint.__annotations__.get("body")
        self.tasks = tasks
        self.method = method or ("POST" if self.body else "GET")
        self.tag = tag
        self.summary = summary
        self.description = endpoint.__doc__
        self.response = response
        self.responses = responses or {}
        super().__init__(
            path,
            _reading(endpoint, get_args(self.body) or (self.body,)) if self.body else endpoint,
            methods=[self.method],  # Starlette adds HEAD to GET
            name=getattr(endpoint, "__name__", None),
            include_in_schema=bool(summary),
        )
        derived = re.sub(r"\W", "_", f"{self.name}{self.path_format}_{self.method.lower()}")
        self.operation_id = operation_id or derived


def _reading(endpoint: Endpoint, body_types: Sequence[type[StrictModel]]) -> Endpoint:
    """Wrap `endpoint` to read and validate the body."""
    adapters = {each: TypeAdapter(each) for each in body_types}
    fields = {name for each in body_types for name in each.model_fields}

    async def read(request: Request) -> Response:
        request.state.started = time.perf_counter()
        path = request.url.path
        check_media_type(request)
        if misplaced := sorted(fields & request.query_params.keys()):
            message = f"{misplaced[0]!r} is a field of the JSON body of {path}. Move it there"
            raise RequestError(ErrorCode.VALIDATION, f"query string: {message}")
        content = parse_json(await request.body(), _example(body_types[-1]))
        body_type = next(each for each in body_types if each.takes(content))
        try:
            body = adapters[body_type].validate_python(content)
        except ValidationError as error:
            reasons = body_reasons(error, body_type, path)
            raise RequestError(ErrorCode.VALIDATION, reasons) from None
        check_model(request, request.path_params.get("model"))
        return await endpoint(request, body)

    return read


def _example(body_type: type[StrictModel]) -> str:
    """Return the first example of a body's schema, as JSON."""
    extra = body_type.model_config.get("json_schema_extra")
    assert isinstance(extra, dict)
    examples = extra["examples"]
    assert isinstance(examples, list)
    return json.dumps(examples[0])


def engine_of(request: Request) -> ServingEngine:
    """Return the engine of the application that `request` came to."""
    engine: ServingEngine = request.app.state.engine
    return engine


def served_classifier(request: Request) -> Classifier:
    """Return the pipeline of a route that only classifiers have."""
    classifier = engine_of(request).pipeline
    assert isinstance(classifier, Classifier)
    return classifier


def check_model(request: Request, name: str | None) -> None:
    """Raise RequestError if a client names another model than the one that is served."""
    served = engine_of(request).settings.model_name
    if name is not None and name != served:
        message = f"model {name!r} is not served here, only {served!r}"
        raise RequestError(ErrorCode.UNKNOWN_MODEL, message)


def check_side(request: Request, field: str, side: str | None) -> None:
    """Raise RequestError if a client wants texts cut at the end that the checkpoint keeps."""
    own = engine_of(request).pipeline.truncation_side
    if side is not None and side.lower() != own:
        message = (
            f"{field}: this checkpoint cuts texts that are too long on the {own}, got {side!r}. "
            f'Send "{own}", or leave the field out'
        )
        raise RequestError(ErrorCode.VALIDATION, message)


async def infer(
    request: Request,
    texts: Sequence[TextInput],
    *,
    field: TextField,
    truncate: bool | None,
    single: bool,
    tokenize: Tokenize | None = None,
    per_text: int = 1,
    more_characters: int = 0,
) -> InferenceResult:
    """Run the engine; the headers of RFC 9111, 5.2.1 keep a request from the cache."""
    cache_control = request.headers.get("cache-control", "").lower()
    return await engine_of(request).infer(
        texts,
        field=field,
        truncate=truncate,
        single=single,
        use_cache="no-cache" not in cache_control and "no-store" not in cache_control,
        receive=request.receive,
        started=request.state.started,
        tokenize=tokenize,
        per_text=per_text,
        more_characters=more_characters,
    )


def json_response(request: Request, content: object, result: InferenceResult) -> Response:
    """Respond with `content` as JSON and TEI's headers, times in milliseconds.

    Floats are written with the fewest digits that read back as the same number, so that no bit is
    lost. The number of truncated texts is our own header.
    """
    with default_float_environment():  # Python's digits depend on the rounding mode
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    headers = {
        "x-compute-type": engine_of(request).pipeline.device.type,
        "x-compute-time": _milliseconds(result.total_seconds),
        "x-compute-characters": str(result.num_characters),
        "x-compute-tokens": str(result.num_tokens),
        "x-total-time": _milliseconds(result.total_seconds),
        "x-tokenization-time": _milliseconds(result.tokenization_seconds),
        "x-queue-time": _milliseconds(result.queue_seconds),
        "x-inference-time": _milliseconds(result.inference_seconds),
        "x-truncated-inputs": str(result.num_truncated),
    }
    return Response(text.encode(), media_type="application/json", headers=headers)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"

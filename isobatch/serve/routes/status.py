"""The server's status: GET /health, /info, /metrics and /v1/models.

Invariant: none of these waits for the model, so that they respond under any load.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from isobatch import __version__
from isobatch.serve.api_route import ApiRoute, engine_of
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.openapi import describe_error
from isobatch.types import Precision

TAG = "status"
HEALTH_PATHS = ("/health", "/metrics")
STATUS_PATHS = (*HEALTH_PATHS, "/info", "/v1/models")

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
DTYPES: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}


class Labels(BaseModel):
    """The model's labels, by index and by name."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ClassifierType(BaseModel):
    """A model for /predict and /v1/classify."""

    classifier: Labels


class RerankerType(BaseModel):
    """A model with a single label, for /rerank too."""

    reranker: Labels


class Info(BaseModel):
    """The served model and the limits, with text-embeddings-inference's names where it has one."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: ClassifierType | RerankerType
    problem_type: str | None
    precision: Precision
    precision_reason: str
    arithmetic: str
    device: str
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_client_batch_size: int
    payload_limit: int
    auto_truncate: bool
    tokenization_workers: int
    version: str


class Model(BaseModel):
    """The served model, as in OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "isobatch"
    max_model_len: int


class ModelList(BaseModel):
    """A list with the served model."""

    object: Literal["list"] = "list"
    data: list[Model]


async def health(request: Request) -> Response:
    """200 and an empty body, or 503."""
    if not engine_of(request).healthy:
        raise RequestError(ErrorCode.UNHEALTHY, "the server does not accept requests")
    return Response()


async def info(request: Request) -> Response:
    """Describe the model, how it is computed, and the limits."""
    engine = engine_of(request)
    classifier, settings = engine.classifier, engine.settings
    head = classifier.config.head
    labels = Labels(
        id2label={str(index): label for index, label in enumerate(head.labels)},
        label2id={label: index for index, label in enumerate(head.labels)},
    )
    single = head.num_labels == 1
    content = Info(
        model_id=settings.model_name,
        model_sha=_commit(classifier.folder),
        model_dtype=DTYPES[classifier.precision],
        model_type=RerankerType(reranker=labels) if single else ClassifierType(classifier=labels),
        problem_type=head.problem_type,
        precision=classifier.precision,
        precision_reason=classifier.precision_reason,
        arithmetic=classifier.arithmetic,
        device=str(classifier.device),
        max_concurrent_requests=settings.max_concurrent_requests,
        max_input_length=classifier.max_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        max_client_batch_size=settings.max_client_batch_size,
        payload_limit=settings.payload_limit,
        auto_truncate=classifier.truncation == "cut",
        tokenization_workers=1,
        version=__version__,
    )
    return Response(content.model_dump_json(), media_type="application/json")


def _commit(folder: Path) -> str | None:
    """Return the commit of a model from the hub, which names its folder; None for other folders."""
    return folder.name if folder.parent.name == "snapshots" else None


async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(engine_of(request).metrics.exposition(), media_type=PROMETHEUS_TEXT)


async def models(request: Request) -> Response:
    """List the one model that is served."""
    engine = engine_of(request)
    model = Model(
        id=engine.settings.model_name,
        created=engine.created,
        max_model_len=engine.classifier.max_tokens,
    )
    return Response(ModelList(data=[model]).model_dump_json(), media_type="application/json")


_OK = {"description": "Successful response"}

ROUTES = (
    ApiRoute(
        "/health",
        health,
        tag=TAG,
        summary="Whether the server responds",
        responses={
            200: _OK,
            503: describe_error("The server is shutting down, or its model thread has ended"),
        },
    ),
    ApiRoute(
        "/info",
        info,
        tag=TAG,
        summary="The model and the limits",
        response=Info,
        responses={200: _OK},
    ),
    ApiRoute(
        "/metrics",
        metrics,
        tag=TAG,
        summary="Metrics for Prometheus",
        responses={200: _OK | {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    ),
    ApiRoute(
        "/v1/models",
        models,
        tag=TAG,
        summary="The model, as in OpenAI's API",
        response=ModelList,
        responses={200: _OK},
    ),
)

"""What a server says of itself: GET /health, /info, /metrics and /v1/models.

Invariant: none of it waits for the model, so that it answers under any load.
"""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import PlainTextResponse, Response

from isobatch import __version__
from isobatch.serve.dialects.words import Refusal
from isobatch.serve.engine import Engine
from isobatch.serve.errors import UnhealthyError
from isobatch.serve.limits import Door
from isobatch.types import Precision

router = APIRouter(tags=["status"])

HEALTH_PATHS = ("/health", "/metrics")
STATUS_PATHS = (*HEALTH_PATHS, "/info", "/v1/models")

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
DTYPES: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}


class Labels(BaseModel):
    """Names of the labels, by number and by name."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ClassifierType(BaseModel):
    """A model that /predict and /v1/classify serve."""

    classifier: Labels


class RerankerType(BaseModel):
    """A model with a single label, which /rerank serves, too."""

    reranker: Labels


class Info(BaseModel):
    """What is loaded, and its limits; text-embeddings-inference's names where it has one."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_dtype: str
    model_type: ClassifierType | RerankerType
    problem_type: str | None
    precision: Precision
    precision_reason: str
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
    """The model that is served, as OpenAI's clients list it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "isobatch"
    max_model_len: int


class ModelList(BaseModel):
    """A list of one."""

    object: Literal["list"] = "list"
    data: list[Model]


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


@router.get(
    "/health",
    summary="Whether the server answers",
    response_class=Response,
    responses={503: {"model": Refusal, "description": "It is shutting down, or its model is gone"}},
)
async def health(request: Request) -> Response:
    """200 and an empty body, or 503."""
    door: Door = request.app.state.door
    if door.closing or not _engine(request).alive:
        raise UnhealthyError("the server does not take requests")
    return Response()


router.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)


@router.get("/info", summary="The model and the limits")
async def info(request: Request) -> Info:
    """What is loaded, how it is computed, and what is allowed."""
    engine = _engine(request)
    classifier, settings = engine.classifier, engine.settings
    head = classifier.config.head
    labels = Labels(
        id2label={str(index): label for index, label in enumerate(head.labels)},
        label2id={label: index for index, label in enumerate(head.labels)},
    )
    single = head.num_labels == 1
    return Info(
        model_id=settings.model_name,
        model_dtype=DTYPES[classifier.precision],
        model_type=RerankerType(reranker=labels) if single else ClassifierType(classifier=labels),
        problem_type=head.problem_type,
        precision=classifier.precision,
        precision_reason=classifier.precision_reason,
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


@router.get(
    "/metrics",
    summary="Counts and times for Prometheus",
    response_class=PlainTextResponse,
)
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(_engine(request).metrics.written(), media_type=PROMETHEUS_TEXT)


@router.get("/v1/models", summary="The model, as OpenAI's clients list it")
async def models(request: Request) -> ModelList:
    """One model: whichever is served."""
    engine = _engine(request)
    model = Model(
        id=engine.settings.model_name,
        created=engine.created,
        max_model_len=engine.classifier.max_tokens,
    )
    return ModelList(data=[model])

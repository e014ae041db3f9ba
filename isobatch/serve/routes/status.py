"""The server's status: GET /health, /info, /metrics and /v1/models.

Invariant: none of these waits for the model, so that they respond under any load.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from isobatch import __version__
from isobatch.checkpoint.truncation import windows_of
from isobatch.serve.api_route import ApiRoute, engine_of
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.openapi import describe_error
from isobatch.serve.served_tasks import served_tasks
from isobatch.tasks import Pipeline
from isobatch.tasks.embedding import Embedder
from isobatch.tasks.pipeline_loading import PipelineTask
from isobatch.tasks.reranking import Reranker
from isobatch.types import Precision, ScoreActivation, Truncation, WindowPooling

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


class AnswerRanking(BaseModel):
    """How a reranker with a template reads a pair; answers: the tokens of a language model."""

    template: str
    answers: str | None


class TokenClassifierType(BaseModel):
    """A model that labels tokens, whose entities / returns."""

    token_classifier: Labels


class VectorSettings(BaseModel):
    """How vectors are computed; prompts: the names that requests may send."""

    pooling: str
    size: int
    normalized: bool
    similarity: str
    prompts: list[str]
    default_prompt: str | None


class EmbeddingType(BaseModel):
    """A model for /embed and /v1/embeddings."""

    embedding: VectorSettings


class WindowSettings(BaseModel):
    """Long texts are read in windows; stride: tokens that two share, null for a quarter."""

    stride: int | None
    pooling: WindowPooling


class AppliedRule(BaseModel):
    """How scores are computed from logits, and the setting that says so."""

    activation: ScoreActivation
    source: str


class Info(BaseModel):
    """The served model and the limits, with text-embeddings-inference's names where it has one."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: ClassifierType | RerankerType | TokenClassifierType | EmbeddingType
    task: PipelineTask
    tasks: list[PipelineTask]
    routes: list[str]
    score_rule: AppliedRule | None
    ranking: AnswerRanking | None
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
    truncation: Literal["cut", "error"] | WindowSettings
    tokenization_workers: int
    version: str


class Model(BaseModel):
    """The served model, as in OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "isobatch"
    max_model_len: int
    task: PipelineTask


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
    pipeline, settings = engine.pipeline, engine.settings
    tasks = served_tasks(pipeline)
    content = Info(
        model_id=settings.model_name,
        model_sha=_commit(pipeline.folder),
        model_dtype=DTYPES[pipeline.precision],
        model_type=_model_type(pipeline),
        task=tasks[0],
        tasks=[*tasks],
        routes=request.app.state.paths,
        score_rule=_score_rule(pipeline),
        ranking=_ranking(pipeline),
        problem_type=pipeline.config.head.problem_type,
        precision=pipeline.precision,
        precision_reason=pipeline.precision_reason,
        arithmetic=pipeline.arithmetic,
        device=str(pipeline.device),
        max_concurrent_requests=settings.max_concurrent_requests,
        max_input_length=pipeline.max_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        max_client_batch_size=settings.max_client_batch_size,
        payload_limit=settings.payload_limit,
        auto_truncate=pipeline.truncation == "cut",
        truncation=_truncation(pipeline.truncation),
        tokenization_workers=1,
        version=__version__,
    )
    return Response(content.model_dump_json(), media_type="application/json")


def _model_type(
    pipeline: Pipeline[Any],
) -> ClassifierType | RerankerType | TokenClassifierType | EmbeddingType:
    if isinstance(pipeline, Embedder):
        settings = VectorSettings(
            pooling="+".join(pipeline.pooling),
            size=pipeline.size,
            normalized=pipeline.normalizes,
            similarity=pipeline.similarity_function,
            prompts=[*pipeline.prompts],
            default_prompt=pipeline.default_prompt_name,
        )
        return EmbeddingType(embedding=settings)
    names = pipeline.config.head.labels
    labels = Labels(
        id2label={str(index): label for index, label in enumerate(names)},
        label2id={label: index for index, label in enumerate(names)},
    )
    if pipeline.task == "token-classification":
        return TokenClassifierType(token_classifier=labels)
    if len(names) == 1:
        return RerankerType(reranker=labels)
    return ClassifierType(classifier=labels)


def _truncation(truncation: Truncation) -> Literal["cut", "error"] | WindowSettings:
    windows = windows_of(truncation)
    if windows is not None:
        return WindowSettings(stride=windows.stride, pooling=windows.pooling)
    return "cut" if truncation == "cut" else "error"


def _score_rule(pipeline: Pipeline[Any]) -> AppliedRule | None:
    """Return the rule of models whose scores depend on their files; None for the others."""
    if pipeline.task != "text-classification":
        return None
    rule = pipeline.config.head.score_rule
    return AppliedRule(activation=rule.activation, source=rule.source)


def _ranking(pipeline: Pipeline[Any]) -> AnswerRanking | None:
    """Return how a reranker with a template reads a pair; None for other models."""
    if not isinstance(pipeline, Reranker) or pipeline.template is None:
        return None
    return AnswerRanking(template=pipeline.template, answers=pipeline.answers)


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
        max_model_len=engine.pipeline.max_tokens,
        task=served_tasks(engine.pipeline)[0],
    )
    return Response(ModelList(data=[model]).model_dump_json(), media_type="application/json")


_OK = {"description": "Successful response"}
_ERRORS = {
    401: describe_error("Missing or wrong API key"),
    503: describe_error("The server is shutting down"),
}

ROUTES = (
    ApiRoute(
        "/health",
        health,
        tag=TAG,
        summary="Whether the server responds",
        responses={
            **_ERRORS,
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
        responses={200: _OK, **_ERRORS},
    ),
    ApiRoute(
        "/metrics",
        metrics,
        tag=TAG,
        summary="Metrics for Prometheus",
        responses={
            200: _OK | {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **_ERRORS,
        },
    ),
    ApiRoute(
        "/v1/models",
        models,
        tag=TAG,
        summary="The model, as in OpenAI's API",
        response=ModelList,
        responses={200: _OK, **_ERRORS},
    ),
)

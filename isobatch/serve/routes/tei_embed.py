"""text-embeddings-inference's API for vectors: POST /embed.

The same body is taken at POST /, where `huggingface_hub.InferenceClient.feature_extraction` sends
it. Invariant: a vector has the bits of `Embedder`'s, divided by its norm if the request asks for
that and the checkpoint does not do it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.batching.cache import Output
from isobatch.kernels import normalize_rows
from isobatch.serve.api_route import (
    ApiRoute,
    check_side,
    engine_of,
    infer,
    json_response,
)
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.engine import Tokenize
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.openapi import describe_responses
from isobatch.serve.schema import Integral, Side, TextOrList, Truncate
from isobatch.serve.text_field import TextField
from isobatch.tasks.embedding import Embedder

TAG = "text-embeddings-inference"
HUGGING_FACE = "Hugging Face Inference"

_INPUTS = TextField("inputs", '"truncate": true')


class EmbedRequest(StrictModel):
    """Texts to compute vectors of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "Today is a nice day!"},
                {"inputs": ["Today is a nice day!", "Im not sure."], "truncate": True},
            ]
        }
    )

    HINTS: ClassVar[Mapping[str, str]] = {
        "input": "send it as inputs, or to /v1/embeddings",
        "encoding_format": "/v1/embeddings takes it",
        "parameters": "vectors have none: send their fields in the body itself",
        "prompt": "send the name of one as prompt_name, or put it in front of the text",
    }

    inputs: TextOrList = Field(
        description="One text or a list of texts. Token ids are not supported."
    )
    normalize: bool = Field(
        default=True,
        description="Whether each vector is divided by its Euclidean norm. false only for "
        "checkpoints that do not do so themselves.",
    )
    truncate: Truncate = None
    truncation_direction: Side = None
    prompt_name: str | None = Field(
        default=None,
        description="Which of the checkpoint's prompts is put in front of each text. Default: the "
        "checkpoint's own default, if it has one.",
    )
    dimensions: Annotated[int, Field(ge=1), Integral] | None = Field(
        default=None, description="Only the size of the checkpoint's vectors, which is the default."
    )


async def embed(request: Request, body: EmbedRequest) -> Response:
    """Return a list with a vector for each text, also for a single text."""
    check_side(request, "truncation_direction", body.truncation_direction)
    embedder = served_embedder(request)
    check_dimensions(embedder, body.dimensions)
    if embedder.normalizes and not body.normalize:
        message = (
            "normalize: the checkpoint's vectors are divided by their norm, got false. Leave the "
            "field out, or start the server with --no-normalize"
        )
        raise RequestError(ErrorCode.VALIDATION, message)
    result = await infer(
        request,
        body.inputs.texts,
        field=_INPUTS,
        truncate=body.truncate,
        single=body.inputs.single,
        tokenize=_tokenize(embedder, body.prompt_name),
    )
    vectors = result.outputs
    if body.normalize and not embedder.normalizes:
        vectors = normalized(vectors)
    return json_response(request, [vector.tolist() for vector in vectors], result)


def served_embedder(request: Request) -> Embedder:
    """Return the pipeline of a route that only embedders have."""
    embedder = engine_of(request).pipeline
    assert isinstance(embedder, Embedder)
    return embedder


def check_dimensions(embedder: Embedder, dimensions: int | None) -> None:
    """Raise RequestError for vectors of another size: cutting them needs a model trained for it."""
    if dimensions is not None and dimensions != embedder.size:
        message = (
            f"dimensions: the checkpoint's vectors have {embedder.size} numbers, got {dimensions}. "
            "Leave the field out"
        )
        raise RequestError(ErrorCode.VALIDATION, message)


def normalized(vectors: Sequence[Output]) -> list[Output]:
    """Divide each vector by its norm, by the same kernel as in checkpoints that say so."""
    rows: NDArray[np.float32] = normalize_rows(torch.from_numpy(np.stack(vectors))).numpy()
    return list(rows)


def _tokenize(embedder: Embedder, prompt_name: str | None) -> Tokenize | None:
    if prompt_name is None:
        return None
    if prompt_name not in embedder.prompts:
        known = ", ".join(embedder.prompts) or "none"
        message = f"prompt_name: the checkpoint has no prompt {prompt_name[:40]!r}, only {known}"
        raise RequestError(ErrorCode.VALIDATION, message)
    return partial(embedder.tokenize, prompt_name=prompt_name)


_DESCRIPTION = "A vector for each text"

ROUTES = (
    ApiRoute(
        "/embed",
        embed,
        tag=TAG,
        summary="Compute vectors of texts",
        response=list[list[float]],
        responses=describe_responses(_DESCRIPTION),
        tasks=("feature-extraction",),
    ),
    ApiRoute(
        "/",
        embed,
        tag=HUGGING_FACE,
        summary="Compute vectors of texts",
        response=list[list[float]],
        responses=describe_responses(_DESCRIPTION),
        operation_id="embed__post",
        tasks=("feature-extraction",),
    ),
    ApiRoute(
        "/models/{model:path}",
        embed,
        tag=HUGGING_FACE,
        summary="The same, for clients that name the model",
        response=list[list[float]],
        responses=describe_responses(_DESCRIPTION, names_model=True),
        operation_id="embed_by_name_models__model__post",
        tasks=("feature-extraction",),
    ),
)

"""OpenAI's API for vectors: POST /v1/embeddings.

Vectors are those of the checkpoint, normalized if its files say so. OpenAI's own client asks for
base64, which holds the bytes of float32 numbers, the lowest byte first. `user` is accepted and
ignored. An error is an object, of which the client shows `message`.
"""

import base64
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.batching.cache import Output
from isobatch.serve.api_route import ApiRoute, check_model, engine_of, infer, json_response
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.openapi import describe_responses
from isobatch.serve.routes.tei_embed import check_dimensions, served_embedder
from isobatch.serve.schema import Integral, TextOrList
from isobatch.serve.text_field import TextField

TAG = "OpenAI"

_INPUT = TextField("input", '"truncate_prompt_tokens": -1')


class EmbeddingsRequest(StrictModel):
    """Texts to compute vectors of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": "Today is a nice day!"},
                {"input": ["Today is a nice day!", "Im not sure."], "encoding_format": "base64"},
            ]
        }
    )

    HINTS: ClassVar[Mapping[str, str]] = {
        "input": "token ids of other tokenizers mean other words here: send text, which "
        "LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False",
        "inputs": "send it as input, or to /embed",
        "normalize": "/embed takes it",
        "prompt_name": "/embed takes it",
        "messages": "send the text as input",
        "truncate_prompt_tokens": "-1 cuts texts to the model's maximum length",
    }

    input: TextOrList = Field(
        description="One text or a list of texts. Token ids are not supported."
    )
    model: str | None = Field(default=None, description="Name of the served model.")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="base64: of the bytes of the vector's float32 numbers."
    )
    dimensions: Annotated[int, Field(ge=1), Integral] | None = Field(
        default=None, description="Only the size of the checkpoint's vectors, which is the default."
    )
    truncate_prompt_tokens: Annotated[Literal[-1], Integral] | None = Field(
        default=None, description="-1: cut texts that are too long, as in vLLM."
    )
    user: str | None = Field(default=None, description="Accepted and ignored.")


class EmbeddingItem(BaseModel):
    """The vector of one text: numbers, or their bytes in base64."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(ge=0)
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Number of tokens of the request, including special tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


async def embeddings(request: Request, body: EmbeddingsRequest) -> Response:
    """Requests of `openai.OpenAI(base_url=".../v1").embeddings.create(input=..., model=...)`."""
    check_model(request, body.model)
    check_dimensions(served_embedder(request), body.dimensions)
    texts = body.input
    truncate = None if body.truncate_prompt_tokens is None else True
    result = await infer(request, texts.texts, field=_INPUT, truncate=truncate, single=texts.single)
    write = _base64 if body.encoding_format == "base64" else _numbers
    content = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": write(vector)}
            for index, vector in enumerate(result.outputs)
        ],
        "model": engine_of(request).settings.model_name,
        "usage": {"prompt_tokens": result.num_tokens, "total_tokens": result.num_tokens},
    }
    return json_response(request, content, result)


def _numbers(vector: Output) -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers


def _base64(vector: Output) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


ROUTES = (
    ApiRoute(
        "/v1/embeddings",
        embeddings,
        tag=TAG,
        summary="Compute vectors of texts",
        response=EmbeddingsResponse,
        responses=describe_responses(names_model=True, nested=True),
        tasks=("feature-extraction",),
    ),
)

"""text-embeddings-inference's API: POST /predict and POST /rerank.

It differs from TEI in one point that TEI's users ask for: ["a", "b"] is two texts.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.checkpoint.text_encoder import input_error
from isobatch.serve.api_route import ApiRoute, check_side, engine_of, infer, json_response
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.openapi import describe_responses
from isobatch.serve.schema import (
    LabelScore,
    Side,
    TextList,
    TextsOrPairs,
    Truncate,
)
from isobatch.serve.text_field import TextField
from isobatch.tasks import rank_logits, score_logits
from isobatch.types import ScoreActivation

TAG = "text-embeddings-inference"


_HINTS = {
    "prompt_name": "prompts belong to embedding models: put the prompt into the text",
    "normalize": "the response has scores, not embeddings",
    "dimensions": "the response has scores, not embeddings",
}
_INPUTS = TextField("inputs", '"truncate": true')
_TEXTS = TextField("texts", '"truncate": true')


class PredictRequest(StrictModel):
    """Texts to classify."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "Today is a nice day!"},
                {"inputs": ["Today is a nice day!", "But what about tomorrow? Im not sure."]},
                {"inputs": [["question", "passage"]], "raw_scores": True, "truncate": False},
            ]
        }
    )

    HINTS: ClassVar[Mapping[str, str]] = _HINTS | {
        "parameters": "POST / takes it, which is Hugging Face Inference's API"
    }

    inputs: TextsOrPairs
    truncate: Truncate = None
    truncation_direction: Side = None
    raw_scores: bool = Field(default=False, description="Return logits instead of scores.")


class RerankRequest(StrictModel):
    """A query, and texts to rank by how well they answer it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "What is padding?", "texts": ["Zeros at the end.", "A kind of bread."]}
            ]
        }
    )

    HINTS: ClassVar[Mapping[str, str]] = _HINTS | {
        "documents": "send them as texts",
        "top_n": "all texts are ranked: take the first ones",
        "return_documents": "send return_text",
    }

    query: str
    texts: TextList
    truncate: Truncate = None
    truncation_direction: Side = None
    raw_scores: bool = Field(default=False, description="Return logits instead of scores.")
    return_text: bool = Field(default=False, description="Include each text in the response.")


class Rank(StrictModel):
    """One text of a rerank request: its index in the request, and its score."""

    index: int = Field(ge=0)
    score: float
    text: str | None = Field(default=None, description="Only with `return_text`.")


async def predict(request: Request, body: PredictRequest) -> Response:
    """Return a list of labels for a single text, a list of such lists for a list of texts."""
    check_side(request, "truncation_direction", body.truncation_direction)
    inputs = body.inputs
    result = await infer(
        request, inputs.texts, field=_INPUTS, truncate=body.truncate, single=inputs.single
    )
    classifier = engine_of(request).classifier
    activation: ScoreActivation | None = "none" if body.raw_scores else None
    rows = [classifier.ranked(row, activation) for row in result.logits]
    return json_response(request, rows[0] if inputs.single else rows, result)


async def rerank(request: Request, body: RerankRequest) -> Response:
    """Ranks, highest score first. 424 unless the model has a single label, as rerankers do."""
    head = engine_of(request).classifier.config.head
    if head.num_labels != 1:
        raise RequestError(
            ErrorCode.WRONG_TASK,
            f"/rerank: the model is not a reranker (got {head.num_labels} labels, expected 1). "
            "Use /predict",
        )
    check_side(request, "truncation_direction", body.truncation_direction)
    if wrong := input_error(body.query, 0):
        raise RequestError(ErrorCode.TOKENIZATION, f"query: {wrong.reason}")
    pairs = [(body.query, text) for text in body.texts]
    result = await infer(request, pairs, field=_TEXTS, truncate=body.truncate, single=False)
    activation = "none" if body.raw_scores else head.score_activation
    scores = [score_logits(row, activation)[0] for row in result.logits]
    ranks = [
        {"index": index, "score": scores[index]}
        | ({"text": body.texts[index]} if body.return_text else {})
        for index in rank_logits([row[0] for row in result.logits])
    ]
    return json_response(request, ranks, result)


ROUTES = (
    ApiRoute(
        "/predict",
        predict,
        tag=TAG,
        summary="Classify texts and pairs",
        response=list[LabelScore] | list[list[LabelScore]],
        responses=describe_responses("Every label with its score, highest first"),
    ),
    ApiRoute(
        "/rerank",
        rerank,
        tag=TAG,
        summary="Rank texts by how well they answer a query",
        response=list[Rank],
        responses=describe_responses(),
    ),
)

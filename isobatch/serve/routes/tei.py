"""text-embeddings-inference's API: POST /predict and POST /rerank.

It differs from TEI in one point that TEI's users ask for: ["a", "b"] is two texts.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.serve.api_route import (
    ApiRoute,
    check_side,
    infer,
    json_response,
    served_classifier,
)
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.openapi import describe_responses
from isobatch.serve.rank_texts import rank_texts
from isobatch.serve.schema import (
    LabelScore,
    Side,
    TextList,
    TextsOrPairs,
    Truncate,
)
from isobatch.serve.text_field import TextField
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
        "documents": "send them as texts, or to /v1/rerank",
        "top_n": "all texts are ranked: use the first ones",
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
    classifier = served_classifier(request)
    activation: ScoreActivation | None = "none" if body.raw_scores else None
    rows = [classifier.ranked(row, activation) for row in result.outputs]
    return json_response(request, rows[0] if inputs.single else rows, result)


async def rerank(request: Request, body: RerankRequest) -> Response:
    """Ranks, the highest logit first. 424 unless the model has a single label, as rerankers do."""
    check_side(request, "truncation_direction", body.truncation_direction)
    ranking = await rank_texts(
        request,
        body.query,
        body.texts,
        field=_TEXTS,
        truncate=body.truncate,
        raw=body.raw_scores,
    )
    ranks = [
        {"index": index, "score": ranking.scores[index]}
        | ({"text": body.texts[index]} if body.return_text else {})
        for index in ranking.order
    ]
    return json_response(request, ranks, ranking.result)


ROUTES = (
    ApiRoute(
        "/predict",
        predict,
        tag=TAG,
        summary="Classify texts and pairs",
        response=list[LabelScore] | list[list[LabelScore]],
        responses=describe_responses("Every label with its score, highest first"),
        tasks=("text-classification",),
    ),
    ApiRoute(
        "/rerank",
        rerank,
        tag=TAG,
        summary="Rank texts by how well they answer a query",
        response=list[Rank],
        responses=describe_responses(),
        tasks=("text-ranking",),
    ),
)

"""text-embeddings-inference's dialect: POST /predict and POST /rerank.

It differs from TEI in one point, which TEI's users ask for: ["a", "b"] are two texts.
"""

from fastapi import Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from isobatch.serve.dialects.route import Dialect, call_of, json_response
from isobatch.serve.dialects.words import (
    Inputs,
    LabelScore,
    Strict,
    Texts,
    Truncate,
    TruncationDirection,
    answers,
    label_scores,
    refusals,
)
from isobatch.serve.errors import WrongTaskError
from isobatch.tasks import score_logits

dialect = Dialect("text-embeddings-inference")


class PredictRequest(Strict):
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

    inputs: Inputs
    truncate: Truncate = None
    truncation_direction: TruncationDirection = "right"
    raw_scores: bool = Field(default=False, description="Logits in the place of scores.")


class RerankRequest(Strict):
    """A query, and texts to put in order by how well they answer it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "What is padding?", "texts": ["Zeros at the end.", "A kind of bread."]}
            ]
        }
    )

    query: str
    texts: Texts
    truncate: Truncate = None
    truncation_direction: TruncationDirection = "right"
    raw_scores: bool = Field(default=False, description="Logits in the place of scores.")
    return_text: bool = Field(default=False, description="Repeat each text in the answer.")


class Rank(Strict):
    """One text of a rerank request: its place in the request, and its score."""

    index: int = Field(ge=0)
    score: float
    text: str | None = Field(default=None, description="Only where `return_text` asks for it.")


@dialect.post(
    "/predict",
    summary="Classify texts and pairs",
    response_model=list[LabelScore] | list[list[LabelScore]],
    responses=answers("Every label with its score, the highest first") | refusals(404),
)
async def predict(body: PredictRequest, request: Request) -> Response:
    """One list of labels for a single text, a list of such lists for a list of texts."""
    call = call_of(request)
    asked = body.inputs
    answer = await call.answer(asked.texts, truncate=body.truncate, single=asked.single)
    head = call.engine.classifier.config.head
    activation = "none" if body.raw_scores else head.score_activation
    rows = [label_scores(row, head.labels, activation) for row in answer.logits]
    return json_response(rows[0] if asked.single else rows, call, answer)


@dialect.post(
    "/rerank",
    summary="Put texts in order by how well they answer a query",
    response_model=list[Rank],
    responses=answers() | refusals(404),
)
async def rerank(body: RerankRequest, request: Request) -> Response:
    """Ranks, the highest score first. 424 unless the model has a single label, as rerankers do."""
    call = call_of(request)
    head = call.engine.classifier.config.head
    if head.num_labels != 1:
        raise WrongTaskError(
            f"this model has {head.num_labels} labels, so that it is no reranker; ask /predict"
        )
    pairs = [(body.query, text) for text in body.texts]
    answer = await call.answer(pairs, truncate=body.truncate, single=False)
    activation = "none" if body.raw_scores else head.score_activation
    scores = [score_logits(row, activation)[0] for row in answer.logits]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    ranks = [
        {"index": index, "score": scores[index]}
        | ({"text": body.texts[index]} if body.return_text else {})
        for index in order
    ]
    return json_response(ranks, call, answer)

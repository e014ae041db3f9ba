"""rank_texts: a query and its texts → ranks, for each dialect of reranking.

Invariant: ranks go by logits, equal ones in the order of the texts; scores, which can be equal
where logits differ, never decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from isobatch.checkpoint.text_encoder import input_error
from isobatch.serve.api_route import engine_of, infer
from isobatch.serve.engine import InferenceResult
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.text_field import TextField
from isobatch.tasks import rank_logits, score_logits


@dataclass(frozen=True, slots=True)
class Ranking:
    """order: indices of the texts, the best first. scores: in the order of the texts."""

    order: list[int]
    scores: list[float]
    result: InferenceResult


async def rank_texts(
    request: Request,
    query: str,
    texts: Sequence[str],
    *,
    field: TextField,
    truncate: bool | None,
    raw: bool,
) -> Ranking:
    """Rank `texts`, which `field` holds; raw: logits as scores."""
    if wrong := input_error(query, 0):
        raise RequestError(ErrorCode.TOKENIZATION, f"query: {wrong.reason}")
    pairs = [(query, text) for text in texts]
    result = await infer(request, pairs, field=field, truncate=truncate, single=False)
    head = engine_of(request).pipeline.config.head
    activation = "none" if raw else head.score_activation
    return Ranking(
        order=rank_logits([row[0] for row in result.outputs]),
        scores=[score_logits(row, activation)[0] for row in result.outputs],
        result=result,
    )

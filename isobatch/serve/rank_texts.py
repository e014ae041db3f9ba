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
from isobatch.serve.text_field import MAX_CHARACTERS_PER_TOKEN, TextField
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
    pipeline = engine_of(request).pipeline
    limit = pipeline.max_tokens * MAX_CHARACTERS_PER_TOKEN
    if len(query) > limit:  # it is tokenized with every text: 2 MB of it took 73 s and 2.8 GB
        raise RequestError(
            ErrorCode.VALIDATION,
            f"query: has {len(query):,} characters, for a model that reads {pipeline.max_tokens} "
            f"tokens (maximum {limit:,} characters). Shorten it",
        )
    pairs = [(query, text) for text in texts]
    result = await infer(request, pairs, field=field, truncate=truncate, single=False)
    head = pipeline.config.head
    activation = "none" if raw else head.score_activation
    return Ranking(
        order=rank_logits([row[0] for row in result.outputs]),
        scores=[score_logits(row, activation)[0] for row in result.outputs],
        result=result,
    )

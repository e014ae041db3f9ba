"""Results of the evaluation of rankings, similarities and entities.

Invariant: as an Evaluation, each holds plain values only, without NaN, so that it can be written as
JSON, and what tells of rows that are not counted has the same names.
"""

from dataclasses import dataclass

from isobatch.evaluation.correlations import Interval
from isobatch.evaluation.records import RowError
from isobatch.evaluation.span_counts import SpanMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedRows:
    """The rows behind the numbers, as in Evaluation.

    num_texts: rows, of texts or pairs, that were computed. num_errors: rows that were not, and
    queries that were left out; errors: the first of them. num_unlabelled: rows that were left out
    as they have no expected value.
    """

    num_texts: int
    num_errors: int
    num_unlabelled: int
    num_truncated: int
    num_empty: int
    errors: tuple[RowError, ...]
    facts: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query: where it first is in a file, its metrics, and what was ranked first.

    first_rank: the rank of its first relevant text, the mean where it has the score of others.
    """

    place: str
    query: str
    ndcg_at_10: float
    first_rank: float
    ranked_first: str
    relevant: str
    num_texts: int
    num_relevant: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingEvaluation(EvaluatedRows):
    """Means over queries, from 0 to 1, each with its 95 % interval where it has one.

    task: "ranking", of each query's own texts, or "retrieval", of all texts of the files.
    recall_at: by rank; mrr_at_10: the mean reciprocal rank. random: the same of a random order.
    first_ranks: number of queries by the rank of their first relevant text, from 1 to 10; the last
    number is that of all further ranks. worst: the queries with the lowest nDCG.
    """

    task: str
    num_queries: int
    num_relevant: int
    ndcg_at_10: float
    ndcg_interval: Interval | None
    mrr_at_10: float
    mrr_interval: Interval | None
    recall_at: dict[str, float]
    random: dict[str, float]
    first_ranks: tuple[int, ...]
    worst: tuple[QueryResult, ...]


@dataclass(frozen=True, slots=True)
class PairResult:
    """One pair of texts: where the two similarities place it among all pairs, from 0 to 1."""

    place: str
    texts: tuple[str, str]
    expected: float
    similarity: float
    expected_place: float
    similarity_place: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityEvaluation(EvaluatedRows):
    """Correlation of the similarities of vectors with the expected ones.

    undefined: why both are None. points: up to 2,000 pairs (expected, found), evenly spread, for
    the chart. worst: the pairs that the two orders place furthest apart.
    """

    task: str
    spearman: float | None
    pearson: float | None
    spearman_interval: Interval | None
    pearson_interval: Interval | None
    undefined: str
    points: tuple[tuple[float, float], ...]
    worst: tuple[PairResult, ...]


@dataclass(frozen=True, slots=True)
class SpanMistake:
    """A predicted span that is wrong: its words, its score, and what was expected there."""

    place: str
    text: str
    words: str
    predicted: str
    expected: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityEvaluation(EvaluatedRows):
    """Precision, recall and F1 of spans, of each type and over all, as seqeval counts them.

    scheme: "default" or the scheme that spans must be complete in. num_missed: expected spans that
    no predicted span overlaps; num_spurious: predicted spans that no expected one overlaps.
    mistakes: wrong predicted spans, the highest scores first.
    """

    task: str
    scheme: str
    micro: SpanMetrics
    macro: SpanMetrics
    weighted: SpanMetrics
    types: tuple[SpanMetrics, ...]
    num_missed: int
    num_spurious: int
    mistakes: tuple[SpanMistake, ...]


TaskEvaluation = RankingEvaluation | SimilarityEvaluation | EntityEvaluation

"""Metrics of one query's ranking: nDCG, reciprocal rank and recall, each up to a rank.

Texts with the same score are in no order: each metric is its mean over all orders of them, as in
scikit-learn's nDCG. A model that scores every text alike is then as good as a random order, in
whichever order the file has its texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from isobatch.extras import needs_extra

TOP = 10
"""The rank up to which nDCG and the reciprocal rank look."""

RECALL_RANKS = (1, 5, 10, 100)

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class QueryMetrics:
    """The metrics of one query, each from 0 to 1; `recalls` is by RECALL_RANKS."""

    ndcg: float
    reciprocal_rank: float
    recalls: tuple[float, ...]


def query_metrics(relevance: Sequence[float], scores: Sequence[float]) -> QueryMetrics:
    """Compute the metrics of texts with these relevances, 0 or more, and these finite scores.

    One relevance must be above 0: those are the relevant texts. The gain of nDCG is the relevance
    itself, and its discount log₂(1 + rank), as in Järvelin and Kekäläinen 2002.
    """
    ties = list(_ties(relevance, scores))
    return QueryMetrics(
        ndcg=_ndcg(relevance, scores),
        reciprocal_rank=_reciprocal_rank(ties),
        recalls=tuple(_recall(ties, rank) for rank in RECALL_RANKS),
    )


def first_relevant_rank(relevance: ArrayLike, scores: ArrayLike) -> float:
    """Return the rank of the first relevant text, from 1; the mean where it has others' score."""
    found, is_relevant = np.asarray(scores), np.asarray(relevance) > 0
    best = found[is_relevant].max()
    tied = found == best
    return float((found > best).sum() + (tied.sum() + 1) / ((tied & is_relevant).sum() + 1))


def random_order(relevance: Sequence[float]) -> QueryMetrics:
    """Compute the mean of the metrics over all orders of the texts."""
    return query_metrics(relevance, [0.0] * len(relevance))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Compute the 95 % confidence interval of the mean of values from 0 to 1, by Student's t.

    None for fewer than two values.
    """
    if len(values) < 2:
        return None
    with needs_extra("evaluate", "evaluation"):
        from scipy.stats import t  # type: ignore[import-untyped]
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation / sqrt(len(values))
    return max(mean - reach, 0.0), min(mean + reach, 1.0)


def _ndcg(relevance: Sequence[float], scores: Sequence[float]) -> float:
    if len(relevance) == 1:  # which scikit-learn refuses: there is only one order
        return 1.0
    with needs_extra("evaluate", "evaluation"):
        from sklearn.metrics import ndcg_score  # type: ignore[import-untyped]
    return float(ndcg_score([relevance], [scores], k=TOP))


def _ties(relevance: Sequence[float], scores: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Yield the number of texts with each score, highest first, and how many are relevant."""
    ranked = sorted(zip(scores, relevance, strict=True), key=lambda each: -each[0])
    for _, group in groupby(ranked, key=lambda each: each[0]):
        relevant = [each > 0 for _, each in group]
        yield len(relevant), sum(relevant)


def _reciprocal_rank(ties: Sequence[tuple[int, int]]) -> float:
    """Return the mean of 1 / rank of the first relevant text; 0 where it is behind TOP."""
    above = 0
    for size, relevant in ties:
        if not relevant:
            above += size
            continue
        mean, none_yet = 0.0, 1.0
        for place in range(min(size - relevant + 1, TOP - above)):
            is_here = relevant / (size - place)
            mean += none_yet * is_here / (above + place + 1)
            none_yet *= 1 - is_here
        return mean
    return 0.0


def _recall(ties: Sequence[tuple[int, int]], rank: int) -> float:
    """Return the share of the relevant texts that are among the first `rank`."""
    above, found = 0, 0.0
    for size, relevant in ties:
        found += relevant * min(max(rank - above, 0), size) / size
        above += size
    return found / sum(relevant for _, relevant in ties)

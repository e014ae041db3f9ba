"""Metrics of rankings and similarities, against definitions on all orders of small rankings."""

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from isobatch.evaluation.correlations import correlate
from isobatch.evaluation.ranked_queries import QueryMeans
from isobatch.evaluation.ranking_metrics import (
    RECALL_RANKS,
    TOP,
    first_relevant_rank,
    mean_interval,
    query_metrics,
    random_order,
)
from isobatch.evaluation.row_tally import RowTally
from isobatch.evaluation.task_records import QueryResult

RELEVANCES = st.lists(st.sampled_from([0, 0, 1, 3]), min_size=1, max_size=6).filter(any)


def by_definition(relevance: list[float], scores: list[float]) -> tuple[float, ...]:
    """nDCG, reciprocal rank, recalls and first rank: the mean over all orders by score."""
    size = range(len(scores))
    found = [
        each
        for each in permutations(size)
        if all(scores[a] >= scores[b] for a, b in pairwise(each))
    ]
    every = [of_order([relevance[index] for index in order]) for order in found]
    return tuple(sum(column) / len(every) for column in zip(*every, strict=True))


def of_order(relevance: list[float]) -> tuple[float, ...]:
    gains = [gain / math.log2(2 + rank) for rank, gain in enumerate(relevance[:TOP])]
    best = sorted(relevance, reverse=True)[:TOP]
    ideal = [gain / math.log2(2 + rank) for rank, gain in enumerate(best)]
    first = next(rank for rank, each in enumerate(relevance, 1) if each)
    total = sum(each > 0 for each in relevance)
    recalls = [sum(each > 0 for each in relevance[:rank]) / total for rank in RECALL_RANKS]
    reciprocal = 1 / first if first <= TOP else 0
    return sum(gains) / sum(ideal), reciprocal, *recalls, first


@given(RELEVANCES, st.data())
def test_ties_have_the_mean_of_all_orders(relevance: list[float], data: st.DataObject) -> None:
    number = len(relevance)
    scores = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=number, max_size=number))
    found = query_metrics(relevance, scores)
    first = first_relevant_rank(relevance, scores)
    metrics = (found.ndcg, found.reciprocal_rank, *found.recalls, first)
    assert metrics == pytest.approx(by_definition(relevance, scores), abs=1e-12)


def test_a_constant_model_is_as_good_as_a_random_order() -> None:
    relevance = [1.0, *[0.0] * 19]
    assert query_metrics(relevance, [7.0] * 20) == random_order(relevance[::-1])
    assert random_order(relevance).recalls == (1 / 20, 5 / 20, 10 / 20, 1.0)
    expected = sum(1 / rank for rank in range(1, 11)) / 20
    assert random_order(relevance).reciprocal_rank == pytest.approx(expected)


@given(st.integers(0, 40), st.integers(41, 60))
def test_ranks_behind_the_tenth_do_not_count(rank: int, size: int) -> None:
    relevance = [float(index == rank) for index in range(size)]
    found = query_metrics(relevance, [-float(index) for index in range(size)])
    assert found.reciprocal_rank == (1 / (rank + 1) if rank < 10 else 0)
    assert found.recalls == tuple(float(rank < each) for each in RECALL_RANKS)
    assert found.ndcg == pytest.approx(1 / math.log2(rank + 2) if rank < 10 else 0)


def test_ndcg_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        relevance = [*generator.integers(0, 4, 30).tolist(), 1]
        scores = generator.normal(size=31).tolist()
        assert query_metrics(relevance, scores).ndcg == ndcg_score([relevance], [scores], k=10)


def test_the_interval_of_a_mean() -> None:
    values = [0.5, 0.75, 1.0, 0.25]
    low, high = scipy.stats.t.interval(0.95, 3, np.mean(values), scipy.stats.sem(values))
    assert mean_interval(values) == pytest.approx((max(low, 0), min(high, 1)))
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5)
    assert mean_interval([0.5]) is None


def test_correlations_are_those_of_scipy() -> None:
    generator = np.random.default_rng(1)
    gold = generator.integers(0, 6, 50).astype(float).tolist()
    noises = generator.normal(size=50).tolist()
    cosines = [value / 9 + noise / 5 for value, noise in zip(gold, noises, strict=True)]
    found = correlate(gold, cosines)
    assert found.spearman == scipy.stats.spearmanr(gold, cosines).statistic
    assert found.pearson == scipy.stats.pearsonr(gold, cosines).statistic
    known = scipy.stats.pearsonr(gold, cosines).confidence_interval(0.95)
    assert found.pearson_interval == pytest.approx((known.low, known.high))
    assert found.spearman_interval is not None
    low, high = found.spearman_interval
    assert low < found.spearman < high
    assert correlate([1, 2, 3], [0.1, 0.2, 0.3]).pearson_interval is None


def test_a_correlation_with_a_constant_is_undefined() -> None:
    found = correlate([1, 2, 3, 4], [0.5] * 4)
    assert (found.spearman, found.pearson) == (None, None)
    assert found.undefined == "there is only one computed similarity"


@pytest.mark.parametrize(("rank", "counted"), [(1.0, 1), (1.5, 2), (10.5, 11), (40.0, 11)])
def test_a_rank_between_two_is_the_later_one(rank: float, counted: int) -> None:
    """Of a text that has the score of another, so that a constant model ranks nothing first."""
    means = QueryMeans(0)
    metrics = query_metrics([1.0], [0.0])
    means.add(metrics, metrics, QueryResult("", "", 1.0, rank, "", "", 50, 1))
    tally = RowTally()
    tally.add(truncated=False, empty=False, num_tokens=1)
    assert means.finish("ranking", tally, {}).first_ranks.index(1) == counted - 1

"""The words and numbers of an evaluation of rankings, similarities or entities, in reading order.

Page and terminal show the same parts. Invariant: a metric that is not defined is a dash with its
reason, and never 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isobatch.drawing.display_text import counted, percent
from isobatch.evaluation.correlations import Interval
from isobatch.evaluation.ranking_metrics import RECALL_RANKS, TOP
from isobatch.evaluation.span_counts import SpanMetrics
from isobatch.evaluation.task_records import (
    EntityEvaluation,
    PairResult,
    QueryResult,
    RankingEvaluation,
    SimilarityEvaluation,
    SpanMistake,
    TaskEvaluation,
)


@dataclass(frozen=True, slots=True)
class MetricFigure:
    """A headline number, with a note on what it means."""

    title: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A table with its heading; `name` is unique. numbers: the columns that are aligned right.

    only_on_page: columns with texts for which a terminal has no room.
    """

    name: str
    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int]
    note: str = ""
    only_on_page: frozenset[int] = frozenset()

    @property
    def for_terminal(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows without the columns that are only on a page."""
        kept = [index for index in range(len(self.header)) if index not in self.only_on_page]
        return (
            [self.header[index] for index in kept],
            [[row[index] for index in kept] for row in self.rows],
        )


@dataclass(frozen=True, slots=True)
class ReportParts:
    """The contents of a report: figures, a sentence, and tables."""

    figures: tuple[MetricFigure, ...]
    lead: str
    tables: tuple[MetricTable, ...]


def describe_evaluation(evaluation: TaskEvaluation) -> ReportParts:
    """Write the parts of an evaluation."""
    if isinstance(evaluation, RankingEvaluation):
        return _ranking(evaluation)
    if isinstance(evaluation, SimilarityEvaluation):
        return _similarity(evaluation)
    return _entities(evaluation)


def describe_rows(evaluation: TaskEvaluation) -> str:
    """Count the rows that are in no metric, and those to know of."""
    return (
        f"{evaluation.num_truncated:,} truncated, {counted(evaluation.num_errors, 'error')}, "
        f"{evaluation.num_unlabelled:,} without an expected value, {evaluation.num_empty:,} empty "
        "or white space"
    )


def _ranking(found: RankingEvaluation) -> ReportParts:
    random = found.random
    of_queries = counted(found.num_queries, "query", "queries")
    figures = (
        MetricFigure(
            f"nDCG@{TOP}",
            _ratio(found.ndcg_at_10),
            f"{_between(found.ndcg_interval)}a random order has {_ratio(random['ndcg_at_10'])}",
        ),
        MetricFigure(
            f"MRR@{TOP}",
            _ratio(found.mrr_at_10),
            f"{_between(found.mrr_interval)}a random order has {_ratio(random['mrr_at_10'])}",
        ),
        MetricFigure(
            f"Recall@{TOP}",
            _ratio(found.recall_at[str(TOP)]),
            f"a random order has {_ratio(random[f'recall_at_{TOP}'])}",
        ),
        MetricFigure(
            "Queries",
            f"{found.num_queries:,}",
            f"{counted(found.num_relevant, 'relevant text')}, {counted(found.num_texts, 'row')}",
        ),
    )
    first, top = found.first_ranks[0], sum(found.first_ranks[:TOP])
    lead = (
        f"The first relevant text is ranked first for {first:,} of {of_queries}, and among the "
        f"first {TOP} for {top:,}."
    )
    recall = MetricTable(
        "recall",
        "Recall by rank",
        ("rank", "recall", "random order"),
        tuple(
            (str(rank), _ratio(found.recall_at[str(rank)]), _ratio(random[f"recall_at_{rank}"]))
            for rank in RECALL_RANKS
        ),
        frozenset({1, 2}),
        "Share of a query's relevant texts that are ranked at this place or higher.",
    )
    worst = MetricTable(
        "worst",
        f"Queries with the lowest nDCG@{TOP}",
        ("query", f"nDCG@{TOP}", "first relevant", "ranked first", "best relevant text", "place"),
        tuple(map(_query_row, found.worst)),
        frozenset({1, 2}),
        "If a text that is ranked first is relevant after all, its relevance in the file is wrong.",
        frozenset({4}),
    )
    return ReportParts(figures, lead, _with_rows(recall, worst))


def _query_row(each: QueryResult) -> tuple[str, ...]:
    rank = f"rank {each.first_rank:g} of {each.num_texts:,}"
    shown = each.query, _ratio(each.ndcg_at_10), rank
    return (*shown, each.ranked_first, each.relevant, each.place)


def _similarity(found: SimilarityEvaluation) -> ReportParts:
    reason = f"undefined: {found.undefined}" if found.undefined else ""
    figures = (
        MetricFigure(
            "Spearman correlation",
            _ratio(found.spearman),
            reason or f"{_between(found.spearman_interval)}of the order of pairs",
        ),
        MetricFigure(
            "Pearson correlation",
            _ratio(found.pearson),
            reason or f"{_between(found.pearson_interval)}of the numbers themselves",
        ),
        MetricFigure("Pairs", f"{found.num_texts:,}", f"similarity: {found.facts['similarity']}"),
    )
    worst = MetricTable(
        "worst",
        "Pairs that the two orders place furthest apart",
        ("text", "other text", "expected", "found", "place"),
        tuple(map(_pair_row, found.worst)),
        frozenset({2, 3}),
        "In brackets: the share of the pairs that are less similar.",
    )
    lead = "1 is the same order as that of the expected similarities, 0 is chance."
    return ReportParts(figures, lead, _with_rows(worst))


def _pair_row(each: PairResult) -> tuple[str, ...]:
    numbers = (
        f"{number:.4g} ({percent(place)})"
        for number, place in (
            (each.expected, each.expected_place),
            (each.similarity, each.similarity_place),
        )
    )
    return (*each.texts, *numbers, each.place)


def _entities(found: EntityEvaluation) -> ReportParts:
    means: Mapping[str, tuple[SpanMetrics, str]] = {
        "Micro F1": (found.micro, "of all spans"),
        "Macro F1": (found.macro, "mean of the types"),
        "Weighted F1": (found.weighted, "mean by expected spans"),
    }
    figures = [
        MetricFigure(
            title,
            _ratio(each.f1),
            f"{note}; precision {_ratio(each.precision)}, recall {_ratio(each.recall)}",
        )
        for title, (each, note) in means.items()
    ]
    micro = found.micro
    figures.append(
        MetricFigure("Spans", f"{micro.support:,}", f"expected; {micro.num_predicted:,} predicted")
    )
    lead = (
        f"{micro.num_correct:,} of {counted(micro.support, 'expected span')} were found with their "
        f"ends and type; {found.num_missed:,} were missed altogether, and {found.num_spurious:,} "
        "predicted ones are where none is expected."
    )
    types = MetricTable(
        "types",
        "Metrics by type",
        ("type", "precision", "recall", "F1", "expected", "predicted"),
        tuple(_type_rows(found.types)),
        frozenset(range(1, 6)),
        "A dash is a share of no spans; it counts as 0 in the macro and weighted means.",
    )
    mistakes = MetricTable(
        "mistakes",
        "Wrong spans with the highest scores",
        ("predicted", "words", "score", "expected there", "text", "place"),
        tuple(map(_mistake_row, found.mistakes)),
        frozenset({2}),
        "If a confident span is wrong, check the file first.",
        frozenset({4}),
    )
    return ReportParts(tuple(figures), lead, _with_rows(types, mistakes))


def _type_rows(types: Sequence[SpanMetrics]) -> Iterator[tuple[str, ...]]:
    for each in types:
        ratios = map(_ratio, (each.precision, each.recall, each.f1))
        yield each.label, *ratios, f"{each.support:,}", f"{each.num_predicted:,}"


def _mistake_row(each: SpanMistake) -> tuple[str, ...]:
    spans = each.predicted, each.words, _ratio(each.score), each.expected
    return (*spans, each.text, each.place)


def _with_rows(*tables: MetricTable) -> tuple[MetricTable, ...]:
    return tuple(table for table in tables if table.rows)


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _between(interval: Interval | None) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"95 % between {low:.4f} and {high:.4f}; "

"""Ranking of each query's texts by a reranker, compared with how relevant they are.

Ranked by logits, as `Reranker.rank` does: scores that are all 1.0 after a sigmoid would be ties.
"""

import heapq
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isobatch.batching.cache import OutputCache
from isobatch.drawing.display_text import counted
from isobatch.errors import InputError, MissingHeadError
from isobatch.evaluation.evaluator import NUM_MISTAKES
from isobatch.evaluation.metrics import check_libraries
from isobatch.evaluation.query_files import NO_RELEVANT, QueryFiles, QueryGroup, open_queries
from isobatch.evaluation.ranking_metrics import (
    RECALL_RANKS,
    TOP,
    QueryMetrics,
    first_relevant_rank,
    mean_interval,
    query_metrics,
    random_order,
)
from isobatch.evaluation.row_tally import RowTally
from isobatch.evaluation.task_records import QueryResult, RankingEvaluation
from isobatch.scoring import ProgressCallback, RowCounts, ScoringProgress, count_rows, score_inputs
from isobatch.tasks import Classifier

PERFECT = 1 - 1e-12
"""An nDCG above it is 1, up to the rounding of its sums."""

SINGLE = "{} a single text, whose order is always right"

ScoredText = tuple[float, str]


@dataclass(slots=True)
class RankedGroup(QueryGroup):
    """The texts of one query with their scores; of the texts, the first and the best relevant."""

    scores: list[float] = field(default_factory=list)
    first: ScoredText | None = None
    relevant: ScoredText | None = None

    def add(self, text: str, relevance: float, score: float) -> None:
        """Add a text; of equal scores the earlier is shown."""
        self.relevance.append(relevance)
        self.scores.append(score)
        if self.first is None or score > self.first[0]:
            self.first = score, text
        if relevance > 0 and (self.relevant is None or score > self.relevant[0]):
            self.relevant = score, text


def evaluate_ranking(
    files: QueryFiles,
    reranker: Classifier,
    *,
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = NUM_MISTAKES,
    on_progress: ProgressCallback = lambda progress: None,
) -> RankingEvaluation:
    """Score every text for its query, and compare the order of each query's texts with relevance.

    reranker: a checkpoint with one logit. OptionError for columns that do not exist, InputError for
    relevances that are wrong, as in `open_queries`, TableError for a file that cannot be read.
    """
    check_ranks(reranker)
    check_libraries()
    opened, tally = open_queries(files), RowTally()
    groups: dict[str, RankedGroup] = {}
    start, done, cache = time.monotonic(), RowCounts(), OutputCache()
    for rows in opened.chunks(tally):
        judged = [row for row in rows if row.relevance is not None]
        pairs = [(row.query, row.text) for row in judged]
        reading = opened.columns, reranker, files.truncation, cache, files.on_empty
        scored = score_inputs(pairs, *reading)
        tally.num_unlabelled += len(rows) - len(judged)
        for row, result, empty in zip(judged, scored.results, scored.empty, strict=True):
            if isinstance(result, InputError):
                tally.add_error(row.place, result.reason)
                continue
            tally.add(truncated=result.truncated, empty=bool(empty))
            group = groups.setdefault(row.query, RankedGroup(row.place))
            group.add(row.text, row.relevance or 0.0, result.logits[0])
        done += count_rows(scored, duplicates=0) + RowCounts(rows=len(rows) - len(judged))
        on_progress(ScoringProgress(opened.num_rows, RowCounts(), done, time.monotonic() - start))
    means = QueryMeans(num_mistakes)
    for query, group in groups.items():
        if not group.is_answered:
            tally.add_error(group.place, NO_RELEVANT.format(query[:60]))
            continue
        found = query_metrics(group.relevance, group.scores)
        means.add(found, random_order(group.relevance), _result(query, group, found))
    return means.finish("ranking", tally, facts)


def check_ranks(reranker: Classifier) -> None:
    """MissingHeadError for a checkpoint that does not give one number for a query and a text."""
    if len(reranker.labels) != 1:
        raise MissingHeadError(
            f"{reranker.folder}: has {len(reranker.labels)} labels ({', '.join(reranker.labels)}), "
            "and a ranking needs one number for a query and a text. Leave out --query-column to "
            "evaluate the labels, or use a checkpoint that ranks"
        )


def _result(query: str, group: RankedGroup, found: QueryMetrics) -> QueryResult:
    assert group.first is not None
    assert group.relevant is not None
    return QueryResult(
        place=group.place,
        query=query,
        ndcg_at_10=found.ndcg,
        first_rank=first_relevant_rank(group.relevance, group.scores),
        ranked_first=group.first[1],
        relevant=group.relevant[1],
        num_texts=len(group.relevance),
        num_relevant=sum(each > 0 for each in group.relevance),
    )


class QueryMeans:
    """Means of the metrics of queries, and the queries with the lowest nDCG."""

    def __init__(self, num_worst: int) -> None:
        self._num_worst = num_worst
        self._found: list[QueryMetrics] = []
        self._random: list[QueryMetrics] = []
        self._first_ranks = [0] * (TOP + 1)
        self._num_relevant = self._num_single = 0
        self._worst: list[tuple[float, int, QueryResult]] = []

    def add(self, found: QueryMetrics, random: QueryMetrics, result: QueryResult) -> None:
        """Add one query: its metrics, those of a random order, and how it is shown."""
        self._found.append(found)
        self._random.append(random)
        self._num_relevant += result.num_relevant
        self._num_single += result.num_texts == 1
        self._first_ranks[min(math.ceil(result.first_rank), TOP + 1) - 1] += 1
        if found.ndcg >= PERFECT:
            return
        entry = -found.ndcg, -len(self._found), result
        if len(self._worst) < self._num_worst:
            heapq.heappush(self._worst, entry)
        elif self._worst:
            heapq.heappushpop(self._worst, entry)

    def finish(
        self,
        task: str,
        tally: RowTally,
        facts: Mapping[str, str] | None,
        notes: Sequence[str] = (),
    ) -> RankingEvaluation:
        """Compute the means; InputError if there was no query."""
        if not self._found:
            raise tally.absence("query")
        ndcg = [each.ndcg for each in self._found]
        reciprocal = [each.reciprocal_rank for each in self._found]
        if self._num_single:
            notes = [*notes, SINGLE.format(counted(self._num_single, "query has", "queries have"))]
        return RankingEvaluation(
            task=task,
            num_queries=len(self._found),
            num_relevant=self._num_relevant,
            ndcg_at_10=_mean(ndcg),
            ndcg_interval=mean_interval(ndcg),
            mrr_at_10=_mean(reciprocal),
            mrr_interval=mean_interval(reciprocal),
            recall_at=_recalls(self._found),
            random=self._of_random_order(),
            first_ranks=tuple(self._first_ranks),
            worst=tuple(result for *_, result in sorted(self._worst, reverse=True)),
            **tally.fields(facts, notes),
        )

    def _of_random_order(self) -> dict[str, float]:
        return {
            "ndcg_at_10": _mean([each.ndcg for each in self._random]),
            "mrr_at_10": _mean([each.reciprocal_rank for each in self._random]),
            **{f"recall_at_{rank}": mean for rank, mean in _recalls(self._random).items()},
        }


def _recalls(queries: list[QueryMetrics]) -> dict[str, float]:
    return {
        str(rank): _mean([each.recalls[index] for each in queries])
        for index, rank in enumerate(RECALL_RANKS)
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

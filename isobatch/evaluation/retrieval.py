"""Retrieval: each query is compared with all texts of the files, by the similarity of vectors.

Texts that no row names for a query are taken as not relevant to it. Queries and texts are embedded
with the prompts that sentence-transformers uses for each (`encode_query`, `encode_document`).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import counted
from isobatch.errors import InputError
from isobatch.evaluation.evaluator import NUM_MISTAKES
from isobatch.evaluation.metrics import check_libraries
from isobatch.evaluation.query_files import NO_RELEVANT, OpenedQueries, QueryFiles, open_queries
from isobatch.evaluation.ranked_queries import QueryMeans
from isobatch.evaluation.ranking_metrics import (
    RECALL_RANKS,
    QueryMetrics,
    first_relevant_rank,
    query_metrics,
    random_order,
)
from isobatch.evaluation.row_tally import RowTally
from isobatch.evaluation.task_records import QueryResult, RankingEvaluation
from isobatch.scoring import ProgressCallback, RowCounts, ScoringProgress
from isobatch.scoring.predictions import is_empty
from isobatch.tasks.embedding import Embedder
from isobatch.types import Truncation

QUERY_PROMPTS = ("query",)
TEXT_PROMPTS = ("document", "passage", "corpus")
"""Names of prompts in the order in which sentence-transformers 6.2 looks for them."""

MAX_VECTOR_NUMBERS = 256_000_000
"""Of all vectors together: 1 GB."""

QUERIES_AT_ONCE = 64

TextNumbers = NDArray[np.float64]
"""[texts], a number of each text."""


@dataclass(slots=True)
class Judged:
    """One query: where it first is, and the relevance of texts by their index."""

    place: str
    relevance: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class EmbeddedTexts:
    """Different texts, in order; each with its index, or None where it has no vector."""

    embedder: Embedder
    indices: dict[str, int | None] = field(default_factory=dict)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    truncated: set[str] = field(default_factory=set)
    num_tokens: int = 0
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, texts: Sequence[str], truncation: Truncation) -> None:
        """Embed the texts that are new."""
        new = [text for text in dict.fromkeys(texts) if text not in self.indices]
        results = self.embedder.predict_or_errors(new, truncation=truncation)
        for text, found in zip(new, results, strict=True):
            if isinstance(found, InputError):
                self.indices[text], self.errors[text] = None, found.reason
                continue
            self.indices[text] = len(self.vectors)
            self.vectors.append(found.vector)
            self.num_tokens += found.num_tokens
            if found.truncated:
                self.truncated.add(text)
            if len(self.vectors) * found.vector.size > MAX_VECTOR_NUMBERS:
                raise InputError(
                    f"the vectors of {counted(len(self.vectors), 'different text')} have more "
                    f"than {MAX_VECTOR_NUMBERS:,} numbers. Evaluate on a part of the files"
                )


def evaluate_retrieval(
    files: QueryFiles,
    embedder: Embedder,
    *,
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = NUM_MISTAKES,
    on_progress: ProgressCallback = lambda progress: None,
) -> RankingEvaluation:
    """Rank all different texts of the files for every query, and compare with the relevances.

    Raises as `evaluate_ranking`, and InputError where the vectors are too many for the memory.
    """
    check_libraries()
    opened, tally = open_queries(files), RowTally()
    query_prompt, text_prompt = (
        next((name for name in names if name in embedder.prompts), None)
        for names in (QUERY_PROMPTS, TEXT_PROMPTS)
    )
    queries = EmbeddedTexts(_prompted(embedder, query_prompt))
    texts = EmbeddedTexts(_prompted(embedder, text_prompt))
    judged = _embed_rows(opened, queries, texts, tally, on_progress)
    means = QueryMeans(num_mistakes)
    for query, found in _rankings(judged, queries, texts):
        if found is None:
            tally.add_error(judged[query].place, NO_RELEVANT.format(query[:60]))
        else:
            means.add(*found)
    named = {"prompt of queries": query_prompt, "prompt of texts": text_prompt}
    prompts = {name: prompt for name, prompt in named.items() if prompt is not None}
    found_facts = {**(facts or {}), "similarity": embedder.similarity_function, **prompts}
    notes = [f"each query was compared with {counted(len(texts.vectors), 'different text')}"]
    return means.finish("retrieval", tally, found_facts, notes)


def _prompted(embedder: Embedder, name: str | None) -> Embedder:
    """Return the embedder with that prompt; without one, as sentence-transformers, with none."""
    return (
        embedder.with_prompt(prompt="") if name is None else embedder.with_prompt(prompt_name=name)
    )


def _embed_rows(
    opened: OpenedQueries,
    queries: EmbeddedTexts,
    texts: EmbeddedTexts,
    tally: RowTally,
    on_progress: ProgressCallback,
) -> dict[str, Judged]:
    """Embed all queries and texts, and return the relevant texts of each query."""
    judged: dict[str, Judged] = {}
    start, done = time.monotonic(), 0
    for rows in opened.chunks(tally):
        refuses_empty = opened.files.on_empty == "error"
        for side, found in ((queries, [r.query for r in rows]), (texts, [r.text for r in rows])):
            read = [text for text in found if not (refuses_empty and is_empty(text))]
            side.add(read, opened.files.truncation)
        for row in rows:
            if row.relevance is None:
                tally.num_unlabelled += 1
                continue
            reason = queries.errors.get(row.query) or texts.errors.get(row.text)
            empty = is_empty((row.query, row.text))
            if empty and refuses_empty:
                reason = reason or "its query or its text is empty or white space"
            if reason:
                tally.add_error(row.place, reason)
                continue
            truncated = row.query in queries.truncated or row.text in texts.truncated
            tally.add(truncated=truncated, empty=empty)
            query = judged.setdefault(row.query, Judged(row.place))
            index = texts.indices[row.text]
            assert index is not None
            query.relevance[index] = max(row.relevance, query.relevance.get(index, 0.0))
        done += len(rows)
        tokens, seconds = queries.num_tokens + texts.num_tokens, time.monotonic() - start
        counts = RowCounts(rows=done, tokens=tokens)
        on_progress(ScoringProgress(opened.num_rows, RowCounts(), counts, seconds))
    return judged


def _rankings(
    judged: Mapping[str, Judged], queries: EmbeddedTexts, texts: EmbeddedTexts
) -> Iterator[tuple[str, tuple[QueryMetrics, QueryMetrics, QueryResult] | None]]:
    """Yield for each query the metrics of all texts; None for one without a relevant text."""
    if not judged:
        return
    names = [text for text, index in texts.indices.items() if index is not None]
    matrix = np.stack(texts.vectors)
    ordered = list(judged)
    for start in range(0, len(ordered), QUERIES_AT_ONCE):
        some = ordered[start : start + QUERIES_AT_ONCE]
        places = [queries.indices[query] for query in some]
        vectors = np.stack([queries.vectors[place] for place in places if place is not None])
        similarities = queries.embedder.similarity(vectors, matrix)
        for query, scores in zip(some, similarities, strict=True):
            relevance = np.zeros(len(names))
            for index, value in judged[query].relevance.items():
                relevance[index] = value
            if not relevance.any():
                yield query, None
                continue
            found, random = _metrics(relevance, scores), random_order(relevance.tolist())
            yield (
                query,
                (found, random, _shown(query, judged[query], names, relevance, scores, found.ndcg)),
            )


def _metrics(relevance: TextNumbers, scores: TextNumbers) -> QueryMetrics:
    """Compute the metrics from the first texts and the relevant ones: the others are in none."""
    most = RECALL_RANKS[-1]
    least = np.partition(scores, -most)[-most] if len(scores) > most else -np.inf
    seen = (scores >= least) | (relevance > 0)
    return query_metrics(relevance[seen].tolist(), scores[seen].tolist())


def _shown(
    query: str,
    judged: Judged,
    names: Sequence[str],
    relevance: TextNumbers,
    scores: TextNumbers,
    ndcg: float,
) -> QueryResult:
    best = np.where(relevance > 0, scores, -np.inf).argmax()
    return QueryResult(
        place=judged.place,
        query=query,
        ndcg_at_10=ndcg,
        first_rank=first_relevant_rank(relevance, scores),
        ranked_first=names[int(scores.argmax())],
        relevant=names[int(best)],
        num_texts=len(names),
        num_relevant=int((relevance > 0).sum()),
    )

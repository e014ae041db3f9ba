"""Workloads of each task, from the texts of the other benchmarks.

Invariant: the same plan and the same files give every side the same items in the same order.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks import BenchmarkError
from benchmarks.workload import read_corpora

TaskName = Literal["embeddings", "reranking", "zero-shot", "tokens"]

SEED = 0
QUERY_WORDS = 8
CANDIDATES = 100
ZERO_SHOT_LABELS = (
    "world politics",
    "business",
    "sports",
    "science",
    "technology",
    "health",
    "entertainment",
    "film reviews",
    "music",
    "travel",
    "food",
    "education",
    "law",
    "crime",
    "weather",
    "religion",
    "the economy",
    "the environment",
    "space exploration",
    "computer security",
)


class Question(NamedTuple):
    """A query and its candidates, which are ranked in one call."""

    query: str
    texts: Sequence[str]


Item = str | Question
"""A text, or, for reranking, a question: its outputs are a row for each candidate."""


@dataclass(frozen=True)
class TaskPlan:
    """Sizes of one workload. questions: for reranking, each with CANDIDATES texts of the mix.

    alone: rows that are also computed alone, for comparing bits.
    """

    sst2_texts: int
    agnews_texts: int
    rounds: int
    alone: int
    questions: int = 0


@dataclass(frozen=True)
class TaskWorkload:
    """The items of a run; `alone` are items of one row, and `alone_rows` their rows in the run."""

    items: list[Item]
    num_rows: int
    alone: list[Item]
    alone_rows: list[int]


def make_task_workload(data: Path, task: TaskName, plan: TaskPlan) -> TaskWorkload:
    """Draw the workload from the corpora: SST-2 sentences and AG News articles, mixed."""
    sst2, agnews = read_corpora(data)
    draw = random.Random(SEED)
    if len(sst2) < plan.sst2_texts or len(agnews) < plan.agnews_texts:
        raise BenchmarkError(
            f"texts: too few (got {len(sst2)} of SST-2 and {len(agnews)} of AG News, expected at "
            f"least {plan.sst2_texts} and {plan.agnews_texts}). Pass another folder as --data"
        )
    if task == "reranking":
        items: list[Item] = [_question(draw, sst2, agnews, plan) for _ in range(plan.questions)]
        rows: list[Item] = [
            Question(item.query, [text])
            for item in items
            if isinstance(item, Question)
            for text in item.texts
        ]
    else:
        items = [*draw.sample(sst2, plan.sst2_texts), *draw.sample(agnews, plan.agnews_texts)]
        draw.shuffle(items)
        rows = items
    chosen = sorted(draw.sample(range(len(rows)), min(plan.alone, len(rows))))
    return TaskWorkload(items, len(rows), [rows[index] for index in chosen], chosen)


def _question(
    draw: random.Random, sst2: Sequence[str], agnews: Sequence[str], plan: TaskPlan
) -> Question:
    """Draw the first words of an article as a query, and candidates in the plan's proportion."""
    articles = round(CANDIDATES * plan.agnews_texts / (plan.sst2_texts + plan.agnews_texts))
    texts = [*draw.sample(sst2, CANDIDATES - articles), *draw.sample(agnews, articles)]
    draw.shuffle(texts)
    return Question(" ".join(draw.choice(agnews).split()[:QUERY_WORDS]), texts)

"""Real texts for the job: a seeded sample of SST-2 sentences and AG News articles, mixed.

It knows the two files' formats and nothing of engines. Invariant: the same plan and the same files
give the same job, text for text and batch for batch.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchError


@dataclass(frozen=True)
class Plan:
    """How much is asked: texts of each corpus, rounds, and the sample whose bits are compared."""

    sst2_texts: int = 220
    agnews_texts: int = 60
    rounds: int = 5
    one_texts: int = 40
    warm_up_texts: int = 5
    bits_texts: int = 120
    bits_partitions: int = 2
    largest_bits_batch: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """The texts of one run, in arrival order; `partitions` index into `bits`."""

    bulk: list[str]
    warm_up: list[str]
    one_text: list[str]
    bits: list[str]
    partitions: list[list[list[int]]]


def make_job(data: Path, plan: Plan) -> Job:
    """Draw the job; BenchError names the files that are not there."""
    sst2, agnews = read_corpora(data)
    draw = random.Random(plan.seed)
    bulk = _sample(draw, sst2, plan.sst2_texts, "SST-2")
    bulk += _sample(draw, agnews, plan.agnews_texts, "AG News")
    draw.shuffle(bulk)
    # Latency and bits take the head of the same shuffled mix: the corpora stay in proportion.
    bits = bulk[: plan.bits_texts]
    return Job(
        bulk=bulk,
        warm_up=bulk[-plan.warm_up_texts :],
        one_text=bulk[: plan.one_texts],
        bits=bits,
        partitions=[
            random_partition(draw, len(bits), plan.largest_bits_batch)
            for _ in range(plan.bits_partitions)
        ],
    )


def read_corpora(data: Path) -> tuple[list[str], list[str]]:
    """Return the SST-2 and the AG News texts of a data folder."""
    sst2, agnews = data / "sst2" / "dev.tsv", data / "agnews" / "test.tsv"
    missing = [str(path) for path in (sst2, agnews) if not path.is_file()]
    if missing:
        raise BenchError(
            f"no texts: {', '.join(missing)} not found. Expected sst2/dev.tsv (a header line, then "
            "sentence<TAB>label) and agnews/test.tsv (text<TAB>label) in the folder that --data or "
            "ISOBATCH_DATA names"
        )
    return _first_column(sst2)[1:], _first_column(agnews)


def random_partition(draw: random.Random, num_rows: int, largest: int) -> list[list[int]]:
    """Cut the shuffled rows into batches of 1 to `largest`: each row in one batch."""
    rows = list(range(num_rows))
    draw.shuffle(rows)
    batches = []
    while rows:
        size = draw.randint(1, largest)
        batches.append(rows[:size])
        rows = rows[size:]
    return batches


def _first_column(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line.rpartition("\t")[0].strip() for line in lines if line]


def _sample(draw: random.Random, texts: list[str], count: int, corpus: str) -> list[str]:
    if count > len(texts):
        raise BenchError(f"{corpus}: {count} texts wanted, {len(texts)} in the file")
    return draw.sample(texts, count)

"""Real texts: a seeded sample of SST-2 and AG News for the job, labelled ones, ever more of them.

It knows the two files' formats and nothing of engines. Invariant: the same plan and the same files
give the same job, text for text and batch for batch.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.errors import BenchError

# Both prime: no two numbers are equal below the modulus, and those of the first 1,000 texts are
# spread like those of the first 100,000, so that a text has as many tokens in a run of any size.
_NUMBER_STEP = 7_919
_NUMBER_MODULUS = 1_000_003
_POOL_TEXTS = 1_000


@dataclass(frozen=True)
class Plan:
    """How much is asked: texts of each corpus, rounds, the sample whose bits are compared.

    `scaling_runs` says how often each of `scaling_sizes` is run: short runs are the noisier ones.
    """

    sst2_texts: int = 220
    agnews_texts: int = 60
    rounds: int = 5
    one_texts: int = 40
    warm_up_texts: int = 5
    bits_texts: int = 120
    bits_partitions: int = 2
    largest_bits_batch: int = 64
    accuracy_texts: int | None = None  # None: the whole file
    scaling_sizes: list[int] = field(default_factory=lambda: [1_000, 10_000, 100_000])
    scaling_runs: list[int] = field(default_factory=lambda: [7, 3, 1])
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
    return [text for text, _ in _rows(sst2)[1:]], [text for text, _ in _rows(agnews)]


def read_labelled(data: Path, count: int | None) -> tuple[list[str], list[int]]:
    """Return the SST-2 texts and their labels, the first `count` of them or all."""
    read_corpora(data)  # says what is missing
    rows = _rows(data / "sst2" / "dev.tsv")[1:][:count]
    return [text for text, _ in rows], [int(label) for _, label in rows]


def make_pool(data: Path, plan: Plan) -> list[str]:
    """Draw the SST-2 texts that `distinct` repeats."""
    sst2, _ = read_corpora(data)
    return random.Random(plan.seed).sample(sst2, min(_POOL_TEXTS, *plan.scaling_sizes))


def distinct(texts: Sequence[str], count: int) -> Iterator[str]:
    """Yield `count` texts, no two equal: the given ones over and over, each after a number."""
    for index in range(count):
        number = index * _NUMBER_STEP % _NUMBER_MODULUS
        yield f"{number} {texts[index % len(texts)]}"


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


def _rows(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    columns = (line.rpartition("\t") for line in lines if line)
    return [(text.strip(), label) for text, _, label in columns]


def _sample(draw: random.Random, texts: list[str], count: int, corpus: str) -> list[str]:
    if count > len(texts):
        raise BenchError(f"{corpus}: {count} texts wanted, {len(texts)} in the file")
    return draw.sample(texts, count)

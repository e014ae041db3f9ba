"""Texts from SST-2 and AG News: a seeded sample as the workload, labelled texts, distinct texts.

Invariant: the same plan and the same files give the same workload, text for text and batch for
batch.
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import BenchmarkError

# Both prime: no two numbers are equal below the modulus, and those of the first 1,000 texts are
# spread like those of the first 100,000, so that a text has as many tokens in a run of any size.
_NUMBER_STEP = 7_919
_NUMBER_MODULUS = 1_000_003
_POOL_TEXTS = 1_000

DEFAULT_DATA = Path(os.environ.get("ISOBATCH_DATA", Path(__file__).parents[2] / "shared/data"))


@dataclass(frozen=True)
class BenchmarkPlan:
    """Sizes of a benchmark run: texts of each corpus, rounds, the sample for comparing bits.

    `scaling_runs` is the number of runs of each of `scaling_sizes`: short runs are noisier.
    `roof_seconds` is spent on each peak, product and block in each of `roof_rounds`.
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
    roof_rounds: int = 5
    roof_seconds: float = 0.2
    slow_texts: int = 8  # for the reference kernels: plain C++
    cold_starts: int = 7
    seed: int = 0


@dataclass(frozen=True)
class Workload:
    """The texts of a run, in arrival order; `partitions` are batches of indices into `bits`."""

    bulk: list[str]
    warm_up: list[str]
    one_text: list[str]
    bits: list[str]
    partitions: list[list[list[int]]]


def make_workload(data: Path, plan: BenchmarkPlan) -> Workload:
    """Draw the workload from the corpora."""
    sst2, agnews = read_corpora(data)
    draw = random.Random(plan.seed)
    bulk = _sample(draw, sst2, plan.sst2_texts, "SST-2")
    bulk += _sample(draw, agnews, plan.agnews_texts, "AG News")
    draw.shuffle(bulk)
    # Latency and bits use the head of the same shuffled mix: the corpora stay in proportion.
    bits = bulk[: plan.bits_texts]
    return Workload(
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
    """Read the SST-2 and the AG News texts of a data folder."""
    sst2, agnews = data / "sst2" / "dev.tsv", data / "agnews" / "test.tsv"
    missing = [str(path) for path in (sst2, agnews) if not path.is_file()]
    if missing:
        raise BenchmarkError(
            f"texts: {', '.join(missing)} not found. Pass --data or set ISOBATCH_DATA: a folder "
            "with sst2/dev.tsv (a header line, then sentence<TAB>label) and agnews/test.tsv "
            "(text<TAB>label)"
        )
    return [text for text, _ in _rows(sst2)[1:]], [text for text, _ in _rows(agnews)]


def read_labelled(data: Path, count: int | None) -> tuple[list[str], list[int]]:
    """Read the SST-2 texts and their labels, the first `count` of them or all."""
    read_corpora(data)  # reports missing files
    rows = _rows(data / "sst2" / "dev.tsv")[1:][:count]
    return [text for text, _ in rows], [int(label) for _, label in rows]


def read_labelled_articles(data: Path, count: int | None) -> tuple[list[str], list[int]]:
    """Read the AG News texts and the numbers of their labels, the first `count` of them or all."""
    read_corpora(data)  # reports missing files
    rows = _rows(data / "agnews" / "test.tsv")
    number = {label: index for index, label in enumerate(sorted({label for _, label in rows}))}
    return [text for text, _ in rows[:count]], [number[label] for _, label in rows[:count]]


def make_text_pool(data: Path, plan: BenchmarkPlan) -> list[str]:
    """Draw the SST-2 texts that `distinct_texts` repeats."""
    sst2, _ = read_corpora(data)
    return random.Random(plan.seed).sample(sst2, min(_POOL_TEXTS, *plan.scaling_sizes))


def distinct_texts(texts: Sequence[str], count: int) -> Iterator[str]:
    """Yield `count` distinct texts: the given ones repeated, each prefixed with a number."""
    for index in range(count):
        number = index * _NUMBER_STEP % _NUMBER_MODULUS
        yield f"{number} {texts[index % len(texts)]}"


def random_partition(draw: random.Random, num_rows: int, largest: int) -> list[list[int]]:
    """Partition the shuffled rows into batches of 1 to `largest`."""
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
        raise BenchmarkError(
            f"{corpus}: too few texts (got {len(texts)}, expected at least {count})"
        )
    return draw.sample(texts, count)

"""Thousands of requests, of which a tenth leave early: is every other answer right, memory level?

`python -m benchmarks.serving.abuse` starts `isobatch serve` on the bundled model and prints a JSON
object; exit status 1 if an answer was wrong or missing, or memory grew. Right means: the very bits
that Classifier gives for the text alone.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from benchmarks.serving.connection import Connection

MOST_GROWTH_MB = 50
WARM_SHARE = 0.2
"""Memory is compared from here on: by then every thread, pool and connection has been there."""

Logits = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the requests; `others` counts answers of another status than 200."""

    right: int
    wrong: int
    left: int
    others: dict[int, int]
    megabytes_warm: float
    megabytes_after: float

    @property
    def passed(self) -> bool:
        """Every request that stayed was answered rightly, and memory is level."""
        growth = self.megabytes_after - self.megabytes_warm
        return not self.wrong and not self.others and growth <= MOST_GROWTH_MB


async def abuse(
    url: str,
    expected: Logits,
    *,
    num_requests: int,
    num_connections: int,
    leaving: float = 0.1,
    seed: int = 1,
) -> Outcome:
    """Ask for the texts of `expected` at random, one or several a request, and compare."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    chooser = random.Random(seed)
    texts = list(expected)
    remaining = iter(range(num_requests))
    counts: Counter[str] = Counter()
    others: Counter[int] = Counter()

    async def work(connection: Connection) -> None:
        for _ in remaining:
            asked = chooser.choices(texts, k=chooser.choice((1, 1, 1, 4)))
            body = {"inputs": asked, "raw_scores": True}
            if chooser.random() < leaving:
                share, seconds = chooser.choice((0.5, 1.0, 1.0)), chooser.choice((0, 0.01, 0.05))
                await connection.leave("/predict", body, share=share, seconds=seconds)
                counts["left"] += 1
                continue
            status, answer = await connection.post("/predict", body)
            if status != 200:
                others[status] += 1
            else:
                counts["right" if _is_right(asked, answer, expected) else "wrong"] += 1
        await connection.close()

    async def note_memory() -> float:
        while sum(counts.values()) < num_requests * WARM_SHARE:
            await asyncio.sleep(0.01)
        return await asyncio.to_thread(resident_megabytes, url)

    warm = asyncio.create_task(note_memory())
    await asyncio.gather(*(work(Connection(host, port)) for _ in range(num_connections)))
    after = await asyncio.to_thread(resident_megabytes, url)
    right, wrong, left = (counts[kind] for kind in ("right", "wrong", "left"))
    return Outcome(right, wrong, left, dict(others), await warm, after)


def _is_right(
    asked: Sequence[str], answer: Sequence[Sequence[Mapping[str, float]]], expected: Logits
) -> bool:
    rows = [sorted(each["score"] for each in row) for row in answer]
    return rows == [sorted(expected[text]) for text in asked]


def resident_megabytes(url: str) -> float:
    """What the server's process holds, by its own metrics."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith("process_resident_memory_bytes "))
    return float(line.split()[1]) / 1e6


@contextmanager
def served(*options: str) -> Iterator[str]:
    """The address of `isobatch serve` on the bundled model, in a process of its own."""
    command = [sys.executable, "-m", "isobatch", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def expected_logits(num_texts: int, precision: str, seed: int = 1) -> Logits:
    """Random texts of 1 to 60 words, and the logits of each alone."""
    from isobatch import Classifier

    chooser = random.Random(seed)
    words = [
        *"abcdefgh",
        "fine",
        "film",
        "dull",
        "plot",
        "never",
        "again",
        "Café",
        "今日",
        "😀",
        "!",
    ]
    texts = [" ".join(chooser.choices(words, k=chooser.randint(1, 60))) for _ in range(num_texts)]
    classifier = Classifier.from_pretrained(precision=precision)  # type: ignore[arg-type]
    return {text: classifier(text).logits for text in texts}


def main() -> int:
    """Run it as the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--cache-size", type=int, default=0, help="0: every text is computed")
    options = parser.parse_args()
    expected = expected_logits(options.texts, options.precision)
    how = ("--precision", options.precision, "--cache-size", str(options.cache_size))
    with served("--no-access-log", *how) as url:
        outcome = asyncio.run(
            abuse(
                url,
                expected,
                num_requests=options.requests,
                num_connections=options.connections,
            )
        )
    print(json.dumps({**asdict(outcome), "passed": outcome.passed}))
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())

"""Clients that disconnect early, a tenth of all requests: every other response is correct.

Correct means the very bits that `Classifier` returns for the text alone. A small run against a
server in a thread; with LONG_RUN_REQUESTS=10000 also a long one against `isobatch serve`
in a process of its own.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from claims.promise import random_texts
from serve.served import running, write_tiny

from isobatch import Classifier
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

REQUESTS, CONNECTIONS = 600, 64
LONG_RUN_REQUESTS = int(os.environ.get("LONG_RUN_REQUESTS", "0"))
LONG_RUN_CONNECTIONS, LONG_RUN_TEXTS = 256, 500
WORDS = [*"abcdefgh", "fine", "film", "dull", "plot", "never", "again", "Café", "今日", "😀", "!"]
MAXIMUM_GROWTH_MB = 50
WARM_SHARE = 0.2
"""Share of requests after which memory is compared: by then all threads and pools exist."""

ExpectedLogits = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """Counts of responses and disconnects; `others` counts statuses other than 200."""

    right: int
    wrong: int
    left: int
    others: dict[int, int]
    megabytes_warm: float
    megabytes_after: float

    @property
    def passed(self) -> bool:
        """Whether every awaited response is correct and memory does not grow."""
        growth = self.megabytes_after - self.megabytes_warm
        return not self.wrong and not self.others and growth <= MAXIMUM_GROWTH_MB


class KeptAliveConnection:
    """A keep-alive HTTP connection, opened at the first request and again after a loss."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """Return the status and the decoded JSON of the response."""
        reader, writer = await self._opened()
        writer.write(self.request(path, body))
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        content = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            await self.close()
        return int(status_line.split()[1]), json.loads(content)

    async def disconnect_during(
        self, path: str, body: object, *, share: float, seconds: float
    ) -> None:
        """Send a share of the request, wait, and abort the connection."""
        _, writer = await self._opened()
        request = self.request(path, body)
        writer.write(request[: int(len(request) * share)])
        await asyncio.sleep(seconds)
        writer.transport.abort()
        self._streams = None

    async def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None

    def request(self, path: str, body: object) -> bytes:
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
        return self._streams


async def send_requests(
    url: str, expected: ExpectedLogits, *, num_requests: int, num_connections: int
) -> LoadOutcome:
    """Send random texts of `expected`, one or several a request, and compare the logits."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    chooser = random.Random(1)
    texts = list(expected)
    remaining = iter(range(num_requests))
    counts: Counter[str] = Counter()
    others: Counter[int] = Counter()

    async def work(connection: KeptAliveConnection) -> None:
        for _ in remaining:
            chosen = chooser.choices(texts, k=chooser.choice((1, 1, 1, 4)))
            body = {"inputs": chosen, "raw_scores": True}
            if chooser.random() < 0.1:
                share, seconds = chooser.choice((0.5, 1.0, 1.0)), chooser.choice((0, 0.01, 0.05))
                await connection.disconnect_during("/predict", body, share=share, seconds=seconds)
                counts["left"] += 1
                continue
            status, rows = await connection.post("/predict", body)
            if status != 200:
                others[status] += 1
            else:
                counts["right" if is_right(chosen, rows, expected) else "wrong"] += 1
        await connection.close()

    async def read_warm_memory() -> float:
        while sum(counts.values()) < num_requests * WARM_SHARE:
            await asyncio.sleep(0.01)
        return await asyncio.to_thread(resident_megabytes, url)

    warm = asyncio.create_task(read_warm_memory())
    await asyncio.gather(*(work(KeptAliveConnection(host, port)) for _ in range(num_connections)))
    after = await asyncio.to_thread(resident_megabytes, url)
    right, wrong, left = (counts[kind] for kind in ("right", "wrong", "left"))
    return LoadOutcome(right, wrong, left, dict(others), await warm, after)


def is_right(
    texts: Sequence[str], rows: Sequence[Sequence[Mapping[str, float]]], expected: ExpectedLogits
) -> bool:
    scores = [sorted(each["score"] for each in row) for row in rows]
    return scores == [sorted(expected[text]) for text in texts]


def resident_megabytes(url: str) -> float:
    """The memory of the server's process by its own metrics."""
    with urllib.request.urlopen(f"{url}/metrics") as response:
        lines = response.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith("process_resident_memory_bytes "))
    return float(line.split()[1]) / 1e6


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("tiny")))


def serve_and_send(classifier: Classifier, expected: ExpectedLogits) -> LoadOutcome:
    with running(create_app(classifier, Settings(cache_size=50))) as url:
        return asyncio.run(
            send_requests(url, expected, num_requests=REQUESTS, num_connections=CONNECTIONS)
        )


def test_all_awaited_responses_are_right_and_memory_is_level(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    texts = random_texts(["a", "nice", "day", "unknown"], 100, seed=5)
    outcome = serve_and_send(classifier, {text: classifier(text).logits for text in texts})
    assert outcome.passed, outcome
    assert outcome.right + outcome.left == REQUESTS
    assert 30 < outcome.left < 100
    assert caplog.text == "", "a disconnect is not an error"


def test_a_wrong_response_would_be_noticed(classifier: Classifier) -> None:
    outcome = serve_and_send(classifier, {"a day": classifier("a nice day").logits})
    assert outcome.wrong > 0
    assert not outcome.passed


@pytest.mark.skipif(not LONG_RUN_REQUESTS, reason="LONG_RUN_REQUESTS is not set")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_long_run_against_the_command(
    precision: str, record_property: Callable[[str, object], None]
) -> None:
    chooser = random.Random(1)
    texts = [
        " ".join(chooser.choices(WORDS, k=chooser.randint(1, 60))) for _ in range(LONG_RUN_TEXTS)
    ]
    classifier = Classifier.from_pretrained(precision=precision)
    expected = {text: classifier(text).logits for text in texts}
    with serve_command("--no-access-log", "--precision", precision, "--cache-size", "0") as url:
        outcome = asyncio.run(
            send_requests(
                url,
                expected,
                num_requests=LONG_RUN_REQUESTS,
                num_connections=LONG_RUN_CONNECTIONS,
            )
        )
    record_property("outcome", asdict(outcome))  # see --junit-xml
    assert outcome.passed, outcome


@contextmanager
def serve_command(*options: str) -> Iterator[str]:
    """Run `isobatch serve` on the bundled model in a process of its own; yield its address."""
    command = [sys.executable, "-m", "isobatch", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()

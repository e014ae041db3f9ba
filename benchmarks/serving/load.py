"""Clients that send one request after another, as little in the servers' way as may be.

It speaks HTTP/1.1 over plain sockets: a full client library costs more processor time for a request
than the servers do, on the same two cores. Invariant: every request is answered with status 200, or
the run ends.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.errors import BenchError


@dataclass(frozen=True)
class Load:
    """What came of a run: its seconds, and each request's milliseconds, in the order given."""

    seconds: float
    milliseconds: list[float]
    bodies: list[bytes]


async def send_all(port: int, path: str, bodies: Sequence[bytes], clients: int) -> Load:
    """Send each body once; `clients` connections take them in turn."""
    waiting = iter(enumerate(bodies))
    milliseconds = [0.0] * len(bodies)
    answers = [b""] * len(bodies)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for index, body in waiting:
                began = time.perf_counter()
                writer.write(_request(path, body))
                answers[index] = await _answer(reader)
                milliseconds[index] = (time.perf_counter() - began) * 1e3
        finally:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(time.perf_counter() - began, milliseconds, answers)


def _request(path: str, body: bytes) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
    )


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(b" ", 2)[1]
    _, found, rest = head.partition(b"content-length:")
    if not found:
        raise BenchError(f"an answer without content-length: {head!r}")
    body = await reader.readexactly(int(rest.split(b"\r\n")[0]))
    if status != b"200":
        raise BenchError(f"status {status.decode()}: {body[:300]!r}")
    return body

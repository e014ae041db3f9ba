"""The load generator: clients that send one request after another, at little processor cost.

HTTP/1.1 over plain sockets: a full client library takes more processor time for a request than the
servers do, on the same two cores. Invariant: every response has status 200, or the run ends.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import BenchmarkError


@dataclass(frozen=True)
class LoadResult:
    """The duration of a run, and each request's latency, in the order of the requests."""

    seconds: float
    milliseconds: list[float]
    bodies: list[bytes]


async def send_all(port: int, path: str, bodies: Sequence[bytes], clients: int) -> LoadResult:
    """Send each body once over `clients` connections."""
    waiting = iter(enumerate(bodies))
    milliseconds = [0.0] * len(bodies)
    responses = [b""] * len(bodies)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for index, body in waiting:
                began = time.perf_counter()
                writer.write(_request(path, body))
                responses[index] = await _read_response(reader)
                milliseconds[index] = (time.perf_counter() - began) * 1e3
        finally:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return LoadResult(time.perf_counter() - began, milliseconds, responses)


def _request(path: str, body: bytes) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
    )


async def _read_response(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(b" ", 2)[1]
    _, found, rest = head.partition(b"content-length:")
    if not found:
        raise BenchmarkError(f"response: content-length is missing: {head!r}")
    body = await reader.readexactly(int(rest.split(b"\r\n")[0]))
    if status != b"200":
        raise BenchmarkError(f"response: status {status.decode()}, expected 200: {body[:300]!r}")
    return body

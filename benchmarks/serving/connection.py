"""One connection to an HTTP server, as bare as can be: a load test must cost less than its subject.

It knows content-length and nothing else of HTTP/1.1, which is what a JSON API answers.
"""

import asyncio
import json
from typing import Any


class Connection:
    """A kept-alive connection, opened at the first request and again after a loss."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """Status and decoded JSON of the answer to `body`."""
        reader, writer = await self._opened()
        writer.write(self.request(path, body))
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        content = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            await self.close()
        return int(status_line.split()[1]), json.loads(content)

    async def leave(self, path: str, body: object, *, share: float, seconds: float) -> None:
        """Send so much of a request, wait a little, and go without a word."""
        _, writer = await self._opened()
        request = self.request(path, body)
        writer.write(request[: int(len(request) * share)])
        await asyncio.sleep(seconds)
        writer.transport.abort()
        self._streams = None

    async def close(self) -> None:
        """End the connection, if there is one."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    def request(self, path: str, body: object) -> bytes:
        """The bytes of a request."""
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

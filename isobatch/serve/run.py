"""Running an application on uvicorn, until a signal asks it to stop.

It knows sockets and signals, and nothing of models. Invariant: after the first signal whatever was
taken in is answered, whatever comes is refused, and the end is an ordinary return.
"""

import asyncio
import gc
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from isobatch.errors import OptionError
from isobatch.serve.limits import Door

KEEP_ALIVE_SECONDS = 75
"""Longer than the minute after which load balancers close: whoever opens a connection ends it."""

BACKLOG = 2048
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int) -> socket.socket:
    """A socket at the address, not yet listening; port 0 takes a free one."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(kind, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"cannot serve on {host}, port {port}: {reason}") from error
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL under which the socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    app: FastAPI,
    bound: socket.socket,
    *,
    grace_seconds: float,
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve `app` until SIGTERM or SIGINT; what is under way then has `grace_seconds` to end.

    `on_ready` is told the address once requests are taken. A second signal ends the process.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # uvicorn would cut whoever still waits; they are answered before, by `give_up`.
        timeout_graceful_shutdown=math.ceil(grace_seconds) + 1,
    )
    shutdown = Shutdown(app.state.door, grace_seconds, app.state.engine.give_up)
    _Server(config, shutdown, lambda: on_ready(address_of(bound))).run([bound])


@dataclass(frozen=True, slots=True)
class Shutdown:
    """What the first signal sets off: the door closes, and after `seconds` all are given up."""

    door: Door
    seconds: float
    give_up: Callable[[], None]


def _spare_the_collector() -> None:
    """Take what was imported and loaded out of garbage collection; it stays to the end anyway.

    Full collections looked through all of it: a request that the cache answers took 0.42 ms of
    processor time, and takes 0.30.
    """
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    """uvicorn's server, which here ends by returning, and shuts the door at the signal itself."""

    def __init__(
        self, config: uvicorn.Config, shutdown: Shutdown, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _spare_the_collector()
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._shutdown.seconds, self._shutdown.give_up)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own, does not raise the signal once more when all is done."""
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        self._shutdown.door.closing = True
        self.should_exit = True

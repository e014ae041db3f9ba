"""Run the server on uvicorn until a signal stops it.

Invariant: after the first signal, accepted requests are completed, new ones are refused, and
`run_server` returns normally.
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
from typing import Any

import uvicorn

from isobatch.errors import OptionError
from isobatch.serve.address import cannot_serve
from isobatch.serve.app import create_app
from isobatch.serve.engine import ServingEngine
from isobatch.serve.settings import Settings
from isobatch.tasks import Pipeline

KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers' usual 60 s, so that the client's side closes idle connections."""

BACKLOG = 2048
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows has no SIGHUP
)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a model is served, once requests are accepted."""

    model: str
    precision: str
    url: str

    def __str__(self) -> str:
        return f"isobatch: serving {self.model} ({self.precision}) on {self.url}"


def run_server(
    pipeline: Pipeline[Any],
    settings: Settings,
    bound: socket.socket,
    grace_seconds: float,
    on_ready: Callable[[ServerAddress], None],
) -> bool:
    """Serve until SIGTERM, SIGINT or SIGHUP, then give active requests `grace_seconds` to complete.

    Returns whether the model's thread has ended: after `grace_seconds` a batch is not awaited, and
    no thread can be stopped in it. `on_ready` is called once the server accepts requests. A second
    signal ends the process at once. Raises OptionError if another process began to listen on the
    address after `bind`.
    """
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(BACKLOG)
    except OSError as error:  # two sockets can be bound to one port, of which one can listen
        raise OptionError(cannot_serve(host, port, error)) from error
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    url += settings.root_path
    address = ServerAddress(settings.model_name, pipeline.precision, url)
    app = create_app(pipeline, settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # uvicorn would cut pending requests off; `fail_pending` responds to them before that.
        timeout_graceful_shutdown=math.ceil(grace_seconds) + 1,
    )
    server = _GracefulServer(config, app.state.engine, grace_seconds, lambda: on_ready(address))
    server.run([bound])
    return not app.state.engine.is_computing


class _GracefulServer(uvicorn.Server):
    """uvicorn's server, refusing requests from the signal on, and returning when it has ended."""

    def __init__(
        self,
        config: uvicorn.Config,
        engine: ServingEngine,
        grace_seconds: float,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._engine = engine
        self._grace_seconds = grace_seconds
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Imported modules and loaded weights stay to the end. Full collections used to traverse
        # them: a request that the cache answers took 0.42 ms of CPU time, and takes 0.30.
        gc.collect()
        gc.freeze()
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._grace_seconds, self._engine.fail_pending)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as uvicorn does, but do not raise them again at the end."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in SIGNALS
            if signal.getsignal(number) != signal.SIG_IGN  # SIGHUP under nohup
        }
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        self._engine.closing = True
        self.should_exit = True

"""A tiny classifier behind a real server, for tests: sockets and uvicorn, all but the command."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.types import Encoding

THREE_LABELS = Tiny("bert", num_labels=3)
MAX_TOKENS = 48
"""Of write_wordpiece_folder's tokenizer."""

JSON = {"content-type": "application/json"}

AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


def write_tiny(folder: Path, tiny: Tiny = THREE_LABELS) -> Path:
    """A checkpoint folder with a tokenizer, so that texts can be classified."""
    return write_wordpiece_folder(write_checkpoint(folder, tiny), "bert")


class HeldClassifier(Classifier):
    """Computes nothing until `gate` is opened, fails on a word, and records what it computed."""

    def hold(self, poison: str | None = None) -> "HeldClassifier":
        """Close the gate; a text with the token ids of `poison` makes its batch fail."""
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[Encoding]] = []
        self.poison = self.tokenize([poison])[0] if poison else None
        return self

    def _outputs(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        self.entered.set()
        assert self.gate.wait(20), "the test never opened the gate"
        self.batches.append(list(encodings))
        if self.poison in encodings:
            raise RuntimeError("a secret of the server")
        return super()._outputs(encodings)


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    """Serve `app` on a free port, in a thread; yields the URL."""
    config = uvicorn.Config(
        app, port=0, log_config=None, access_log=False, lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="test-server")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def client_of(classifier: Classifier, settings: Settings | None = None) -> Iterator[httpx.Client]:
    """A client with its own server."""
    with (
        running(create_app(classifier, settings)) as url,
        httpx.Client(base_url=url, timeout=20, trust_env=False) as client,
    ):
        yield client


def connected(url: str) -> socket.socket:
    """A bare connection to the server, for requests that no client library sends."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)

"""The servers that are measured: how each is started, asked, and read.

Invariant: each runs alone in a process group of its own, which is gone when its turn ends.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.errors import BenchError
from benchmarks.machine import installed_version

SECONDS_TO_START = 300


@dataclass(frozen=True)
class Server:
    """A server by its command line; `command` takes the checkpoint's folder and a port."""

    name: str
    title: str
    command: Callable[[Path, int], list[str]]
    path: str
    body: Callable[[str], dict[str, object]]


def our_server(precision: str, threads: int) -> Server:
    """Isobatch without its cache, as no text comes twice."""

    def command(folder: Path, port: int) -> list[str]:
        options = ["--port", str(port), "--precision", precision, "--threads", str(threads)]
        serve = [sys.executable, "-m", "isobatch", "serve", str(folder)]
        return [*serve, *options, "--cache-size", "0"]

    return Server(
        f"isobatch-{precision}",
        f"Isobatch, {precision}",
        command,
        "/predict",
        lambda text: {"inputs": text},
    )


def plain_pipeline(threads: int) -> Server:
    """FastAPI around a transformers pipeline."""

    def command(folder: Path, port: int) -> list[str]:
        module = "benchmarks.serving.plain_pipeline"
        return [sys.executable, "-m", module, str(folder), str(port), str(threads)]

    return Server(
        "pipeline",
        "FastAPI and a transformers pipeline",
        command,
        "/classify",
        lambda text: {"input": [text]},
    )


def infinity(build: Path) -> Server:
    """infinity-emb in an environment of its own: it needs an older transformers than we test."""
    python = _infinity_python(build)

    def command(folder: Path, port: int) -> list[str]:
        options = [
            "--model-id",
            str(_with_labels(folder, build)),
            "--served-model-name",
            "bench",
            "--device",
            "cpu",
        ]
        plain = ["--dtype", "float32", "--no-compile", "--no-bettertransformer"]
        start = [str(python.parent / "infinity_emb"), "v2", "--port", str(port)]
        return [*start, "--host", "127.0.0.1", "--log-level", "error", *options, *plain]

    return Server(
        "infinity",
        "infinity-emb `/classify`",
        command,
        "/classify",
        lambda text: {"input": [text], "model": "bench"},
    )


def _with_labels(folder: Path, build: Path) -> Path:
    """The same checkpoint with its labels spelled out: without them infinity takes a reranker."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "id2label" in config:
        return folder
    labelled = build / f"{folder.name}-labelled"
    labelled.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name != "config.json" and not (labelled / path.name).exists():
            (labelled / path.name).symlink_to(path)
    config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
    config["label2id"] = {"LABEL_0": 0, "LABEL_1": 1}
    (labelled / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return labelled


def _infinity_python(build: Path) -> Path:
    """The interpreter of infinity's environment, which is made at the first run."""
    folder = build / "infinity"
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        torch = f"torch=={installed_version('torch').partition('+')[0]}"
        for packages in ([torch], [torch, "infinity-emb[torch,server]"]):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "complete").touch()
    return python


@contextmanager
def started(server: Server, folder: Path) -> Iterator[int]:
    """The port of the running server; BenchError if it does not come up."""
    port = _free_port()
    # A file, not a pipe: a server whose access log nobody reads stands still at 64 KiB.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            server.command(folder, port),
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "0"},
        )
        try:
            _await_health(server, process, log, port)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_health(
    server: Server, process: "subprocess.Popen[bytes]", log: IO[bytes], port: int
) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            said = log.read().decode(errors="replace")[-2000:]
            raise BenchError(f"{server.name} ended with {process.returncode}: {said}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise BenchError(f"{server.name} did not answer within {SECONDS_TO_START} s")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def encode(server: Server, text: str) -> bytes:
    """The request's body for one text."""
    return json.dumps(server.body(text)).encode()

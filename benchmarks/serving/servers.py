"""The measured servers: command lines, routes, request bodies, start and stop.

Invariant: each runs alone in a process group of its own, which is killed when its turn ends.
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

from benchmarks import BenchmarkError
from benchmarks.system_info import installed_version

SECONDS_TO_START = 300


@dataclass(frozen=True)
class MeasuredServer:
    """A server; `command` takes the checkpoint folder and a port."""

    name: str
    title: str
    command: Callable[[Path, int], list[str]]
    path: str
    body: Callable[[str], dict[str, object]]


def our_server(precision: str, threads: int) -> MeasuredServer:
    """Describe Isobatch without its cache, since no two texts are equal."""

    def command(folder: Path, port: int) -> list[str]:
        options = ["--port", str(port), "--precision", precision, "--threads", str(threads)]
        serve = [sys.executable, "-m", "isobatch", "serve", str(folder)]
        return [*serve, *options, "--cache-size", "0"]

    return MeasuredServer(
        f"isobatch-{precision}",
        f"Isobatch, {precision}",
        command,
        "/predict",
        lambda text: {"inputs": text},
    )


def plain_pipeline(threads: int) -> MeasuredServer:
    """Describe FastAPI around a transformers pipeline."""

    def command(folder: Path, port: int) -> list[str]:
        module = "benchmarks.serving.plain_pipeline"
        return [sys.executable, "-m", module, str(folder), str(port), str(threads)]

    return MeasuredServer(
        "pipeline",
        "FastAPI and a transformers pipeline",
        command,
        "/classify",
        lambda text: {"input": [text]},
    )


def infinity(build: Path) -> MeasuredServer:
    """Describe infinity-emb, in its own environment: it needs an older transformers."""
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

    return MeasuredServer(
        "infinity",
        "infinity-emb `/classify`",
        command,
        "/classify",
        lambda text: {"input": [text], "model": "bench"},
    )


def _with_labels(folder: Path, build: Path) -> Path:
    """Add labels to the checkpoint: without them infinity loads it as a reranker."""
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
    """Return the interpreter of infinity's environment; create it at the first run."""
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
def started(server: MeasuredServer, folder: Path) -> Iterator[int]:
    """Start the server, yield its port, and kill it afterwards."""
    port = _free_port()
    # A file, not a pipe: with a pipe that is not read, a server blocks after 64 KiB of access log.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            server.command(folder, port),
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "0"},
        )
        try:
            _wait_until_healthy(server, process, log, port)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_healthy(
    server: MeasuredServer, process: "subprocess.Popen[bytes]", log: IO[bytes], port: int
) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            output = log.read().decode(errors="replace")[-2000:]
            raise BenchmarkError(f"{server.name}: exited with {process.returncode}: {output}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise BenchmarkError(f"{server.name}: /health did not respond within {SECONDS_TO_START} s")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def encode(server: MeasuredServer, text: str) -> bytes:
    """Serialize the request for one text."""
    return json.dumps(server.body(text)).encode()

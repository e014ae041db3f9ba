"""The process of one engine: a JSON request a line on stdin, a JSON reply a line on stdout.

`do` is `instruction_sets`, `prepare`, `load`, `set_batch_size`, `set_threads`, `bulk`, `each`,
`stream` or `rates`; end of input ends the process. Invariant: between a reply and the next request
it only blocks on a read, so it takes no processor time from the engine whose turn it is.
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, cast

from benchmarks import BenchmarkError, UnsupportedError
from benchmarks.engines import (
    BenchmarkEngine,
    EngineSetup,
    StreamingEngine,
    engine_module,
    find_engine,
)
from benchmarks.workload import distinct_texts

_STREAM_WARM_UP = 100


def main() -> None:
    """Serve stdin; libraries' output goes to stderr, not between the replies."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, replies)


def serve(requests: TextIO, replies: TextIO) -> None:
    """Reply to each request with its result, the wait before it, and the peak memory so far."""
    engine: BenchmarkEngine | None = None
    while True:
        began, cpu_began = time.perf_counter(), time.process_time()
        line = requests.readline()
        idle = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,
        }
        if not line:
            return
        request: dict[str, Any] = json.loads(line)
        try:
            if request["do"] == "load":
                engine = None  # free the old engine before the new one is loaded
                engine = load(request)
            reply = _reply(request, engine)
        except UnsupportedError as error:
            _write(replies, {"unsupported": str(error)})
            return
        except Exception as error:
            known = isinstance(error, BenchmarkError)
            _write(replies, {"error": str(error) if known else traceback.format_exc()})
            raise
        _write(replies, reply | {"idle": idle, "peak_memory_mb": peak_memory_mb()})


def _write(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _reply(request: dict[str, Any], engine: BenchmarkEngine | None) -> dict[str, Any]:
    if request["do"] == "prepare":
        spec = find_engine(request["engine"])
        checkpoint, out = Path(request["checkpoint"]), Path(request["out"])
        engine_module(spec).prepare(checkpoint, out, spec.precision)
        return {}
    if request["do"] == "instruction_sets":
        return {"names": isobatch_kernels().instruction_sets()}
    if engine is None:
        raise ValueError(f"{request['do']!r}: no engine is loaded. Request 'load' first")
    if request["do"] == "load":
        return {"settings": engine.settings, "details": engine.details}
    if request["do"] == "bulk":
        return bulk(engine, request["texts"])
    if request["do"] == "each":
        return each(engine, request["texts"], request["warm_up"])
    if request["do"] == "set_batch_size":
        cast(Any, engine).batch_size = request["batch_size"]  # a PaddedEngine
        return {}
    if request["do"] == "set_threads":
        isobatch_kernels().set_threads(request["threads"])
        return {}
    if request["do"] == "rates":
        rates: dict[str, Any] = isobatch_kernels().rates(engine, request["seconds"])
        return rates
    return stream(cast(StreamingEngine, engine), request["texts"], request["count"])


def load(request: dict[str, Any]) -> BenchmarkEngine:
    """Load the requested engine."""
    spec = find_engine(request["engine"])
    engine: BenchmarkEngine = engine_module(spec).load(
        EngineSetup(
            checkpoint=Path(request["checkpoint"]),
            prepared=Path(request["prepared"]),
            threads=request["threads"],
            batch_size=request["batch_size"],
            by_length=spec.by_length,
            precision=spec.precision,
        )
    )
    return engine


def isobatch_kernels() -> ModuleType:
    """Import the part that measures Isobatch's kernels; it imports the package."""
    return importlib.import_module("benchmarks.engines.isobatch_kernels")


def bulk(engine: BenchmarkEngine, texts: list[str]) -> dict[str, Any]:
    """Time one call with all texts. JSON keeps a float32 exact: its double is printed in full."""
    began = time.perf_counter()
    logits = engine.logits(texts)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "logits": logits.tolist()}


def each(engine: BenchmarkEngine, texts: list[str], warm_up: list[str]) -> dict[str, Any]:
    """Time one call per text, after untimed calls on the warm-up texts."""
    for text in warm_up:
        engine.logits([text])
    seconds, rows = [], []
    for text in texts:
        began = time.perf_counter()
        row = engine.logits([text])
        seconds.append(time.perf_counter() - began)
        rows.append(row[0].tolist())
    return {"seconds": seconds, "logits": rows}


def stream(engine: StreamingEngine, texts: list[str], count: int) -> dict[str, Any]:
    """Time `count` distinct texts through one stream, after a few untimed ones.

    Texts are generated on demand and predictions dropped: memory that grows with `count` is the
    engine's.
    """
    for _ in engine.stream(texts[:_STREAM_WARM_UP]):
        pass
    began = time.perf_counter()
    tokens = sum(engine.stream(distinct_texts(texts, count)))
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def peak_memory_mb() -> float:
    """Read the peak resident memory of this process, in 10^6 bytes.

    VmHWM and not getrusage: on Linux ru_maxrss outlives exec and starts from the parent's peak, and
    the parent may be larger than a small engine.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status: VmHWM not found. Peak memory is measured on Linux only")


if __name__ == "__main__":
    main()

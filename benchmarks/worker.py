"""The process of one engine: reads a request a line on stdin, answers a line on stdout.

It knows how to time an engine and nothing of the run. Requests are JSON objects whose `do` is
`prepare`, `load`, `bulk`, `each` or `stream`; end of input ends it. Invariant: between an answer
and the next request it only blocks on a read, so it takes no processor from the engine whose turn
it is.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO, cast

from benchmarks.engines import Engine, Setup, StreamingEngine, engine_module, find_engine
from benchmarks.errors import BenchError
from benchmarks.texts import distinct

_STREAM_WARM_UP = 100


def main() -> None:
    """Serve stdin; whatever a library prints goes to stderr, not between the answers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer each request with its result, the wait before it, and the peak memory so far."""
    engine: Engine | None = None
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
                engine = None  # the old engine goes before the new one comes
                engine = load(request)
            answer = _answer(request, engine)
        except Exception as error:
            known = isinstance(error, BenchError)
            _write(answers, {"error": str(error) if known else traceback.format_exc()})
            raise
        _write(answers, answer | {"idle": idle, "peak_memory_mb": peak_memory_mb()})


def _write(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _answer(request: dict[str, Any], engine: Engine | None) -> dict[str, Any]:
    if request["do"] == "prepare":
        spec = find_engine(request["engine"])
        checkpoint, out = Path(request["checkpoint"]), Path(request["out"])
        engine_module(spec).prepare(checkpoint, out, spec.precision)
        return {}
    if engine is None:
        raise ValueError(f"{request['do']} before load")
    if request["do"] == "load":
        return {"settings": engine.settings, "details": engine.details}
    if request["do"] == "bulk":
        return bulk(engine, request["texts"])
    if request["do"] == "each":
        return each(engine, request["texts"], request["warm_up"])
    return stream(cast(StreamingEngine, engine), request["texts"], request["count"])


def load(request: dict[str, Any]) -> Engine:
    """Load an engine."""
    spec = find_engine(request["engine"])
    engine: Engine = engine_module(spec).load(
        Setup(
            checkpoint=Path(request["checkpoint"]),
            prepared=Path(request["prepared"]),
            threads=request["threads"],
            batch_size=request["batch_size"],
            by_length=spec.by_length,
            precision=spec.precision,
        )
    )
    return engine


def bulk(engine: Engine, texts: list[str]) -> dict[str, Any]:
    """Time one call with all texts. JSON keeps a float32 whole: its double is printed exactly."""
    began = time.perf_counter()
    logits = engine.logits(texts)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "logits": logits.tolist()}


def each(engine: Engine, texts: list[str], warm_up: list[str]) -> dict[str, Any]:
    """Time one call a text, after untimed calls on the warm-up texts."""
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

    The texts are made as they are asked for and the answers are dropped: what memory grows with
    `count` is the engine's.
    """
    for _ in engine.stream(texts[:_STREAM_WARM_UP]):
        pass
    began = time.perf_counter()
    tokens = sum(engine.stream(distinct(texts, count)))
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def peak_memory_mb() -> float:
    """Peak resident memory of this process, in 10^6 bytes.

    VmHWM and not getrusage: on Linux ru_maxrss outlives exec and starts from the parent's peak, and
    the parent may be larger than a small engine.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status has no VmHWM: peak memory needs Linux")


if __name__ == "__main__":
    main()

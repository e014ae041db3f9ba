"""`make bench-serve`: throughput at 64 clients, latency at one, beside the library and two others.

Every contestant is asked in turn, round after round, each alone on the machine. Invariant: all get
the same texts, of which no two are equal.
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import Checkpoint, random_base_checkpoint
from benchmarks.files import alone
from benchmarks.machine import describe_machine, installed_version, usable_cores
from benchmarks.options import BUILD, bundled_checkpoint
from benchmarks.serving.library import LONE_TEXTS, time_library
from benchmarks.serving.load import send_all
from benchmarks.serving.render import render
from benchmarks.serving.servers import (
    Server,
    encode,
    infinity,
    our_server,
    plain_pipeline,
    started,
)
from benchmarks.texts import Plan, distinct, make_job
from benchmarks.writing import say, write_result

RESULTS = Path(__file__).parents[1] / "results/serving"
CLIENTS = 64


def ask_server(server: Server, folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """The same of a server: all texts by 64 clients, and one at a time by one."""
    bodies = [encode(server, text) for text in texts]
    with started(server, folder) as port:
        asyncio.run(send_all(port, server.path, bodies[:CLIENTS], CLIENTS))
        load = asyncio.run(send_all(port, server.path, bodies, CLIENTS))
        lone = asyncio.run(send_all(port, server.path, bodies[:LONE_TEXTS], 1))
    return {"seconds": load.seconds, "milliseconds": lone.milliseconds}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; returns the result as it is written."""
    machine, threads = describe_machine(), usable_cores()
    job = make_job(options.data, Plan())
    base = random_base_checkpoint(BUILD, bundled_checkpoint().folder)
    others = [plain_pipeline(threads), infinity(BUILD)] if options.others else []
    runs = [
        _measure(options, base, "fp32", list(distinct(job.bulk, options.texts)), others),
        _measure(options, base, "int8", list(distinct(job.bulk, 4 * options.texts)), []),
        _measure(
            options, bundled_checkpoint(), "int8", list(distinct(job.bulk, 10 * options.texts)), []
        ),
    ]
    packages = ("isobatch", "torch", "fastapi", "uvicorn", "transformers")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": {each: installed_version(each) for each in packages},
        "threads": threads,
        "clients": CLIENTS,
        "rounds": options.rounds,
        "runs": runs,
    }


def _measure(
    options: argparse.Namespace,
    checkpoint: Checkpoint,
    precision: str,
    texts: list[str],
    others: Sequence[Server],
) -> dict[str, Any]:
    threads = usable_cores()
    servers = [our_server(precision, threads), *others]
    library: list[dict[str, Any]] = []
    answers: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    for turn in range(options.rounds):
        say(f"{checkpoint.title}, {precision}: round {turn + 1}, {len(texts):,} texts")
        library.append(alone(time_library, checkpoint.folder, precision, threads, texts))
        for server in servers:
            say(f"  {server.name}")
            answers[server.name].append(ask_server(server, checkpoint.folder, texts))
    return {
        "checkpoint": checkpoint.title,
        "precision": precision,
        "texts": len(texts),
        "library": _summary(library),
        "servers": {server.title: _summary(answers[server.name]) for server in servers},
    }


def _summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    milliseconds = [each for one in rounds for each in one["milliseconds"]]
    seconds = [one["seconds"] for one in rounds]
    return {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "p50_milliseconds": statistics.median(milliseconds),
        "p95_milliseconds": statistics.quantiles(milliseconds, n=20)[-1],
    }


def main() -> None:
    """Measure, write the result, and print it."""
    default_data = os.environ.get("ISOBATCH_DATA", Path(__file__).parents[3] / "shared/data")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--data", type=Path, default=default_data, help="default: ISOBATCH_DATA")
    parser.add_argument("--texts", type=int, default=560, help="of the slowest run")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON file")
    parser.add_argument("--no-others", dest="others", action="store_false", help="Isobatch alone")
    options = parser.parse_args()
    result = measure(options)
    path = write_result(result, options.out)
    print(render(result))
    say(f"written to {path.name}")


if __name__ == "__main__":
    main()

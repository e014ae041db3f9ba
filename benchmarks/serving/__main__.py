"""`make bench-serve`: throughput with 64 clients and latency with one, of three servers.

The baseline is `Classifier` without a server. All take turns, round after round, each alone on the
machine. Invariant: all get the same distinct texts.
"""

import argparse
import asyncio
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.arguments import BUILD, bundled_checkpoint
from benchmarks.checkpoints import Checkpoint, random_base_checkpoint
from benchmarks.files import run_in_new_process
from benchmarks.result_files import RESULTS, log, write_result
from benchmarks.serving.classifier_timing import SINGLE_TEXTS, time_classifier
from benchmarks.serving.load_generator import send_all
from benchmarks.serving.servers import (
    MeasuredServer,
    encode,
    infinity,
    our_server,
    plain_pipeline,
    started,
)
from benchmarks.serving.serving_table import render, render_criteria
from benchmarks.system_info import describe_machine, installed_version, usable_cores
from benchmarks.workload import DEFAULT_DATA, BenchmarkPlan, distinct_texts, make_workload

CLIENTS = 64


def time_server(server: MeasuredServer, folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Time all texts from 64 clients, and single texts from one client."""
    bodies = [encode(server, text) for text in texts]
    with started(server, folder) as port:
        asyncio.run(send_all(port, server.path, bodies[:CLIENTS], CLIENTS))
        load = asyncio.run(send_all(port, server.path, bodies, CLIENTS))
        single = asyncio.run(send_all(port, server.path, bodies[:SINGLE_TEXTS], 1))
    return {"seconds": load.seconds, "milliseconds": single.milliseconds}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every run; return the result."""
    machine, threads = describe_machine(), usable_cores()
    workload = make_workload(options.data, BenchmarkPlan())
    base = random_base_checkpoint(BUILD, bundled_checkpoint().folder)
    others = [plain_pipeline(threads), infinity(BUILD)] if options.others else []
    runs = [
        _measure(options, base, "fp32", list(distinct_texts(workload.bulk, options.texts)), others),
        _measure(options, base, "int8", list(distinct_texts(workload.bulk, 4 * options.texts)), []),
        _measure(
            options,
            bundled_checkpoint(),
            "int8",
            list(distinct_texts(workload.bulk, 10 * options.texts)),
            [],
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
    others: Sequence[MeasuredServer],
) -> dict[str, Any]:
    threads = usable_cores()
    servers = [our_server(precision, threads), *others]
    library: list[dict[str, Any]] = []
    timings: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    for turn in range(options.rounds):
        log(f"{checkpoint.title}, {precision}: round {turn + 1}, {len(texts):,} texts")
        library.append(
            run_in_new_process(time_classifier, checkpoint.folder, precision, threads, texts)
        )
        for server in servers:
            log(f"  {server.name}")
            timings[server.name].append(time_server(server, checkpoint.folder, texts))
    return {
        "checkpoint": checkpoint.title,
        "precision": precision,
        "texts": len(texts),
        "library": _summary(library),
        "servers": {server.title: _summary(timings[server.name]) for server in servers},
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="Path to the texts. Default: ISOBATCH_DATA"
    )
    parser.add_argument("--texts", type=int, default=560, help="Number of texts in the slowest run")
    parser.add_argument(
        "--rounds", type=int, default=3, help="Number of rounds. Default: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "serving", help="Folder for the JSON file"
    )
    parser.add_argument(
        "--no-others", dest="others", action="store_false", help="Measure only Isobatch"
    )
    options = parser.parse_args()
    result = measure(options)
    path = write_result(result, options.out)
    print(f"{render(result)}\n\n{render_criteria(result)}")
    log(f"written to {path.name}")


if __name__ == "__main__":
    main()

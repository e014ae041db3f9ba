"""`make bench-files`: file jobs compared with the same texts in memory, and memory by file size.

Measures Isobatch alone. Invariant: every figure is taken in a process of its own, and all formats
have their turn before any has its second.
"""

import argparse
import csv
import gzip
import json
import multiprocessing
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.result_files import RESULTS, log, write_result
from benchmarks.system_info import describe_machine, installed_version, usable_cores
from benchmarks.workload import DEFAULT_DATA, distinct_texts, read_corpora

FORMATS = ("csv", "jsonl", "parquet", "csv.gz")
MINIMUM_SHARE, MAXIMUM_GROWTH_MB = 0.95, 150
SHORT_ROWS, LONG_ROWS, DISTINCT_ROWS = 10_000, 1_000_000, 200_000
"""The distinct rows fill the cache of logits; the long file repeats 7,600 texts."""


def time_logits(folder: Path, precision: str) -> float:
    """Time `Classifier.logits` on the texts in memory, in seconds."""
    classifier = _classifier(precision)
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    classifier.logits(texts[:200])
    began = time.perf_counter()
    classifier.logits(texts)
    return time.perf_counter() - began


def time_job(folder: Path, precision: str, ending: str) -> float:
    """Time a job in seconds: reading, classifying, writing; not loading model and libraries."""
    from isobatch.jobs import ModelOptions, ScoringOptions, plan_jobs
    from isobatch.jobs.manifest import describe_provenance
    from isobatch.jobs.prepare import prepare_job
    from isobatch.jobs.runner import run_job
    from isobatch.tables import TableFile, detect_format, open_table

    scorer = ModelOptions(precision=precision).load()  # type: ignore[arg-type]
    provenance = describe_provenance(scorer)
    scorer.pipeline.predict(["warm"] * 200)
    path = folder / f"rows.{ending}"
    open_table(TableFile(path, *detect_format(path.name)))  # imports the format's library
    with tempfile.TemporaryDirectory(dir=folder) as out:
        table = TableFile(path, *detect_format(path.name))
        began = time.perf_counter()
        (job,) = plan_jobs([table], f"{out}/out.{ending}", ScoringOptions())
        run_job(prepare_job(job, scorer.row_format, provenance), scorer)
        return time.perf_counter() - began


def peak_memory(folder: Path, precision: str, name: str) -> dict[str, float]:
    """Run a job; return its seconds and the peak resident memory of this process."""
    from isobatch.jobs import ModelOptions, ScoringOptions, plan_jobs, run_files
    from isobatch.tables import TableFile

    with tempfile.TemporaryDirectory(dir=folder) as out:
        table = TableFile(folder / name, "csv", "none")
        jobs = plan_jobs([table], f"{out}/out.csv", ScoringOptions())
        outcome = run_files(jobs, ModelOptions(precision=precision))  # type: ignore[arg-type]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"rows": outcome.progress.num_rows, "seconds": outcome.progress.seconds, "mb": peak}


def _classifier(precision: str) -> Any:
    from isobatch import Classifier

    return Classifier.from_pretrained(precision=precision)  # type: ignore[arg-type]


def run_in_new_process(action: Callable[..., Any], *arguments: object) -> Any:
    """Call `action` in a new process; return its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(action, arguments)


def measure(data: Path, precision: str, rounds: int) -> dict[str, Any]:
    """Measure all formats and file sizes; return the result."""
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_rows = _write_rows(folder, data)
        seconds: dict[str, list[float]] = {each: [] for each in ("memory", *FORMATS)}
        for turn in range(rounds):
            log(f"round {turn + 1} of {rounds}: {num_rows:,} rows in {precision}")
            seconds["memory"].append(run_in_new_process(time_logits, folder, precision))
            for ending in FORMATS:
                seconds[ending].append(run_in_new_process(time_job, folder, precision, ending))
        sizes = []
        for title, texts in _long_files(data).items():
            _write_csv(folder / "long.csv", texts)
            log(f"memory: {title}")
            sizes.append(
                {"title": title, **run_in_new_process(peak_memory, folder, precision, "long.csv")}
            )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": {each: installed_version(each) for each in ("isobatch", "torch", "pyarrow")},
        "precision": precision,
        "threads": usable_cores(),
        "rows": num_rows,
        "seconds": seconds,
        "memory": sizes,
    }


def _long_files(data: Path) -> dict[str, Iterable[str]]:
    sst2, agnews = read_corpora(data)
    repeated = (agnews[index % len(agnews)] for index in range(LONG_ROWS))
    return {
        f"{SHORT_ROWS:,} rows, AG News repeated": (agnews * 2)[:SHORT_ROWS],
        f"{DISTINCT_ROWS:,} rows, no two equal, SST-2": distinct_texts(sst2, DISTINCT_ROWS),
        f"{LONG_ROWS:,} rows, AG News repeated": repeated,
    }


def _write_rows(folder: Path, data: Path) -> int:
    """Write all distinct texts, shuffled and numbered, in every format; return their number."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    sst2, agnews = read_corpora(data)
    texts = list(dict.fromkeys([*sst2, *agnews]))
    random.Random(0).shuffle(texts)
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    lines = (json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts))
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), folder / "rows.parquet")
    _write_csv(folder / "rows.csv", texts)
    (folder / "rows.csv.gz").write_bytes(gzip.compress((folder / "rows.csv").read_bytes()))
    return len(texts)


def _write_csv(path: Path, texts: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(texts))


def render(result: dict[str, Any]) -> str:
    """Render the tables as Markdown."""
    seconds = {name: statistics.median(each) for name, each in result["seconds"].items()}
    memory = seconds["memory"]
    lines = [
        f"{result['rows']:,} rows, no two texts equal, the bundled model in {result['precision']}:",
        "",
        "| | seconds | rows/s | of `Classifier.logits` |",
        "|---|---:|---:|---:|",
        *(
            f"| {'texts in memory' if name == 'memory' else f'`{name}` to `{name}`'} "
            f"| {each:.2f} | {result['rows'] / each:,.0f} | {memory / each:.1%} |"
            for name, each in seconds.items()
        ),
        "",
        "| file | seconds | peak memory, MB |",
        "|---|---:|---:|",
        *(
            f"| {each['title']} | {each['seconds']:.1f} | {each['mb']:.0f} |"
            for each in result["memory"]
        ),
        "",
        f"{result['date']}, {result['machine']['cpu']}, {result['threads']} threads, medians of "
        f"{len(result['seconds']['memory'])} rounds; "
        + ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        + ".",
    ]
    return "\n".join(lines)


def render_criteria(result: dict[str, Any]) -> str:
    """Render the acceptance criteria, and whether they are met."""
    seconds = {name: statistics.median(each) for name, each in result["seconds"].items()}
    share = min(seconds["memory"] / seconds[name] for name in FORMATS)
    short, *long = (each["mb"] for each in result["memory"])
    growth = max(long) - short
    return (
        f"- {_verdict(share >= MINIMUM_SHARE)}: the slowest format's share of the throughput of "
        f"`Classifier.logits`: {share:.1%} (target: at least {MINIMUM_SHARE:.0%})\n"
        f"- {_verdict(growth <= MAXIMUM_GROWTH_MB)}: peak memory over that of {SHORT_ROWS:,} rows: "
        f"{growth:+.0f} MB (target: at most {MAXIMUM_GROWTH_MB})"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def main() -> None:
    """Measure, write the result, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="Path to the texts. Default: ISOBATCH_DATA"
    )
    parser.add_argument("--precision", default="int8", help="Default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=3, help="Number of rounds. Default: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "files", help="Folder for the JSON file"
    )
    options = parser.parse_args()
    result = measure(options.data, options.precision, options.rounds)
    path = write_result(result, options.out)
    print(f"{render(result)}\n\n{render_criteria(result)}")
    log(f"written to {path.name}")


if __name__ == "__main__":
    main()

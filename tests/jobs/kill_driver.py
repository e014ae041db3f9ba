"""Kills a job before each of its operations on files, one process each, and collects the failures.

`python kill_driver.py` reads lines of CHECKPOINT FOLDER OUTPUT_NAME SCENARIO STRIDE FAULT, each a
JSON list, and answers each with JSON: the number of operations, of which every STRIDEth is died at,
and everything that broke. Processes are forked, since to load torch takes seconds. An operation is
what Python audits (open, rename, remove, mkdir, rmdir), and fsync.
"""

import gzip  # noqa: F401  # here rather than in each fork, as are the next two
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401

from isobatch.batching import cache
from isobatch.errors import JobError
from isobatch.jobs import durable, folder
from isobatch.jobs.job import FileJob, ModelOptions
from isobatch.jobs.manifest import Provenance, describe_provenance
from isobatch.jobs.prepare import prepare_job
from isobatch.jobs.runner import run_job
from isobatch.scoring import RowCounts, ScoringOptions, TaskOptions, chunks
from isobatch.tables import TableFile, detect_format
from isobatch.tasks.pipeline_loading import stated_or_default
from isobatch.types import Encoding

OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
ROWS_OF_A_CHUNK = 3
TEXTS = ["good film", "nice day", "its plot", "good film", "not sure", "nice day", "plot"]

DONE, REFUSED = 0, 7


class Driver:
    """One output and one way to break it; each run is a process of its own."""

    def __init__(self, checkpoint: Path, place: Path, output: str, stride: int) -> None:
        task = TaskOptions(name=stated_or_default(checkpoint))
        self._scorer = ModelOptions(model=str(checkpoint), threads=1, task=task).load()
        self._provenance: Provenance = describe_provenance(self._scorer)
        self.place = place
        self.input = place / "rows.csv"
        self.output = place / output
        self.report = place / "report"
        self.stride = stride

    def clear(self) -> None:
        """Nothing but the input."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        self.input.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))

    def run(self, kill_at: int = 0, *, restart: bool = False, prefix: str = "") -> int:
        """The status of a process that runs the job, and kills itself at an operation."""
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            os._exit(self._run(kill_at, restart, prefix))
        finally:
            traceback.print_exc()
            os._exit(1)

    def _run(self, kill_at: int, restart: bool, prefix: str) -> int:
        output = detect_format(self.output.name, option="--output-format")
        files = [TableFile(self.input, "csv", "none"), TableFile(self.output, *output)]
        logits = self._scorer.task == "text-classification"
        job = FileJob((files[0],), files[1], ScoringOptions(logits=logits, prefix=prefix))
        prepared = prepare_job(job, self._scorer.row_format, self._provenance)
        count = count_operations(self.place, kill_at)
        try:
            progress = run_job(prepared, self._scorer, restart=restart)
        except JobError as error:
            print(error, file=sys.stderr, flush=True)  # noqa: T201
            return REFUSED
        counted = count()
        self.report.write_text(f"{progress.saved.rows} {progress.done.rows} {counted}")
        return DONE

    def rows_reported(self) -> tuple[int, int, int]:
        """Of the last run that ended: rows saved before, rows done, operations."""
        kept, done, operations = map(int, self.report.read_text().split())
        return kept, done, operations

    def rows_in_ledger(self) -> int:
        ledger = folder.JobFolder(self.output).ledger
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return sum(json.loads(line)["counts"]["rows"] for line in lines)

    def content(self) -> bytes | None:
        return self.output.read_bytes() if self.output.exists() else None

    def leftovers(self) -> list[str]:
        """Files that a finished job should have deleted."""
        work = folder.JobFolder(self.output).path
        return [each.name for each in work.iterdir() if each.name not in KEPT_WHEN_FINISHED]


KEPT_WHEN_FINISHED = ("manifest.json", "runs.json", "chunks.jsonl", "finished.json", "lock")


def count_operations(place: Path, kill_at: int) -> Callable[[], int]:
    """Count operations under `place` from now on, and die before number `kill_at`."""
    count = 0

    def operation() -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in OPERATIONS and str(arguments[0]).startswith(str(place)):
            operation()

    sync = os.fsync

    def counted_sync(descriptor: int) -> None:
        operation()
        sync(descriptor)

    os.fsync = counted_sync
    sys.addaudithook(audit)
    return lambda: count


# ----------------------------------------------------------------------------------- scenarios


def start_from_scratch(driver: Driver) -> dict[str, object]:
    """A fresh job: after a kill at any operation, the same call writes the same bytes."""
    driver.clear()
    assert driver.run() == DONE
    expected, (_, _, operations) = driver.content(), driver.rows_reported()
    broken = []
    for kill_at in range(1, operations + 1, driver.stride):
        driver.clear()
        if driver.run(kill_at) != -signal.SIGKILL:
            broken.append(f"{kill_at}: not killed")
        if driver.content() not in (None, expected):
            broken.append(f"{kill_at}: half-written")
        ledger = driver.rows_in_ledger()
        broken += [f"{kill_at}: {fault}" for fault in faults_of_end(driver, expected, ledger)]
    return {"operations": operations, "broken": broken}


def faults_of_end(driver: Driver, expected: bytes | None, ledger: int) -> list[str]:
    """Run to the end, and compare with the unbroken run and with what the ledger said."""
    if driver.run() != DONE:
        return ["does not resume"]
    kept, done, _ = driver.rows_reported()
    faults = [] if driver.content() == expected else ["other bytes"]
    faults += [] if (kept, kept + done) == (ledger, len(TEXTS)) else ["wrong counts"]
    return faults + [f"left {name}" for name in driver.leftovers()]


def replace_another(driver: Driver) -> dict[str, object]:
    """--restart over the finished output of another job, which stays whole until it is replaced.

    Without --restart, the call after a kill must resume or refuse; with it, it must succeed.
    """

    driver.clear()
    assert driver.run(prefix="other_") == DONE
    other, saved = driver.content(), driver.place.with_suffix(".saved")
    shutil.copytree(driver.place, saved, dirs_exist_ok=True)
    assert driver.run() == REFUSED
    assert driver.run(restart=True) == DONE
    expected, (_, _, operations) = driver.content(), driver.rows_reported()
    broken = []
    for kill_at in range(1, operations + 1, driver.stride):
        shutil.rmtree(driver.place)
        shutil.copytree(saved, driver.place)
        driver.run(kill_at, restart=True)
        found = driver.content()
        if found not in (other, expected):
            broken.append(f"{kill_at}: half-written")
        status = driver.run()
        if (status, driver.content()) not in ((DONE, expected), (REFUSED, found)):
            broken.append(f"{kill_at}: neither resumes nor refuses")
        if driver.run(restart=True) != DONE or driver.content() != expected:
            broken.append(f"{kill_at}: cannot start over")
    return {"operations": operations, "broken": broken}


def rewrite_deleted(driver: Driver) -> dict[str, object]:
    """A finished output was deleted: it is written again, and that may be killed too."""
    driver.clear()
    assert driver.run() == DONE
    expected = driver.content()
    driver.output.unlink()
    assert driver.run() == DONE
    _, done, operations = driver.rows_reported()
    assert done == len(TEXTS)
    broken = []
    for kill_at in range(1, operations + 1, driver.stride):
        driver.output.unlink()
        driver.run(kill_at)
        if driver.content() not in (None, expected):
            broken.append(f"{kill_at}: half-written")
        if driver.run() != DONE or driver.content() != expected:
            broken.append(f"{kill_at}: other bytes")
    return {"operations": operations, "broken": broken}


def kill_repeatedly(driver: Driver) -> dict[str, object]:
    """Each run is killed at a random operation, until one ends."""
    driver.clear()
    assert driver.run() == DONE
    expected, (_, _, operations) = driver.content(), driver.rows_reported()
    broken, kills = [], 0
    for seed in range(8):
        driver.clear()
        dice = random.Random(seed)
        while (status := driver.run(dice.randint(1, operations))) == -signal.SIGKILL:
            kills += 1
        if status != DONE or driver.content() != expected:
            broken.append(f"seed {seed}: status {status}")
    return {"operations": operations, "broken": broken, "kills": kills}


# -------------------------------------------------------------------------------------- faults


def write_in_place() -> None:
    """The output and all else is written under its own name."""

    def fill(path: Path, write: Callable[..., object], *, partial: Path | None = None) -> None:
        with path.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())

    durable.fill_atomically = fill
    folder.fill_atomically = fill


def commit_before_writing() -> None:
    """The ledger has a chunk's line before there is the chunk."""

    def commit(self: folder.JobFolder, content: bytes, counts: RowCounts) -> None:
        index, digest = self._num_saved, hashlib.sha256(content).hexdigest()
        line = {"chunk": index, "bytes": len(content), "sha256": digest}
        entry = json.dumps(line | {"counts": asdict(counts)})
        durable.append_durably(self.ledger, entry.encode() + b"\n")
        durable.write_atomically(self._chunk_path(index), content)
        self._num_saved += 1

    folder.JobFolder.commit = commit  # type: ignore[method-assign]


def inexact_cache() -> None:
    """The cache returns logits with another last bit."""
    get_or_compute = cache.OutputCache.get_or_compute

    def inexact(
        self: cache.OutputCache,
        encodings: Sequence[Encoding],
        compute: Callable[[list[Encoding]], Iterable[cache.Output]],
        texts: Sequence[int] | None = None,
    ) -> list[cache.Output]:
        known = [cache.encoding_key(each) in self._entries for each in encodings]
        rows = get_or_compute(self, encodings, compute, texts)
        return [
            row * np.float32(1 + 2**-23) if hit else row
            for row, hit in zip(rows, known, strict=True)
        ]

    cache.OutputCache.get_or_compute = inexact  # type: ignore[method-assign]


SCENARIOS: dict[str, Callable[[Driver], dict[str, object]]] = {
    scenario.__name__: scenario
    for scenario in (start_from_scratch, replace_another, rewrite_deleted, kill_repeatedly)
}
FAULTS = {fault.__name__: fault for fault in (write_in_place, commit_before_writing, inexact_cache)}


def drive(
    checkpoint: str, place: str, output: str, scenario: str, stride: str, fault: str
) -> dict[str, object]:
    """Run one scenario with one fault, or "none"."""
    chunks.MAX_CHUNK_ROWS = ROWS_OF_A_CHUNK
    if fault != "none":
        FAULTS[fault]()
    return SCENARIOS[scenario](Driver(Path(checkpoint), Path(place), output, int(stride)))


def answer(line: str) -> None:
    """Print a report from a process of its own, so that faults end with it; null if it fails."""
    if child := os.fork():
        if os.waitpid(child, 0)[1]:
            print("null", flush=True)  # noqa: T201
        return
    try:
        print(json.dumps(drive(*json.loads(line))), flush=True)  # noqa: T201
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    for line in iter(sys.stdin.readline, ""):
        answer(line)

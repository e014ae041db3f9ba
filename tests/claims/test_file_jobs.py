"""The guarantee of file jobs: killed anywhere, a rerun writes the bytes of an uninterrupted run.

Processes are killed (SIGKILL) before each single operation on files; nothing half-written ever
appears under the output's name. The same checks are applied to jobs without the property.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import kill_driver
from jobs.small_jobs import small_checkpoint
from jobs.task_checkpoints import write_embedder, write_token_classifier


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


Drive = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    """Run a scenario of the driver, which is started once."""
    with subprocess.Popen(
        [sys.executable, kill_driver.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask(
            checkpoint: Path,
            place: Path,
            output: str,
            scenario: str,
            stride: int,
            fault: str = "none",
        ) -> dict[str, Any]:
            arguments = checkpoint, place / "job", output, scenario, stride, fault
            print(json.dumps([*map(str, arguments)]), file=process.stdin, flush=True)
            report: dict[str, Any] | None = json.loads(process.stdout.readline())
            assert report is not None, "failed; its stderr says why"
            return report

        yield ask
        process.stdin.close()


@pytest.mark.parametrize(
    ("output", "scenario", "stride"),
    [
        ("out.csv", "start_from_scratch", 1),
        ("out.csv", "replace_another", 2),
        ("out.csv", "rewrite_deleted", 2),
        ("out.csv", "kill_repeatedly", 1),
        ("out.jsonl", "start_from_scratch", 5),
        ("out.csv.gz", "start_from_scratch", 5),
        ("out.parquet", "start_from_scratch", 9),
    ],
)
def test_job_killed_before_any_operation_resumes_to_the_same_bytes(
    drive: Drive, checkpoint: Path, tmp_path: Path, output: str, scenario: str, stride: int
) -> None:
    report = drive(checkpoint, tmp_path, output, scenario, stride)
    assert report["broken"] == []
    assert report["operations"] > 50


@pytest.mark.parametrize(
    ("write", "output", "stride"),
    [
        (write_embedder, "out.npy", 4),
        (write_embedder, "out.parquet", 13),
        (write_token_classifier, "out.jsonl", 9),
    ],
)
def test_vectors_and_entities_survive_a_kill_before_any_operation_too(
    drive: Drive, write: Callable[[Path], Path], tmp_path: Path, output: str, stride: int
) -> None:
    checkpoint = write(tmp_path / "checkpoint")
    report = drive(checkpoint, tmp_path, output, "start_from_scratch", stride)
    assert report["broken"] == []
    assert report["operations"] > 50


@pytest.mark.parametrize(
    ("fault", "symptom"),
    [
        ("write_in_place", "half-written"),
        ("commit_before_writing", "does not resume"),
        ("inexact_cache", "other bytes"),
    ],
)
def test_jobs_without_the_property_break_by_a_kill(
    drive: Drive, checkpoint: Path, tmp_path: Path, fault: str, symptom: str
) -> None:
    report = drive(checkpoint, tmp_path, "out.csv", "start_from_scratch", 3, fault)
    assert any(symptom in each for each in report["broken"])

"""The promise of file jobs: killed anywhere, the same command ends in the bytes of an unbroken run.

Processes are killed for good (SIGKILL) before each single operation on files; nothing half-written
is ever seen under the output's name. The same claims are put to jobs without the property.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jobs import kill_driver
from jobs.small_jobs import small_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


def drive(
    checkpoint: Path, place: Path, output: str, scenario: str, stride: int, fault: str = "none"
) -> dict[str, Any]:
    arguments = [checkpoint, place / "job", output, scenario, stride, fault]
    ran = subprocess.run(
        [sys.executable, kill_driver.__file__, *map(str, arguments)],
        capture_output=True,
        check=False,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
    )
    assert ran.returncode == 0, ran.stderr.decode()
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


@pytest.mark.parametrize(
    ("output", "scenario", "stride"),
    [
        ("out.csv", "begin_anew", 1),
        ("out.csv", "replace_another", 2),
        ("out.csv", "write_deleted_again", 2),
        ("out.csv", "kill_again_and_again", 1),
        ("out.jsonl", "begin_anew", 5),
        ("out.csv.gz", "begin_anew", 5),
        ("out.parquet", "begin_anew", 9),
    ],
)
def test_killed_before_any_operation_a_job_goes_on_to_the_same_bytes(
    checkpoint: Path, tmp_path: Path, output: str, scenario: str, stride: int
) -> None:
    told = drive(checkpoint, tmp_path, output, scenario, stride)
    assert told["broken"] == []
    assert told["operations"] > 50


@pytest.mark.parametrize(
    ("fault", "symptom"),
    [
        ("write_in_place", "half-written"),
        ("commit_before_writing", "does not go on"),
        ("answer_from_memory", "other bytes"),
    ],
)
def test_jobs_without_the_property_break_by_a_kill(
    checkpoint: Path, tmp_path: Path, fault: str, symptom: str
) -> None:
    told = drive(checkpoint, tmp_path, "out.csv", "begin_anew", 3, fault)
    assert any(symptom in each for each in told["broken"])

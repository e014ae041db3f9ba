"""The examples that are scripts run, and what they say is so."""

import os
import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from isobatch_on_path import environment_with_isobatch

from isobatch import Classifier

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ROWS = 300
"""Of the file that score_parquet.py makes."""


def names_of(script: str) -> dict[str, Any]:
    """The names that a script defines, in this process, which has torch loaded."""
    return runpy.run_path(str(EXAMPLES / script))


def test_a_parquet_file_is_scored_in_python_and_by_the_command_with_the_same_bytes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bundled_classifier: Callable[[str], Classifier],
) -> None:
    names_of("score_parquet.py")["main"](tmp_path)
    printed = capsys.readouterr().out
    assert "interrupted: scored.parquet exists: False" in printed
    [saved] = re.findall(rf"resumed: (\d+) of {ROWS} rows were saved", printed)
    assert 0 < int(saved) < ROWS
    assert "the same bytes as without an interruption: True" in printed
    table = pyarrow.parquet.read_table(tmp_path / "scored.parquet")
    assert table["id"].to_pylist() == [*range(ROWS)]
    expected = bundled_classifier("fp32")(table["text"].to_pylist()[:20])
    assert table["score"].to_pylist()[:20] == [each.score for each in expected]

    by_command = tmp_path / "by_command"
    by_command.mkdir()
    ran = subprocess.run(
        ["bash", EXAMPLES / "score_parquet.sh", tmp_path / "reviews.parquet"],
        capture_output=True,
        text=True,
        check=False,
        cwd=by_command,
        env=environment_with_isobatch(tmp_path),
        timeout=90,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(rf"resuming: \d+ of {ROWS} rows are saved", ran.stderr), ran.stderr
    assert f"reproduced: 20 of {ROWS} rows checked" in ran.stderr
    written = (by_command / "scored.parquet").read_bytes()
    assert written == (tmp_path / "scored.parquet").read_bytes()


def test_the_script_ends_where_the_job_fails(tmp_path: Path) -> None:
    (tmp_path / "isobatch").write_text("#!/bin/sh\nexit 6\n")
    (tmp_path / "isobatch").chmod(0o755)
    ran = subprocess.run(
        ["bash", EXAMPLES / "score_parquet.sh", "missing.parquet"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        timeout=20,
    )
    assert ran.returncode != 0


def test_a_grid_search_finds_the_learning_rate_that_learns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = names_of("grid_search.py")["main"]()
    printed = capsys.readouterr().out
    assert search.best_params_ == {"learning_rate": 1e-2}
    assert search.best_score_ > 0.9
    assert "a warm, lovely film: good" in printed
    assert search.predict(["a cold, flat film"]).tolist() == ["bad"]

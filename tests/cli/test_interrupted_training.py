"""`isobatch train` with a real model: processes that signals and kills end, and the same bytes."""

import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from processes import started_process
from shell import run
from tiny_checkpoints import Tiny, TinyFolder
from training.whole_checkpoints import write_whole

from isobatch.training.run_log import read_log

SLOW_COMMAND = """
import time
from isobatch.cli import main
from isobatch.training.steps.trainer import TrainingRun
report = TrainingRun._report
def slow_report(*arguments):
    time.sleep(0.05)
    report(*arguments)
TrainingRun._report = slow_report
main()
"""
"""The command, with steps that are slow enough to be stopped in between."""

WORDS = ("fine", "great", "warm"), ("dull", "weak", "grim")
PATIENCE = 60.0


@pytest.fixture
def arguments(tmp_path: Path, tiny_folder: TinyFolder) -> list[str]:
    """Of a training of 28 steps; the output folder is missing."""
    rows = tmp_path / "rows.csv"
    lines = [f"a {WORDS[n % 2][n % 3]} film {n},{'pos' if n % 2 else 'neg'}\n" for n in range(54)]
    rows.write_text("text,label\n" + "".join(lines))
    base = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    numbers = ("--epochs", "4", "--batch-size", "8", "--block-tokens", "32", "--patience", "99")
    return ["train", str(rows), "--base", str(base), *numbers, "-o"]


def digest_of(out: Path) -> str:
    digest: str = json.loads((out / "train.json").read_text())["model_sha256"]
    return digest


def stop(arguments: list[str], out: Path, number: int, dice: random.Random) -> tuple[int, str]:
    """Start the command, and send it a signal at a random moment after one more step."""
    log = out.parent / ".isobatch" / out.name / "log.jsonl"
    before = len(read_log(log)) if log.exists() else 0
    command = [sys.executable, "-c", SLOW_COMMAND, *arguments, out]
    with started_process(command, stdout=None, text=True) as process:
        deadline = time.monotonic() + PATIENCE
        while not log.exists() or len(read_log(log)) <= before:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(dice.random() / 5)
        process.send_signal(number)
        said = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, said


def test_a_training_that_was_ended_at_random_moments_has_the_same_bytes(
    arguments: list[str], tmp_path: Path
) -> None:
    unbroken, stopped = tmp_path / "unbroken", tmp_path / "stopped"
    ran = run(*arguments, str(unbroken))
    assert ran.returncode == 0, ran.stderr.decode()
    dice = random.Random(0)
    for number in (signal.SIGKILL, signal.SIGINT):
        code, said = stop(arguments, stopped, number, dice)
        assert code == (-9 if number == signal.SIGKILL else 128 + number), said
        assert ("its state is saved" in said) == (number != signal.SIGKILL)
        assert not stopped.exists()
    ran = run(*arguments, str(stopped), "--threads", "2", "--blocks-in-flight", "3")
    assert ran.returncode == 0, ran.stderr.decode()
    assert "resumed after step" in ran.stderr.decode()
    assert digest_of(stopped) == digest_of(unbroken)
    logs = [
        [{**event, "seconds": 0} for event in read_log(out / "log.jsonl")]
        for out in (unbroken, stopped)
    ]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 36
    ran = run("train", "--verify", str(stopped))
    assert (ran.returncode, json.loads(ran.stdout)["verdict"]) == (0, "reproduced"), ran.stdout
    ran = run(*arguments, str(tmp_path / "other"), "--seed", "1")  # the control
    assert digest_of(tmp_path / "other") != digest_of(unbroken)


def test_what_train_writes_is_what_other_commands_take(
    arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(*arguments, str(out)).returncode == 0
    again = run(*arguments, str(out))
    assert (again.returncode, b"finished already" in again.stderr) == (0, True)
    rows = arguments[1]
    ran = run("evaluate", rows, "--label-column", "label", "--model", str(out))
    assert ran.returncode == 0, ran.stderr.decode()
    assert json.loads(ran.stdout)["num_texts"] == 54
    assert run("classify", "--model", str(out), "a fine film").returncode == 0

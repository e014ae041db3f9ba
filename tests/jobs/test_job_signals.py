"""The command as a process: killed at random, interrupted, terminated; and a disk that is full."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from jobs.small_jobs import TEXTS, Place, before_commit, command, small_checkpoint, write_rows
from processes import started_process

from isobatch.jobs.folder import JobFolder
from isobatch.scoring import chunks

ROWS_OF_A_CHUNK = 20
SLOW_COMMAND = f"""
import time
from isobatch.cli import main
from isobatch.jobs import folder
from isobatch.scoring import chunks
chunks.MAX_CHUNK_ROWS = {ROWS_OF_A_CHUNK}
commit = folder.JobFolder.commit
def slow_commit(*arguments):
    time.sleep(0.05)
    commit(*arguments)
folder.JobFolder.commit = slow_commit
main()
"""
"""The command, with chunks that are small and slow enough to be killed in between."""

PATIENCE = 60.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


class Stopped:
    """A run that a signal reached some random moment after it had kept some more chunks."""

    def __init__(
        self, arguments: list[str], output: Path, number: int, dice: random.Random
    ) -> None:
        ledger = JobFolder(output).ledger
        before = rows_in(ledger)
        command = [sys.executable, "-c", SLOW_COMMAND, *arguments]
        with started_process(command, stdout=None, text=True) as process:
            deadline = time.monotonic() + PATIENCE
            while rows_in(ledger) <= before + ROWS_OF_A_CHUNK:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(dice.random() / 4)
            process.send_signal(number)
            self.said = process.communicate(timeout=PATIENCE)[1]
        self.code = process.returncode
        self.kept = rows_in(ledger)


def rows_in(ledger: Path) -> int:
    """Rows of the whole lines."""
    content = ledger.read_text() if ledger.exists() else ""
    lines = content[: content.rfind("\n") + 1].splitlines()
    return sum(json.loads(line)["counts"]["rows"] for line in lines)


def test_signals_at_random_moments_cost_no_row_and_change_no_byte(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{text} {number}" for number in range(400) for text in TEXTS]
    rows = write_rows(tmp_path / "rows.jsonl", texts)
    expected, output = tmp_path / "expected.csv.gz", tmp_path / "out.csv.gz"
    arguments = ["run", str(rows), "-o", str(output), "--model", str(checkpoint)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "MAX_CHUNK_ROWS", ROWS_OF_A_CHUNK)
        assert command(*arguments[:3], expected, *arguments[4:]) == 0
        dice, kept = random.Random(5), 0
        for number, code in [
            (signal.SIGKILL, -signal.SIGKILL),
            (signal.SIGINT, 130),
            (signal.SIGKILL, -signal.SIGKILL),
            (signal.SIGTERM, 143),
        ]:
            stopped = Stopped(arguments, output, number, dice)
            assert stopped.code == code, stopped.said
            assert "Traceback" not in stopped.said
            assert not output.exists()
            if kept:
                assert f"{kept:,} of 2,400 rows are saved" in stopped.said
            if number != signal.SIGKILL:
                assert f"stopped: {stopped.kept:,} of 2,400 rows are saved" in stopped.said
            assert stopped.kept > kept
            kept = stopped.kept
        capfd.readouterr()
        assert command(*arguments) == 0
    assert output.read_bytes() == expected.read_bytes()
    assert f"{kept:,} of them from earlier runs" in capfd.readouterr().err


# ----------------------------------------------------------------------------------- a full disk


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave: int) -> None:
        """Let no more than some bytes be free."""
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        self._ballast.write_bytes(bytes(max(0, free - leave)))

    def free(self) -> None:
        self._ballast.unlink()

    def remount(self, options: str) -> None:
        arguments = ["mount", "-o", f"remount,{options}", str(self.folder)]
        subprocess.run(arguments, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system of its own cannot be mounted here: {error}")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out.csv.gz"])
@pytest.mark.parametrize("stage", ["chunk", "output"])
def test_a_full_disk_costs_nothing_that_was_kept(
    tmp_path: Path,
    checkpoint: Path,
    disk: Disk,
    output: str,
    stage: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 300)
    monkeypatch.setattr(chunks, "FIRST_CHUNK_CHARACTERS", chunks.MAX_CHUNK_CHARACTERS)
    texts = [f"{random.Random(number).getrandbits(300):x}" for number in range(1200)]
    place = Place(tmp_path, checkpoint, output)
    write_rows(place.input, texts)
    expected = place.unbroken()
    place.output, place.work = disk.folder / output, JobFolder(disk.folder / output)
    with running_out(disk, stage):
        assert place.run() == 7
    said = capfd.readouterr().err
    assert "Free some space and run the same command again" in said
    kept = len(place.lines_in_ledger())
    assert kept == (4 if stage == "output" else 2)
    assert not place.output.exists()
    assert list(place.work.path.rglob("*.partial")) == []
    disk.free()
    assert place.run() == 0
    assert f"{kept * 300:,} of 1,200 rows are saved" in capfd.readouterr().err
    assert place.output.read_bytes() == expected


def running_out(disk: Disk, stage: str) -> AbstractContextManager[None]:
    """A context in which the disk fills up before a chunk, or before the output."""
    if stage == "chunk":
        return before_commit(2, lambda: disk.fill(8192))
    return before_finish(lambda: disk.fill(16384))


@contextmanager
def before_finish(action: Callable[[], object]) -> Iterator[None]:
    """Do something before the output is written."""
    finish = JobFolder.finish

    def act_and_finish(folder: JobFolder, fill: Callable[[BinaryIO], object]) -> None:
        action()
        finish(folder, fill)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobFolder, "finish", act_and_finish)
        yield


def test_a_disk_that_cannot_be_written_is_a_job_error(
    tmp_path: Path, checkpoint: Path, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, checkpoint)
    place.output = disk.folder / "out.csv"
    disk.remount("ro")
    assert place.run() == 7
    assert re.search(r"disk is not writable. Choose an output in", capfd.readouterr().err)

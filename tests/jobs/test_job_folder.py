"""States of a job's folder, including damaged ones: no wrong output, no lost rows."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs.small_jobs import Place, before_commit, small_checkpoint

from isobatch.errors import JobError
from isobatch.jobs.folder import JobFolder
from isobatch.scoring import chunks

REFUSED = 7


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture
def place(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 3)
    return Place(tmp_path, checkpoint)


@pytest.fixture
def expected(place: Place) -> bytes:
    return place.unbroken()


def test_a_second_run_is_refused_while_the_first_runs(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    with JobFolder(place.output).locked():
        assert place.run() == REFUSED
    assert "another run is writing it" in capfd.readouterr().err
    assert place.run() == 0


def test_a_run_that_is_stopped_says_what_is_kept_and_goes_on(
    place: Place, expected: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    place.stop_at(2)
    assert not place.output.exists()
    capfd.readouterr()
    assert place.run() == 0
    assert place.output.read_bytes() == expected
    said = capfd.readouterr().err
    assert "6 of 12 rows are saved" in said
    assert "12 rows in" in said
    assert "6 of them from earlier runs" in said


def test_a_finished_job_is_not_done_again(
    place: Place, expected: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert place.run() == 0
    written = place.output.stat().st_mtime_ns
    assert place.run() == 0
    assert (place.output.stat().st_mtime_ns, place.output.read_bytes()) == (written, expected)
    assert "12 of 12 rows are saved" in capfd.readouterr().err


def torn_line(place: Place) -> None:
    lines = place.lines_in_ledger()
    place.work.ledger.write_bytes(b"".join(lines[:-1]) + lines[-1][:-1])


def torn_by_zeros(place: Place) -> None:
    """As some file systems leave it after a power cut."""
    place.work.ledger.write_bytes(b"".join(place.lines_in_ledger()) + bytes(300))


def no_ledger(place: Place) -> None:
    place.work.ledger.unlink()


def more_chunks_than_lines(place: Place) -> None:
    place.chunk(2).write_bytes(b"half of a chunk")
    place.chunk(3).with_suffix(".partial").write_bytes(b"half of the next")


def leftover_of_finish(place: Place) -> None:
    (place.work.path / "output.partial").write_bytes(b"half of the output")


@pytest.mark.parametrize(
    "leave", [torn_line, torn_by_zeros, no_ledger, more_chunks_than_lines, leftover_of_finish]
)
def test_what_a_crash_can_leave_does_not_change_the_bytes(
    place: Place, expected: bytes, leave: Callable[[Place], None]
) -> None:
    place.stop_at(2)
    leave(place)
    assert place.run() == 0
    assert place.output.read_bytes() == expected
    left = {path.name for path in place.work.path.iterdir()}
    assert left == {"manifest.json", "runs.json", "chunks.jsonl", "finished.json", "lock"}


def truncated_chunk(place: Place) -> Path:
    place.chunk(0).write_bytes(place.chunk(0).read_bytes()[:-1])
    return place.chunk(0)


def edited_chunk(place: Place) -> Path:
    content = place.chunk(1).read_bytes()
    place.chunk(1).write_bytes(content.replace(b"0", b"1"))
    return place.chunk(1)


def lost_chunk(place: Place) -> Path:
    place.chunk(0).unlink()
    return place.chunk(0)


def edited_ledger(place: Place) -> Path:
    place.work.ledger.write_bytes(place.lines_in_ledger()[1])
    return place.work.ledger


def spoiled_ledger(place: Place) -> Path:
    place.work.ledger.write_bytes(b"{}\n" + place.lines_in_ledger()[1])
    return place.work.ledger


def spoiled_manifest(place: Place) -> Path:
    path = place.work.path / "manifest.json"
    path.write_bytes(path.read_bytes()[:-9])
    return path


def empty_manifest(place: Place) -> Path:
    path = place.work.path / "manifest.json"
    path.write_text("null")
    return path


@pytest.mark.parametrize(
    "spoil",
    [
        truncated_chunk,
        edited_chunk,
        lost_chunk,
        edited_ledger,
        spoiled_ledger,
        spoiled_manifest,
        empty_manifest,
    ],
)
def test_work_that_somebody_changed_is_refused(
    place: Place,
    expected: bytes,
    capfd: pytest.CaptureFixture[str],
    spoil: Callable[[Place], Path],
) -> None:
    place.stop_at(2)
    spoiled = spoil(place)
    capfd.readouterr()
    assert place.run() == REFUSED
    said = capfd.readouterr().err
    assert str(spoiled) in said
    assert "--restart" in said
    assert not place.output.exists()
    assert place.run("--restart") == 0
    assert place.output.read_bytes() == expected


def test_a_finished_output_that_was_edited_is_left_alone(
    place: Place, expected: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert place.run() == 0
    place.output.write_bytes(expected + b"mine\n")
    assert place.run() == REFUSED
    assert "has changed since" in capfd.readouterr().err
    assert place.output.read_bytes() == expected + b"mine\n"
    assert place.run("--restart") == 0
    assert place.output.read_bytes() == expected


def test_a_finished_output_that_was_deleted_is_written_again(place: Place, expected: bytes) -> None:
    assert place.run() == 0
    place.output.unlink()
    assert place.run() == 0
    assert place.output.read_bytes() == expected


@pytest.mark.parametrize("content", ["", "[]", '{"bytes": 1}'])
def test_a_record_of_the_end_that_cannot_be_read_is_refused(
    place: Place, content: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert place.run() == 0
    (place.work.path / "finished.json").write_text(content)
    assert place.run() == REFUSED
    assert "finished.json: cannot be read" in capfd.readouterr().err


def there_before(place: Place) -> None:
    place.output.write_text("mine\n")


def there_while_stopped(place: Place) -> None:
    place.stop_at(2)
    place.output.write_text("mine\n")


@pytest.mark.parametrize("put", [there_before, there_while_stopped])
def test_an_output_without_a_record_is_left_alone(
    place: Place,
    expected: bytes,
    capfd: pytest.CaptureFixture[str],
    put: Callable[[Place], None],
) -> None:
    put(place)
    assert place.run() == REFUSED
    assert "already exists" in capfd.readouterr().err
    assert place.output.read_text() == "mine\n"
    assert place.run("--restart") == 0
    assert place.output.read_bytes() == expected


def test_an_output_that_appears_under_way_is_left_alone(place: Place, expected: bytes) -> None:
    with before_commit(3, lambda: place.output.write_text("mine\n")):
        assert place.run() == REFUSED
    assert place.output.read_text() == "mine\n"
    place.output.unlink()
    assert place.run() == 0
    assert place.output.read_bytes() == expected


def test_restart_leaves_the_output_until_there_is_a_new_one(place: Place, expected: bytes) -> None:
    assert place.run("--prefix", "other_") == 0
    other = place.output.read_bytes()
    with before_commit(3, lambda: seen.append(place.output.read_bytes())):
        seen: list[bytes] = []
        assert place.run("--restart") == 0
    assert seen == [other]
    assert place.output.read_bytes() == expected


def test_every_sync_may_find_the_disk_full(
    place: Place, expected: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """A failing fsync is a JobError, leaves no half-written file, and the job resumes."""
    sync, failures = os.fsync, 0
    while True:
        count, fail_at = 0, failures + 1

        def full(descriptor: int, fail_at: int = fail_at) -> None:
            nonlocal count
            count += 1
            if count == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(descriptor)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            status = place.run("--quiet")
        if status == 0:
            break
        failures += 1
        assert status == REFUSED
        assert "Free some space" in capfd.readouterr().err
        assert not place.output.exists() or place.output.read_bytes() == expected
        assert list(place.work.path.rglob("*.partial")) == []
        assert place.run("--quiet") == 0
        assert place.output.read_bytes() == expected
        place.forget()
    assert failures > 15


def test_a_folder_that_cannot_be_locked_is_a_job_error(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(JobError, match="No locks"), JobFolder(place.output).locked():
        pass


def test_the_manifest_has_no_path_and_no_time(place: Place, expected: bytes) -> None:
    """So that the input may be renamed, and the same work detect_formatd anywhere."""
    assert place.run() == 0
    manifest = (place.work.path / "manifest.json").read_text()
    assert str(place.input.parent) not in manifest
    assert place.input.name not in manifest
    assert json.loads(manifest)["inputs"][0]["bytes"] == place.input.stat().st_size

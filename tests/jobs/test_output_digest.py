"""The digest of outputs: printed and reported by a run, and compared by --expect."""

import gzip
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from jobs.small_jobs import Place, command, small_checkpoint, write_rows

from isobatch.errors import JobError
from isobatch.jobs.output_digest import combine_digests, output_digest
from isobatch.tables import TableFile


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


def printed_digest(said: str) -> str:
    [line] = [line for line in said.splitlines() if line.startswith("digest: ")]
    return line.removeprefix("digest: ")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_printed_digest_is_of_the_file_and_is_expected_elsewhere(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, checkpoint)
    report = tmp_path / "report.json"
    assert place.run("--report", report) == 0
    digest = printed_digest(capfd.readouterr().err)
    assert digest == sha256(place.output.read_bytes())
    assert json.loads(report.read_bytes())["digest"] == digest
    assert place.run("--expect", digest) == 0, "finished already"
    assert place.run("--restart", "--expect", f" SHA256:{digest.upper()} ") == 0


@pytest.mark.parametrize("output", ["out.csv.gz", "out.jsonl.zst", "out.jsonl"])
def test_the_digest_does_not_depend_on_the_compression(
    tmp_path: Path, checkpoint: Path, output: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, checkpoint, output)
    plain = Place(tmp_path, checkpoint, output.partition(".gz")[0].partition(".zst")[0])
    assert plain.run("--restart") == 0
    capfd.readouterr()
    assert place.run("--expect", sha256(plain.output.read_bytes()), "--restart") == 0
    assert printed_digest(capfd.readouterr().err) == sha256(plain.output.read_bytes())


def test_another_digest_ends_the_run_with_its_own_code(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, checkpoint)
    report = tmp_path / "report.json"
    assert place.run("--expect", "0" * 64, "--report", report) == 9
    said = capfd.readouterr().err
    digest = sha256(place.output.read_bytes())
    assert f"out.csv: the digest is {digest}, not {'0' * 64}" in said
    assert printed_digest(said) == digest, "the summary is printed all the same"
    assert json.loads(report.read_bytes())["digest"] == digest
    assert place.run("--expect", digest) == 0


def test_one_other_bit_is_another_digest(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The inverse: weights of another seed."""
    place = Place(tmp_path, checkpoint)
    assert place.run() == 0
    digest = printed_digest(capfd.readouterr().err)
    other = small_checkpoint(tmp_path / "other", seed=1)
    assert place.run("--restart", "--model", other, "--expect", digest) == 9


@pytest.mark.parametrize("given", ["", "abc", "0" * 63, "g" * 64, "md5:" + "0" * 64])
def test_what_is_not_a_digest_is_refused_before_any_work(
    tmp_path: Path, checkpoint: Path, given: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, checkpoint)
    assert place.run("--expect", given) == 2
    assert "is not a SHA-256. Copy the 64 hexadecimal digits" in capfd.readouterr().err
    assert not place.output.exists()


def test_stdout_has_a_digest_too(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, checkpoint)
    assert place.run() == 0
    arguments = ("run", place.input, "-o", "-", "--model", checkpoint, "--quiet", "--expect")
    content = place.output.read_bytes()
    for expected, code in ((sha256(content), 0), ("1" * 64, 9)):
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
        monkeypatch.setattr(sys, "stdout", stream)
        assert command(*arguments, expected) == code
        assert stream.buffer.getvalue() == content  # type: ignore[attr-defined]


def test_the_digest_of_a_folder_is_that_of_its_list(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b", "a", "B"):
        write_rows(tmp_path / "in" / f"{name}.csv", [f"nice {name}"])
    arguments = ("run", tmp_path / "in", "-o", f"{tmp_path}/out/", "--model", checkpoint)
    assert command(*arguments) == 0
    digest = printed_digest(capfd.readouterr().err)
    listed = subprocess.run(
        "LC_ALL=C; sha256sum * | sha256sum",
        shell=True,
        cwd=tmp_path / "out",
        capture_output=True,
        check=True,
    )
    assert listed.stdout.split()[0].decode() == digest
    assert command(*arguments, "--expect", digest) == 0


def test_the_list_is_sorted_by_name() -> None:
    assert combine_digests(["b/y", "a/x"], ["2", "1"]) == sha256(b"1  x\n2  y\n")
    assert combine_digests(["b/y"], ["2"]) == "2"


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"a" * 999)[:-9]], ids=["not gzip", "cut"]
)
def test_a_damaged_output_is_an_error_of_the_job(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.csv.gz"
    path.write_bytes(content)
    with pytest.raises(JobError, match=r"out\.csv\.gz: cannot be read: .* --restart"):
        output_digest(TableFile(path, "csv", "gzip"))

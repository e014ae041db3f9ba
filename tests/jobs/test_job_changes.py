"""Changes between two runs of a job: some are allowed, others are refused with the difference."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from jobs.small_jobs import Place, before_commit, break_off, command, small_checkpoint

from isobatch.jobs import manifest
from isobatch.jobs.folder import JobFolder
from isobatch.jobs.prepare import PreparedJob
from isobatch.scoring import chunks
from isobatch.tables import TableChunk


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture
def place(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 3)
    return Place(tmp_path, checkpoint)


@pytest.fixture
def expected(place: Place) -> bytes:
    return place.unbroken()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--precision", "int8"],
            [": the precision", " changed (", 'precision: was "fp32", is "int8"'],
        ),
        (
            ["--columns", "text"],
            ["the columns that are kept changed", 'columns.kept: was ["id", "text"], is ["text"]'],
        ),
        (
            ["--truncation", "error"],
            ["out.csv: --truncation changed", 'truncation: was "cut", is "error"'],
        ),
        (["--prefix", "my_"], ['columns.added[0].name: was "label", is "my_label"']),
        (["--logits"], ["columns.has_logits: was false, is true"]),
        (["--scores"], ["columns.has_scores: was false, is true"]),
        (
            ["--output-format", "tsv"],
            ["the format of the output changed", 'output.format: was "csv", is "tsv"'],
        ),
        (["--output-format", "jsonl"], ['output.format: was "csv"', "msgspec: was absent"]),
        (["--output-format", "parquet"], ["pyarrow: was absent"]),
        (["--text-column", "id"], ['columns.read.text: was "text", is "id"']),
        (["--id-column", "id"], ['columns.read.id: was null, is "id"']),
        (["--encoding", "cp1252"], ["--encoding changed", 'encoding: was "utf-8", is "cp1252"']),
        (["--on-empty", "error"], ["--on-empty changed", 'on_empty: was "score", is "error"']),
        (["--no-quotes"], ["--no-quotes", "dialect.quotes: was true, is false"]),
    ],
)
def test_other_options_are_refused(
    place: Place, capfd: pytest.CaptureFixture[str], options: list[str], words: list[str]
) -> None:
    place.stop_at(2)
    before = sorted(place.input.parent.rglob("*"))
    capfd.readouterr()
    assert place.run(*options) == 7
    said = capfd.readouterr().err
    assert all(word in said for word in words), said
    assert "--restart" in said
    assert sorted(place.input.parent.rglob("*")) == before


def test_a_finished_job_is_not_overwritten_by_another(place: Place, expected: bytes) -> None:
    assert place.run() == 0
    assert place.run("--prefix", "my_") == 7
    assert place.output.read_bytes() == expected
    assert place.run("--prefix", "my_", "--restart") == 0
    assert place.output.read_bytes().startswith(b"id,text,my_label,")
    assert place.run() == 7


def test_another_input_is_refused_and_the_old_one_goes_on(
    place: Place, expected: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    place.stop_at(2)
    content = place.input.read_bytes()
    place.input.write_bytes(content.replace(b"plot", b"blot"))
    assert place.run() == 7
    said = capfd.readouterr().err
    assert "out.csv: the input file changed (inputs[0].sha256: was" in said
    assert "Restore it, choose another output, or start over with --restart" in said
    place.input.write_bytes(content)
    assert place.run() == 0
    assert place.output.read_bytes() == expected


def test_another_number_of_inputs_is_named(
    place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place.stop_at(2)
    more = tmp_path / "more.csv"
    more.write_bytes(place.input.read_bytes())
    capfd.readouterr()
    assert place.run(more) == 7
    assert "out.csv: the number of input files changed (inputs[1]." in capfd.readouterr().err


def test_every_entry_of_a_manifest_has_words(place: Place) -> None:
    place.stop_at(1)
    before = json.loads((place.work.path / "manifest.json").read_bytes())
    assert manifest.describe_changes(before, before) == ""
    for name in before:
        now = before | {name: None}
        said = manifest.describe_changes(before, now).partition(" changed (")[0]
        assert said
        assert "." not in said
        assert "_" not in said


def test_another_checkpoint_is_refused(
    place: Place, expected: bytes, other_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place.stop_at(2)
    assert place.run("--model", other_checkpoint) == 7
    assert ": the checkpoint changed (checkpoint_sha256: was" in capfd.readouterr().err
    assert place.run("--model", other_checkpoint, "--restart") == 0
    assert place.output.read_bytes() != expected


@pytest.mark.parametrize("name", ["MAX_CHUNK_ROWS", "MAX_CHUNK_CHARACTERS", "MAX_READ_CHARACTERS"])
def test_other_limits_of_a_chunk_are_refused(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.stop_at(2)
    monkeypatch.setattr(manifest, name, 5)
    assert place.run() == 7


@pytest.mark.parametrize(
    "options",
    [["--threads", 2], ["--max-batch-tokens", 1], ["--max-batch-tokens", 99, "--on-error", "stop"]],
)
def test_threads_batches_and_what_stops_it_may_change(
    place: Place, expected: bytes, options: list[object]
) -> None:
    place.stop_at(2)
    assert place.run(*options) == 0
    assert place.output.read_bytes() == expected


def test_the_input_may_be_renamed_and_the_checkpoint_too(
    place: Place, expected: bytes, checkpoint: Path, tmp_path: Path
) -> None:
    place.stop_at(2)
    place.input = place.input.rename(tmp_path / "renamed.csv")
    copy = tmp_path / "copy"
    copy.symlink_to(checkpoint)
    assert place.run("--model", copy) == 0
    assert place.output.read_bytes() == expected


def test_a_chunk_of_an_input_that_changed_under_way_is_not_kept(
    place: Place, expected: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reader prefetches: it reads from here on another content, which is restored later."""
    content = place.input.read_bytes()

    def change() -> None:
        place.input.write_bytes(content.replace(b"nice", b"ugly"))

    with before_commit(1, change):
        assert place.run() == 7
    assert "changed while it was read" in capfd.readouterr().err
    assert len(place.lines_in_ledger()) == 2
    place.input.write_bytes(content)
    assert place.run() == 0
    assert place.output.read_bytes() == expected


@pytest.mark.parametrize("last", [1, 3])
def test_an_input_that_vanishes_under_way_is_an_error(
    place: Place, last: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with before_commit(last, place.input.unlink):
        assert place.run() == 6
    assert "rows.csv: can no longer be read" in capfd.readouterr().err
    assert not place.output.exists()


def test_stopping_at_errors_holds_for_rows_that_are_kept(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else the same rows would stop a job or not, by how often it was broken off."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": null}\n' + '{"text": "nice"}\n' * 9)
    arguments = ("run", rows, "-o", tmp_path / "out.jsonl", "--model", checkpoint)
    with pytest.MonkeyPatch.context() as patch, before_commit(2, break_off):
        patch.setattr(chunks, "MAX_CHUNK_ROWS", 3)
        assert command(*arguments) == 7
        capfd.readouterr()
        assert command(*arguments, "--on-error", "stop") == 3
    assert "1 of the 6 saved rows have an error" in capfd.readouterr().err


def test_columns_that_follow_from_another_task_are_not_listed() -> None:
    added: list[dict[str, object]] = [{"name": "label"}, {"name": "score"}]
    before = {"columns": {"added": added, "has_logits": False}}
    now = {
        "columns": {"added": added[1:], "has_logits": False},
        "task": {"name": "text-ranking", "query": "a"},
    }
    said = manifest.describe_changes(before, now)
    assert said.startswith("the task and --query changed (task.name: was absent")
    assert "columns" not in said
    other_query = {**now, "columns": before["columns"], "task": {**now["task"], "query": "b"}}
    assert "the columns that are added" in manifest.describe_changes(now, other_query)


def test_saved_chunks_must_have_their_rows(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As when a library cuts a file in other places: rows would be missing, or written twice."""
    place.stop_at(2)
    cut = PreparedJob.chunks

    def cut_elsewhere(self: PreparedJob) -> Iterator[TableChunk]:
        first, *others = cut(self)
        yield first.part(0, 2)
        yield first.part(2, 3)
        yield from others

    monkeypatch.setattr(PreparedJob, "chunks", cut_elsewhere)
    assert place.run() == 7
    assert "chunk 0 was saved with 3 rows, and has 2 now" in capfd.readouterr().err


def test_the_library_that_reads_the_input_is_in_the_manifest(
    tmp_path: Path, checkpoint: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["nice"]}), rows)
    assert command("run", rows, "-o", tmp_path / "out.csv", "--model", checkpoint) == 0
    written = json.loads((JobFolder(tmp_path / "out.csv").path / "manifest.json").read_text())
    assert written["versions"]["pyarrow"] == pa.__version__

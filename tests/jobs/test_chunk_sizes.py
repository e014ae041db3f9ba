"""Chunks: small at first, so that a stop after seconds keeps rows; the output's bytes are equal."""

import re
from pathlib import Path

import pytest
from jobs.small_jobs import Place, before_commit, break_off, small_checkpoint, write_rows

from isobatch.scoring import InputColumns, cut_chunks
from isobatch.scoring import chunks as chunk_room
from isobatch.tables import TableFile, open_table

TEXTS = [f"{number:04} {'x' * (number % 90)}" for number in range(12_000)]


def sizes(path: Path) -> list[int]:
    """The characters of each chunk."""
    tables = [open_table(TableFile(path, "csv", "none"))]
    cut = list(cut_chunks(tables, InputColumns("text")))
    assert [text for rows in cut for text in rows.texts("text")] == TEXTS
    return [sum(map(len, rows.texts("text"))) for rows in cut]


def test_each_chunk_may_be_twice_as_large_up_to_a_limit(tmp_path: Path) -> None:
    found = sizes(write_rows(tmp_path / "rows.csv", TEXTS))
    limits = [4096, 8192, 16384, 32768, 65536, 131072, 131072]
    assert all(size <= limit for size, limit in zip(found, limits, strict=False))
    assert all(size > 0.9 * limit for size, limit in zip(found[:5], limits, strict=False))
    assert found == sizes(tmp_path / "rows.csv")


def test_a_long_text_is_a_chunk_of_its_own(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", ["x" * 5000, "y" * 5000, "", "z" * 200_000])
    tables = [open_table(TableFile(path, "csv", "none"))]
    assert [len(rows) for rows in cut_chunks(tables, InputColumns("text"))] == [1, 2, 1]


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl"])
def test_a_run_that_is_stopped_early_has_saved_rows_and_the_same_bytes_in_the_end(
    tmp_path: Path, output: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, small_checkpoint(tmp_path / "model"), output)
    write_rows(place.input, TEXTS[:800])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_room, "FIRST_CHUNK_CHARACTERS", chunk_room.MAX_CHUNK_CHARACTERS)
        expected = place.unbroken()
    with before_commit(1, break_off):
        assert place.run() == 7
    assert place.run() == 0
    saved = re.search(r"resuming: (\d+) of 800 rows are saved", capfd.readouterr().err)
    assert saved
    assert 0 < int(saved[1]) < 200
    assert place.output.read_bytes() == expected

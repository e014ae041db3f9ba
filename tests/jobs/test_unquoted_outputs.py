"""Inputs without quotes (--no-quotes): their output can hold every cell, or is refused at once."""

import csv
import re
from pathlib import Path

import pytest
from jobs.small_jobs import command, small_checkpoint

TSV = 'id\ttext\n1\ta "fine, good" film\n2\tdull\n'
CSV = 'id,text\n1,a "fine" film\n2,dull\n'


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


def test_cells_are_quoted_if_the_delimiter_of_the_output_differs(
    tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "q.tsv").write_text(TSV)
    output = tmp_path / "q.csv"
    arguments = ("run", tmp_path / "q.tsv", "-o", output, "--no-quotes", "--model", checkpoint)
    assert command(*arguments) == 0
    assert output.read_text().splitlines()[1].startswith('1,"a ""fine, good"" film",')
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["text"] for row in rows] == ['a "fine, good" film', "dull"]


def test_cells_stay_as_they_are_if_it_is_the_same(tmp_path: Path, checkpoint: Path) -> None:
    for name, content in (("q.tsv", TSV), ("q.csv", CSV)):
        (tmp_path / name).write_text(content)
        output = tmp_path / f"out{name[1:]}"
        options = ("--no-quotes", "--model", checkpoint)
        assert command("run", tmp_path / name, "-o", output, *options) == 0
        assert output.read_text().splitlines()[1].startswith(content.splitlines()[1])
    for name, delimiter in (("q.csv", ";"), ("q.tsv", ",")):
        (tmp_path / name).write_text(CSV.replace(",", delimiter))
        options = ("--no-quotes", "--delimiter", delimiter, "--restart", "--model", checkpoint)
        assert command("run", tmp_path / name, "-o", tmp_path / "out.csv", *options) == 0
        quoted = '1,a "fine" film,' if delimiter == "," else '1,"a ""fine"" film",'
        assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith(quoted)


@pytest.mark.parametrize("options", [["--logits"], ["--prefix", "a,"]])
def test_added_cells_that_need_quotes_are_refused_before_computing(
    tmp_path: Path,
    checkpoint: Path,
    options: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "q.csv").write_text(CSV)
    output = tmp_path / "out.csv"
    arguments = ("run", tmp_path / "q.csv", "-o", output, "--no-quotes", "--model", checkpoint)
    with monkeypatch.context() as patched:
        patched.setattr("isobatch.jobs.prepare.score_rows", None)
        assert command(*arguments, *options) == 2
    (advice,) = re.findall(r"Use (--output-format \w+)", capfd.readouterr().err)
    assert command(*arguments, *options, *advice.split()) == 0
    assert output.read_text().startswith('{"id":')


def test_the_reason_of_an_error_has_no_comma_without_quotes(
    tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "q.csv").write_text(f"id,text\n1,{'film ' * 2000}\n")
    output = tmp_path / "out.csv"
    options = ("--no-quotes", "--truncation", "error", "--model", checkpoint)
    assert command("run", tmp_path / "q.csv", "-o", output, *options) == 0
    assert " tokens; the maximum of " in output.read_text().splitlines()[1].split(",")[-1]

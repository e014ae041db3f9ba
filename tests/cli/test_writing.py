"""Files that options write: none replaces the file of another option, by any name."""

from pathlib import Path

import pytest
from shell import run

from isobatch.cli.writing import refuse_replacing
from isobatch.errors import OptionError


@pytest.mark.parametrize(
    "arguments",
    [
        ("lesson", "--texts", "{kept}", "--html", "{other}"),
        ("audit", "--quick", "--texts", "{kept}", "--html", "{other}"),
        ("audit", "--quick", "--texts", "{kept}", "--save", "{other}"),
        ("audit", "--quick", "--texts", "{kept}", "--junit", "{other}"),
        ("audit", "--quick", "--compare", "{kept}", "--junit", "{other}"),
        ("evaluate", "{rows}", "--labels-file", "{kept}", "--html", "{other}"),
        ("run", "{rows}", "-o", "{rows}.jsonl", "--labels-file", "{kept}", "--report", "{other}"),
    ],
)
@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
def test_no_output_replaces_an_input(tmp_path: Path, arguments: tuple[str, ...], link: str) -> None:
    kept, rows, other = tmp_path / "kept.txt", tmp_path / "rows.csv", tmp_path / "other.txt"
    kept.write_text("good\nbad\n")
    rows.write_text("text,label\na nice film,good\n")
    if link == "symbolic":
        other.symlink_to(kept)
    elif link == "hard":
        other.hardlink_to(kept)
    else:
        other = kept
    ran = run(*(part.format(kept=kept, rows=rows, other=other) for part in arguments))
    assert ran.returncode in (2, 7), ran.stderr.decode()
    assert "and would replace it. Use another file" in ran.stderr.decode()
    assert kept.read_text() == "good\nbad\n"


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--junit .*a: is also the file of --html"):
        refuse_replacing({"--html": tmp_path / "a", "--junit": tmp_path / "." / "a"}, {})
    null = Path("/dev/null")
    refuse_replacing({"--html": null, "--junit": null, "--save": None}, {"--texts": None})

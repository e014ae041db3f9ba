"""examples/README.md lists every example, and each says what it shows and how it is run."""

import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
FILES = sorted(
    path
    for path in EXAMPLES.rglob("*.*")
    if path.name != "README.md" and "__pycache__" not in path.parts
)


def test_the_page_lists_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    named = {EXAMPLES / target for target in re.findall(r"\]\(([^)#:]+)\)", page)}
    assert {path for path in named if path.is_file()} == {*FILES}
    assert all(path.exists() for path in named)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_an_example_is_short_and_says_first_what_it_shows_and_how_it_is_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        assert sum(len(cell["source"]) for cell in cells) < 120
        text = "".join(cells[0]["source"]).partition("\n")[2]  # without the title
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#!")]
    start = next(number for number, line in enumerate(lines) if "Run: " in line)
    assert start <= 1, "what it shows has one line"
    assert len(lines) <= 90

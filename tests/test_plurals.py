"""Numbers next to their nouns: "1 row", never "1 rows"."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from isobatch.drawing.display_text import counted

PACKAGE = Path(__file__).parent.parent / "isobatch"
ROOMS = ("audit", "cli", "evaluation", "training", "lesson.py")
NOUNS = ("bug", "error", "file", "finding", "label", "number", "probe", "result", "row")
NOUNS += ("sentence", "slice", "text", "thread", "token", "value", "worker")
PLURAL = re.compile(rf"^ (?:more |different |such )?(?:{'|'.join(NOUNS)})s\b(?!/)")
LIMITS = re.compile(
    r"max|limit|MAX|words|moved|places|labels|len\((session\.texts|errors|batch|rows|ids|unknown)\)"
)
"""Expressions that are never 1: limits, lengths of long texts, and numbers from 2 on."""


def plurals(path: Path) -> Iterator[str]:
    """Each number in an f-string that has a plural next to it, though it may be 1."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for number, words in pairwise(parts):
            if not isinstance(number, ast.FormattedValue) or not isinstance(words, ast.Constant):
                continue
            written = ast.unparse(number.value)
            if PLURAL.match(str(words.value)) and not LIMITS.search(written):
                yield f"{path.name}:{node.lineno}: {written}{str(words.value)[:20]}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_number_that_may_be_1_is_written_by_counted(room: str) -> None:
    place = PACKAGE / room
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert not [each for file in files for each in plurals(file)]


def test_the_scan_finds_one(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        'a = f"{n} rows"\nb = f"{n:,} more probes left"\nc = f"{max_n} rows, {n} rows/s"\n'
    )
    assert list(plurals(file)) == ["a.py:1: n rows", "a.py:2: n more probes left"]


def test_counted() -> None:
    shown = [
        counted(0, "row"),
        counted(1, "row"),
        counted(1200, "row"),
        counted(2, "batch", "batches"),
    ]
    assert shown == ["0 rows", "1 row", "1,200 rows", "2 batches"]
    assert counted(1, "row is", "rows are") == "1 row is"

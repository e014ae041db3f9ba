"""The README: short, and its quick start computes what it says, on checkpoints with its names."""

import re
from pathlib import Path

import pytest
from named_checkpoints import WRITERS, write_named_checkpoints

from isobatch import Embedder, Reranker, ZeroShotClassifier

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
LINES = 150
NAME = re.compile(r'from_pretrained\("([^"]+)"\)')


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LINES


def test_the_readme_has_a_picture_that_refers_to_no_other_file() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    svg = (ROOT / picture).read_text(encoding="utf-8")
    assert len(svg) < 50_000
    assert not re.search(r"url\((?!#)|href=|@import|@font-face", svg)


def test_the_quick_start_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every expression is computed, and the results are those of the classes that it names."""
    text = README.read_text(encoding="utf-8")
    snippet = text[text.index("```python\n") :].removeprefix("```python\n").partition("```")[0]
    assert set(NAME.findall(snippet)) == WRITERS.keys()
    write_named_checkpoints(tmp_path, snippet)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(compile(snippet, str(README), "exec"), found)  # the snippet is our own
    embedder, reranker, zero_shot = (found[name] for name in ("embedder", "reranker", "zero_shot"))
    assert isinstance(embedder, Embedder)
    assert embedder(["A text", "and another one"]).shape == (2, embedder.size)
    assert isinstance(reranker, Reranker)
    (best,) = reranker.rank("how are batches padded?", ["To one length.", "In May."], top_k=1)
    assert best.text in ("To one length.", "In May.")
    assert isinstance(zero_shot, ZeroShotClassifier)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= 5
    assert printed[-1] in ("sport", "politics")

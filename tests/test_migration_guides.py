"""Guides for users of other libraries: code under "After" computes what that "Before" did."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serve.served_kinds as kinds
from named_checkpoints import write_named_checkpoints
from serve.served import running

from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.tasks import load_pipeline

DOCS = Path(__file__).parent.parent / "docs"
PAIR = re.compile(r"Before:\n\n```python\n(.*?)```\n\nAfter:\n\n```python\n(.*?)```", flags=re.S)
ADDRESS = "http://127.0.0.1:8080"


def pairs() -> Iterator[Any]:
    for name in ("from-transformers.md", "from-sentence-transformers.md"):
        found = PAIR.findall((DOCS / name).read_text(encoding="utf-8"))
        for number, (before, after) in enumerate(found, 1):
            yield pytest.param(before, after, id=f"{name}-{number}")


@pytest.mark.parametrize(("before", "after"), [*pairs()])
@pytest.mark.filterwarnings("ignore")  # of the other library
def test_the_new_code_computes_what_the_old_one_did(
    before: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_named_checkpoints(tmp_path, before)
    monkeypatch.chdir(tmp_path)
    theirs, ours = results(before), results(after)
    assert [*ours][-1] == [*theirs][-1]  # the result of both
    shared = ours.keys() & theirs.keys()
    assert not [name for name in shared if not is_close(ours[name], theirs[name])]


def test_every_guide_has_pairs() -> None:
    assert len(list(pairs())) >= 6


def test_a_difference_is_noticed() -> None:
    numbers = [{"label": "A", "score": 0.5}]
    assert is_close(numbers, [{"label": "A", "score": 0.500001}])
    assert not is_close(numbers, [{"label": "B", "score": 0.5}])
    assert not is_close(numbers, [{"label": "A", "score": 0.51}])
    assert not is_close([1.0], [1.0, 2.0])


def results(snippet: str) -> dict[str, object]:
    """Run a snippet; return its variables that are plain data."""
    found: dict[str, object] = {}
    exec(compile(snippet, "guide", "exec"), found)  # the snippet is our own
    plain = (list, str, float, np.ndarray)
    kept = {key: value for key, value in found.items() if isinstance(value, plain)}
    return {
        key: value for key, value in kept.items() if not key.startswith("_") and is_plain(value)
    }


def is_plain(value: object) -> bool:
    items = value if isinstance(value, list | tuple) else []
    return all(isinstance(each, str | float | int | list | dict | tuple) for each in items)


def is_close(ours: Any, theirs: Any) -> bool:
    """Compare data: numbers within 1e-5, everything else exactly."""
    if isinstance(ours, np.ndarray):
        return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, atol=1e-5, rtol=0))
    if isinstance(ours, Mapping):
        same = list(ours) == list(theirs)
        return same and all(is_close(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(is_close, ours, theirs))
    return abs(ours - theirs) < 1e-5 if isinstance(ours, float) else bool(ours == theirs)


@pytest.mark.parametrize(
    ("number", "write", "variable"),
    [(0, kinds.write_embedder, "vectors"), (1, kinds.write_reranker, "best")],
)
def test_clients_of_text_embeddings_inference(
    number: int, write: Any, variable: str, tmp_path: Path
) -> None:
    guide = (DOCS / "from-text-embeddings-inference.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", guide, flags=re.S)
    assert len(snippets) == 2
    found: dict[str, Any] = {}
    with running(create_app(load_pipeline(write(tmp_path / "model")), Settings())) as address:
        exec(snippets[number].replace(ADDRESS, address), found)  # the snippet is our own
    expected = {"vectors": (2, 32), "best": ()}[variable]
    assert np.shape(found[variable]) == expected
    assert found.get("cut", "0") == "0"

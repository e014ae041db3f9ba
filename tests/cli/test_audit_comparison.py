"""`isobatch audit --save` and `--compare`: files, words and exit codes."""

import io
import json
from pathlib import Path

import pytest
from shell import run

FUNCTIONS = """
SCALE = 1.0

def predict(texts):
    sizes = [sum(map(ord, text)) % 97 / 7 for text in texts]
    return [[size * SCALE, 3.0 - size] for size in sizes]
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A function; each test has its own module, as one may change it."""
    name = f"system_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"python:{name}:predict"


def scale(target: str, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Let the function compute other logits."""
    module = __import__(target.split(":")[1])
    monkeypatch.setattr(module, "SCALE", factor)


def test_answers_are_saved_and_compared(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "answers.json")
    ended = run("audit", target, "--quick", "--save", path)
    assert ended.returncode == 0, ended.stderr.decode()
    assert len(json.loads(Path(path).read_bytes())["texts"]) == 8
    same = run("audit", target, "--quick", "--compare", path)
    assert same.returncode == 0
    assert json.loads(same.stdout)["comparison"]["status"] == "exact"
    assert b"the same bits between the two audits, 8 of 8 times" in same.stderr
    scale(target, monkeypatch, 1 + 1e-7)
    report = str(tmp_path / "junit.xml")
    other = run("audit", target, "--quick", "--compare", path, "--junit", report)
    assert other.returncode == 9
    assert json.loads(other.stdout)["verdict"] == "exact", "the batch is another question"
    assert b"not explained: no recorded fact differs" in other.stderr
    assert "<failure" in Path(report).read_text()


def test_explained_drift_fails_only_on_request(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.json"
    assert run("audit", target, "--quick", "--save", str(path)).returncode == 0
    saved = json.loads(path.read_bytes())
    saved["facts"]["processor"] = "another"
    path.write_text(json.dumps(saved))
    scale(target, monkeypatch, 1 + 1e-7)
    ended = run("audit", target, "--quick", "--compare", str(path))
    assert ended.returncode == 0
    assert b"explained by what differs: processor: another there" in ended.stderr
    compare = ("--compare", str(path), "--fail-on", "drift")
    assert run("audit", target, "--quick", *compare).returncode == 9


def test_a_terminal_gets_tables(target: str) -> None:
    from rich.console import Console

    from isobatch.audit import SavedAnswers, audit
    from isobatch.audit.targets import open_subject
    from isobatch.cli.audit_comparison import print_comparison

    subject = open_subject(target)
    saved = SavedAnswers.of(audit(subject, quick=True))
    shifted = tuple((first + 1, second) for first, second in saved.outputs)
    before = SavedAnswers.from_json(saved.to_json(), "a")
    object.__setattr__(before, "outputs", shifted)
    found = audit(subject, quick=True, compare_with=before).comparison
    assert found
    console = Console(width=120, record=True, file=io.StringIO())
    print_comparison(console, found)
    shown = console.export_text()
    assert "8 of 8 results moved between the two audits, by up to 1" in shown
    assert "largest change" in shown
    assert saved.texts[0] in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--compare", "missing.json"), 6, "missing.json: cannot be read: No such file"),
        (("--compare", "."), 6, "cannot be read: Is a directory"),
        (("--compare", "other.json"), 8, "other.json: has no saved answers"),
        (("--compare", "other.json", "--save", "other.json"), 2, "is also the file of"),
        (("--save", "a.html", "--html", "a.html"), 2, "is also the file of"),
        (("--save", "none/a.json"), 6, "the folder none does not exist"),
        (("--save", "."), 6, "is a folder"),
    ],
)
def test_unusable_files_end_it_before_the_audit(
    target: str, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (tmp_path / "other.json").write_text('{"verdict": "exact"}')
    ended = run("audit", target, *arguments)
    assert ended.returncode == code
    assert words in ended.stderr.decode()
    assert ended.stdout == b""

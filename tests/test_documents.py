"""Documentation: snippets run, generated parts are up to date, links have targets."""

import doctest
import hashlib
import re
import shlex
import sys
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from isobatch.cli import app
from isobatch.errors import MissingAttentionMaskWarning

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from scripts.write_docs import PARTS, fresh_documents  # noqa: E402 - scripts/ is next to the package

DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("benchmarks/*.md"),
    *ROOT.glob("isobatch/bundled/*/*.md"),
]


def test_the_readme_s_snippets_run_and_print_what_it_says() -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingAttentionMaskWarning)
        failed, tried = doctest.testfile(
            str(ROOT / "README.md"), module_relative=False, optionflags=flags
        )
    assert tried > 10
    assert failed == 0


@pytest.mark.parametrize("name", ["files.md", "audit.md"])
def test_the_snippets_of_a_document_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    document = str(ROOT / "docs" / name)
    failed, tried = doctest.testfile(document, module_relative=False, optionflags=flags)
    assert tried > 5
    assert failed == 0, capsys.readouterr().out


def test_the_commands_about_files_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text("text\na fine film\na dull one\n")
    Path("dev.csv").write_text("text,label\na fine film,1\na dull one,0\n")
    for name in ("a.jsonl", "b.jsonl"):
        Path(name).write_text('{"text": "good"}\n')
    Path("shards").mkdir()
    pq.write_table(pa.table({"text": ["good"]}), "shards/one.parquet")
    commands = commands_in(ROOT / "docs/files.md")
    assert len(commands) >= 5
    for command in commands:
        precision = [] if "verify" in command else ["--precision", "int8"]
        given = [sha256("scored.csv") if each == "DIGEST" else each for each in command[1:]]
        ran = CliRunner().invoke(app, [*given, *precision])
        assert ran.exit_code == 0, (command, ran.output, ran.exception)


def sha256(name: str) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def commands_in(document: Path) -> list[list[str]]:
    """The command lines of a document that are neither piped nor need another machine."""
    lines = re.findall(r"^isobatch .*$", document.read_text(encoding="utf-8"), flags=re.M)
    return [shlex.split(line, comments=True) for line in lines if "|" not in line]


@pytest.fixture(scope="module")
def documents() -> list[tuple[Path, str]]:
    """Each document with generated parts, and its text with these parts made again."""
    return list(fresh_documents())


def test_generated_parts_are_up_to_date(documents: list[tuple[Path, str]]) -> None:
    for path, fresh in documents:
        assert path.read_text(encoding="utf-8") == fresh, f"{path} is stale: run `make docs`"


def test_every_generated_part_is_in_a_document(documents: list[tuple[Path, str]]) -> None:
    texts = [path.read_text(encoding="utf-8") for path, _ in documents]
    named = {name for text in texts for name in re.findall(r"<!-- generated: (\w+) -->", text)}
    assert named == PARTS.keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_have_targets(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_commands_of_the_readme_exist_in_the_makefile() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make (\w+)", readme, flags=re.M))
    assert named >= {"demo", "test", "bench"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.M) for target in named)

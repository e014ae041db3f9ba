"""Documentation: snippets run, generated parts are up to date, links have targets."""

import doctest
import hashlib
import re
import shlex
import sys
import tomllib
import warnings
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from jobs.small_jobs import write_rows
from jobs.task_checkpoints import WRITERS
from typer.testing import CliRunner

from isobatch.cli import app
from isobatch.errors import MissingAttentionMaskWarning

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from scripts.write_docs import PARTS, fresh_documents  # noqa: E402 - scripts/ is next to the package

COMMAND_LINE = typer.main.get_command(app)
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("benchmarks/*.md"),
    *ROOT.glob("examples/*.md"),
    *ROOT.glob("isobatch/bundled/*/*.md"),
]


SNIPPETS = [
    path
    for path in [*ROOT.glob("docs/*.md"), ROOT / "README.md"]
    if "```python\n>>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("document", SNIPPETS, ids=lambda path: path.name)
def test_the_snippets_of_a_document_run(
    document: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingAttentionMaskWarning)  # that the tutorial forgets
        failed, tried = doctest.testfile(str(document), module_relative=False, optionflags=flags)
    assert tried >= 3
    assert failed == 0, capsys.readouterr().out


def test_the_documents_with_snippets_are_found() -> None:
    names = {path.name for path in SNIPPETS}
    assert names >= {"audit.md", "classification.md", "files.md", "index.md", "tutorial.md"}


def test_the_commands_about_files_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text("text\na fine film\na dull one\n")
    Path("dev.csv").write_text("text,label\na fine film,1\na dull one,0\n")
    for name in ("a.jsonl", "b.jsonl"):
        Path(name).write_text('{"text": "good"}\n')
    Path("shards").mkdir()
    pq.write_table(pa.table({"text": ["good"]}), "shards/one.parquet")
    for name in ("passages.csv", "news.csv", "reports.jsonl", "docs.jsonl"):
        write_rows(Path(name), ["a fine film", "a dull one"])
    names = ("RERANKER", "NLI_MODEL", "TOKEN_CLASSIFIER", "EMBEDDING_MODEL")
    for name, write in zip(names, WRITERS.values(), strict=True):
        write(Path(name))
    commands = commands_in(ROOT / "docs/files.md")
    assert len(commands) >= 9
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


def test_every_extra_for_users_is_in_the_page_on_installation() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = {*settings["project"]["optional-dependencies"]}
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", page.partition("| extra |")[2], flags=re.M)
    named = set(re.findall(r"`(\w+)`", " ".join(rows[: rows.index("`audit`") + 1])))
    assert named == extras - {"bench", "check", "docs", "test", "wheel"}


def test_targets_of_make_that_documents_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    named = {
        name for text in texts for name in re.findall(r"(?:^|`)make ([\w-]+)", text, flags=re.M)
    }
    assert named >= {"demo", "test", "bench", "site", "wheel"}
    assert [each for each in named if not re.search(rf"^{each}:", makefile, flags=re.M)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_in_a_document_exist(document: Path) -> None:
    lines = re.findall(r"^isobatch .*$", document.read_text(encoding="utf-8"), flags=re.M)
    assert [line for line in lines if (problem := unknown_in(line)) and problem] == []


def test_an_unknown_command_or_option_is_found() -> None:
    assert unknown_in("isobatch run a.csv -o b.csv --precision int8 | head  # --not-read") == []
    assert unknown_in("isobatch runs a.csv") == ["runs"]
    assert unknown_in("isobatch run a.csv --output-to b.csv") == ["--output-to"]


def unknown_in(line: str) -> list[str]:
    """Return the command of a line, or its options, that the command line does not have."""
    _, *words = shlex.split(re.split(r"\s[|<>]\s", line)[0], comments=True)
    commands: dict[str, click.Command] = getattr(COMMAND_LINE, "commands")  # noqa: B009
    if not words or words[0].startswith("-"):
        return []
    if words[0] not in commands:
        return words[:1]
    known = {
        name for each in commands[words[0]].params for name in (*each.opts, *each.secondary_opts)
    }
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [option for option in given if option not in {*known, "--help"}]

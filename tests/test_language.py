"""The wording of code, messages and documents: terms of the field, one spelling, unique names.

`python tests/test_language.py isobatch/serve docs/serving.md` lists the violations of some paths;
docs/glossary.md has the project's own terms and the words to write in place of the banned ones.
"""

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

ISE = (
    "quant|token|normal|serial|initial|optim|organ|recogn|summar|minim|maxim|general|special|"
    "synchron|vector|parallel|random|final|visual|categor|util|author|custom|stabil|memor|standard|"
    "penal|emphas|capital|priorit|real"
)

BANNED = {
    r"(re)?settle(d|s|rs?)?|settling": "select, choose; kernel selection",
    r"trials?": "check, invariance check",
    r"proofs?|proved|proven": "check, verified",
    r"twins?": "reference implementation",
    r"company": "batch neighbours, other texts in the batch",
    r"desks?": "workspace",
    r"doors?": "admission control, gate; on input",
    r"(?-i:faces?)(?!-)": "API",
    r"anew": "again, from scratch",
    r"go(es|ing)? on|went on": "resume, continue",
    r"(let|lets|letting) (it |them |this |what )?go": "free, release, drop",
    r"whole or not( there)? at all|whole or nothing": "atomic",
    r"stands?(?!-)|stood|standing(?!-)": "is, is in, appears; means",
    r"lies|lying": "is, is located",
    r"beside": "next to, alongside, besides",
    r"told": "given, passed, reported",
    r"of (its|their|your|one's) own accord": "automatically",
    r"(it|they|that|which) knows?|knows (no|nothing|neither|only|of|what|how|its|each)": "omit",
    r"cures?|cured": "fix, remedy",
    r"for (want|lack) of": "without, because ... is missing",
    r"whoever|whatever|nobody|no one(?!-)": "name the subject: callers, users",
    r"(?<!there )(is|are|was|were) no (?!longer|more|less|better|worse|faster|slower|larger"
    r"|smaller|different|matter)[\w`\"'-]+": "is not a",
    r"to be had": "available, unsupported",
    r"so many": "N, that many",
    r"what (came|comes) of": "results",
    r"habits?|bent": "convention; coerced",
    r"least lately|lately": "least recently",
    r"makes? room": "evict",
    r"torn": "incomplete, truncated",
    r"(is|are|be) said of|vouch(ed)?": "rephrase",
    r"unforeseen|foresaw|foresees?": "unexpected",
    r"in silence|without a word": "silently",
    r"the house": "the project",
    r"puts? aside": "preempted, suspended",
    r"nothing is \w+": "name the subject: no file is written",
    r"(?:^|(?<=[.;:!?] ))(What|Who|Whom) (?![^.?]*\?)\w+": "a noun phrase, not a relative clause",
    rf"\w*({ISE})is(e|ed|es|er|ers|ing|ation|ations)": "-ize",
}
"""Patterns of house words, matched without case between word boundaries, and what to write."""

BANNED_IN_NAMES = (
    r"(re)?settle\w*|settling|trials?|proofs?|proved|twins?|company|desks?|doors?|anew|told|stands|"
    rf"cures?|whoever|nobody|beside|\w*({ISE})is(e\w*|ing|ations?)"
)
"""The same for the words of identifiers and file names."""

SAMPLES = "a sample sentence that audits send: its tokens fix the numbers"
ALLOWED: dict[tuple[str, str], str] = {
    ("isobatch/audit/auditor.py", "nobody"): SAMPLES,
    ("isobatch/audit/auditor.py", "be said of"): SAMPLES,
    ("isobatch/audit/auditor.py", "the house"): SAMPLES,
    ("isobatch/audit/auditor.py", "told"): SAMPLES,
    ("isobatch/audit/auditor.py", "door"): SAMPLES,
    ("isobatch/audit/probes/batch_neighbours.py", "company"): "the id of a probe, in reports",
    ("docs/audit.md", "company"): "recorded in the result of 2026-11-23",
    ("isobatch/scoring/predictions.py", "is no text"): "written into output files: fixed bytes",
}
"""Exceptions by path and phrase, in lower case, each with its reason."""

NOT_VERBS = re.compile(
    r"what|whether|how|who|whom|where|when|why|which|the|an?|as|if|all|each|every|one|two|three|no"
    r"|not|none|its|their|this|that|these|those|it|they|of|in|on|at|by|for|from|with|without|true"
    r"|false|some|any|many|most|more|less|only|whole|exactly|about|up"
)
"""First words that a docstring in the imperative does not have."""

REPEATED_TYPES = {"TextPair": "a component of the OpenAPI description, which clients name"}
"""Public types that several modules define, each with the reason."""

REPEATED_MODULES = {"__init__": "every package has one"}
"""File names that several rooms have, each with the reason; cli/ names its files by command."""

SKIPPED = ("/vendor/", "swagger", "tests/test_language.py", "benchmarks/results/")
"""Other people's files, measured results, and this file, which quotes every phrase."""

TEXT = (".md", ".h", ".cpp", ".js", ".css", ".html", ".pyi")
CONFIGURATION = ("Makefile", "Dockerfile", "compose.yaml", "pyproject.toml", "MANIFEST.in")
FOLDERS = ("isobatch", "benchmarks", "examples", "scripts", "tests", "docs")


class Prose(NamedTuple):
    """A piece of text and the line of the file that it begins on; white space is single."""

    text: str
    line: int


def violations(path: Path, root: Path = ROOT) -> Iterator[str]:
    """List what breaks the rules in one file, as `path:line: problem`."""
    name = path.relative_to(root).as_posix()
    source = path.read_text(encoding="utf-8")
    for prose in prose_of(name, source):
        for phrase, offset, advice in banned_phrases(prose.text):
            if (name, phrase.lower()) not in ALLOWED:
                line = prose.line + prose.text.count("\n", 0, offset)
                yield f"{name}:{line}: {phrase!r} -> {advice}"
    if path.suffix == ".py":
        tree = ast.parse(source)
        yield from _bad_names(name, tree)
        yield from _bad_docstrings(name, tree)


def banned_phrases(text: str) -> Iterator[tuple[str, int, str]]:
    """Find house words: the phrase, its offset, and the advice."""
    for pattern, advice in _PATTERNS:
        for match in pattern.finditer(text):
            yield match[0].replace("\n", " "), match.start(), advice


_PATTERNS = [
    (re.compile(rf"(?<![\w-])(?:{pattern})(?!\w)".replace(" ", r"\s"), re.I), advice)
    for pattern, advice in BANNED.items()
]


def prose_of(name: str, source: str) -> Iterator[Prose]:
    """Find the docstrings, comments and strings of Python, and the whole text of other files."""
    if name.endswith(".py"):
        yield from _strings(ast.parse(source), docstrings_only=name.startswith("tests/"))
        yield from _comments(source)
    elif name.endswith(".md"):
        yield from _paragraphs(_without_code(name, source))
    else:
        yield from _paragraphs(re.sub(r"^\s*(//+|/?\*+|#+)", "", source, flags=re.M))


def _strings(tree: ast.Module, *, docstrings_only: bool) -> Iterator[Prose]:
    """Other strings of tests are data. One that is a single word is a key and not prose."""
    for node in ast.walk(tree):
        if docstrings_only:
            node = node.value if isinstance(node, ast.Expr) else tree
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and not re.fullmatch(r"\w*", text):
            for piece in _paragraphs(text):
                yield Prose(piece.text, node.lineno + piece.line - 1)


def _comments(source: str) -> Iterator[Prose]:
    """Comments; those on consecutive lines are one piece, as phrases wrap."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("#") for t in tokens if t.type == tokenize.COMMENT}
    lines = [comments.get(number, "") for number in range(1, max(comments, default=0) + 1)]
    yield from _paragraphs("\n".join(lines))


def _paragraphs(text: str) -> Iterator[Prose]:
    """Cut at blank lines, headings, list items and rows of tables."""
    block: list[str] = []
    start = 1
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if block and (not line.strip() or re.match(r"\s*([-*|#>]|\d+\. )", line)):
            yield Prose("\n".join(block), start)
            block = []
        if line.strip():
            start = start if block else number
            block.append(" ".join(re.sub(r"^\s*([-*#>]+ )?", "", line).split()))


def _without_code(name: str, text: str) -> str:
    """Blank code in Markdown, and the words that the glossary replaces."""
    if name == "docs/glossary.md":
        text = text.partition("## Preferred words")[0]
    blocks = re.compile(r"^```.*?^```", flags=re.M | re.S)
    text = blocks.sub(lambda match: "\n" * match[0].count("\n"), text)
    return re.sub(r"`[^`\n]*`", "`x`", text)


def _bad_names(name: str, tree: ast.Module) -> Iterator[str]:
    """Look at definitions only: uses follow them."""
    names = [(1, Path(name).stem)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id))
    for line, identifier in names:
        for word in words_of(identifier):
            if re.fullmatch(BANNED_IN_NAMES, word) and (name, word) not in ALLOWED:
                yield f"{name}:{line}: {word!r} in the name {identifier!r}"


def words_of(identifier: str) -> list[str]:
    """Take snake_case and CamelCase apart, in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().split("_")


def _bad_docstrings(name: str, tree: ast.Module) -> Iterator[str]:
    """First lines end with a period; those of public functions begin with a verb."""
    if not first_line(tree).endswith("."):
        yield f"{name}:1: the first line of the docstring has no period at its end"
    if not name.startswith("isobatch/"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_imperative(node):
            word = first_line(node).partition(" ")[0].lower().strip("`,.:;")
            if NOT_VERBS.fullmatch(word):
                yield f"{name}:{node.lineno}: docstring of {node.name} begins with {word!r}"


def first_line(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def is_imperative(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Decide whether a verb begins the docstring: not that of a property, which is a noun."""
    decorators = {ast.unparse(each).rpartition(".")[2] for each in function.decorator_list}
    public = not function.name.startswith("_") and not decorators & {"property", "cached_property"}
    return public and bool(first_line(function))


def files_of(*paths: Path) -> list[Path]:
    """List the files of these paths and folders that have a language."""
    files = {
        file
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.suffix in (".py", *TEXT) or file.name in CONFIGURATION
    }
    return sorted(file for file in files if not any(part in file.as_posix() for part in SKIPPED))


def rooms() -> dict[str, list[Path]]:
    """Group the repository's files by room of the package, folder of tests, or document."""
    grouped: dict[str, list[Path]] = defaultdict(list)
    folders = [ROOT / name for name in (*FOLDERS, *CONFIGURATION)]
    for path in files_of(*(each for each in folders if each.exists()), *ROOT.glob("*.md")):
        grouped["/".join(path.relative_to(ROOT).parts[:2])].append(path)
    return grouped


ROOMS = rooms()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_keeps_to_the_field_s_words(room: str) -> None:
    found = [violation for path in ROOMS[room] for violation in violations(path)]
    assert not found, "\n".join(found)


def test_every_exception_is_still_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ALLOWED", {})
    for name, phrase in {**ALLOWED}:
        found = "\n".join(violations(ROOT / name)).lower()
        assert f"'{phrase}'" in found, (name, phrase)


def public_types() -> dict[str, list[str]]:
    """Find where each public class and type alias is defined.

    Aliases of cli/ are options, which a command names with their module.
    """
    defined: dict[str, list[str]] = defaultdict(list)
    for path in files_of(ROOT / "isobatch"):
        if path.suffix == ".py":
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                is_alias = isinstance(node, ast.Assign) and path.parent.name != "cli"
                for target in node.targets if is_alias else [node]:
                    name = getattr(target, "name", getattr(target, "id", ""))
                    if re.fullmatch(r"[A-Z]+[a-z]\w*", name):
                        defined[name].append(path.relative_to(ROOT).as_posix())
    return defined


def test_a_type_name_means_one_thing() -> None:
    repeated = {name: paths for name, paths in public_types().items() if len(paths) > 1}
    assert repeated.keys() == REPEATED_TYPES.keys(), listed(repeated)


def test_a_file_name_means_one_thing() -> None:
    """Files of cli/ are left out: each has the name of its command, and so that of a room."""
    paths = [path for path in files_of(ROOT / "isobatch") if path.suffix == ".py"]
    named: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if path.parent.name != "cli":
            named[path.stem].append(path.relative_to(ROOT).as_posix())
    repeated = {name: places for name, places in named.items() if len(places) > 1}
    assert repeated.keys() == REPEATED_MODULES.keys(), listed(repeated)


def listed(repeated: dict[str, list[str]]) -> str:
    return "".join(f"\n{name}: {', '.join(paths)}" for name, paths in repeated.items())


def help_texts() -> Iterator[tuple[str, str]]:
    """Collect the help of each command and of its arguments and options."""
    typer = pytest.importorskip("typer")
    from isobatch.cli import app

    group = typer.main.get_command(app)
    yield "isobatch", group.help
    yield "isobatch, exit codes", f"{group.epilog}."
    for name, command in group.commands.items():
        yield f"isobatch {name}", command.help
        for parameter in command.params:
            if parameter.name != "help":
                yield f"isobatch {name} {parameter.name}", parameter.help


HELP = list(help_texts())


@pytest.mark.parametrize(("place", "text"), HELP, ids=[place for place, _ in HELP])
def test_a_help_text_is_a_sentence(place: str, text: str | None) -> None:
    assert text, f"{place} has no help"
    assert text[0].isupper() or not text[0].isalpha(), text
    assert text.rstrip().endswith("."), text
    assert not list(banned_phrases(text)), text


FOUND = (
    "The kernel is settled; the settler settles; resettling.",
    "a trial of rows",
    "the proof at load",
    "It was proved",
    "its plain-torch twin",
    "alone and in company",
    "a desk of memory",
    "checked at the door",
    "the drop-in face",
    "made anew",
    "a job that cannot begin or go on",
    "it went on",
    "lets it go",
    "the file is whole or not at all",
    "as it stands",
    "the cells as they stood",
    "the folder lies there",
    "kept beside the weights",
    "unless it is told otherwise",
    "of its own accord",
    "It knows no library.",
    "the file and its cure",
    "for want of memory",
    "whoever calls it",
    "nobody reads it",
    "this is no number",
    "pads are no\ntokens",
    "it is not to be had here",
    "so many texts",
    "What came of it.",
    "a habit",
    "used least lately",
    "old entries make room",
    "a torn line",
    "what is said of them",
    "vouch for it",
    "an unforeseen error",
    "dropped in silence",
    "a rule of the house",
    "a thread that is put aside",
    "then nothing is written",
    "What is not text is an error.",
    "One line: who may come in. Who may come in",
    "quantise, tokenised, normalising",
)

NOT_FOUND = (
    "There is no folder x, and it is no longer there.",
    "standard output, stand-in, standalone, understands",
    "besides, alongside",
    "Hugging Face",
    "accompany, outdoor, retold, lay out, no one-line answer",
    "What is a batch?",
    "It shows what was wrong.",
    "quantize, precise, otherwise, noise, raise, exercise, comprised",
)


@pytest.mark.parametrize("text", FOUND)
def test_a_banned_phrase_is_found(text: str) -> None:
    assert list(banned_phrases(text))


@pytest.mark.parametrize("text", NOT_FOUND)
def test_ordinary_words_are_not_found(text: str) -> None:
    assert not list(banned_phrases(text))


def test_every_pattern_is_found() -> None:
    found = {advice for text in FOUND for _, _, advice in banned_phrases(text)}
    assert found == set(BANNED.values())


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("isobatch/a.py", '"""Module."""\n\n# computed\n# anew\n', 4),
        ("isobatch/a.py", '"""Module.\n\nComputed anew.\n"""\n', 3),
        ("isobatch/a.py", '"""Module."""\n\nraise ValueError(f"{1} made anew")\n', 3),
        ("isobatch/a.py", '"""Module."""\n\ndef made_anew() -> None: ...\n', 3),
        ("isobatch/a.py", '"""Module."""\n\nclass MadeAnew: ...\n', 3),
        ("isobatch/a.py", '"""Module."""\n\ndef a(whoever: int) -> None: ...\n', 3),
        ("isobatch/a.py", '"""Module."""\n\ndef a() -> None:\n    """The a."""\n', 3),
        ("isobatch/a.py", '"""Module without a period"""\n', 1),
        ("isobatch/twin.py", '"""Module."""\n', 1),
        ("tests/test_a.py", '"""Tests."""\n\ndef test_a_door_opens() -> None: ...\n', 3),
        ("docs/a.md", "# Title\n\nIt is told\n\n## Going on\n", 5),
        ("docs/a.md", "```\nanew\n```\n\n- `anew` is\n  no word\n", 5),
        ("isobatch/a.h", "// A row is\n// no column.\nint a;\n", 1),
        ("isobatch/a.js", "let a = 1;\nshow('nobody');\n", 2),
    ],
)
def test_a_violation_is_found_in_its_line(
    tmp_path: Path, name: str, source: str, line: int
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert any(each.startswith(f"{name}:{line}: ") for each in violations(path, tmp_path))


def test_data_of_tests_is_not_prose(tmp_path: Path) -> None:
    path = tmp_path / "tests/test_a.py"
    path.parent.mkdir()
    path.write_text('"""Tests."""\n\nTEXT = "nobody told me"\n')
    assert not list(violations(path, tmp_path))


if __name__ == "__main__":
    for file in files_of(*(Path(each).resolve() for each in sys.argv[1:] or FOLDERS)):
        sys.stdout.writelines(f"{violation}\n" for violation in violations(file, Path.cwd()))

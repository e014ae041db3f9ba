"""Write the generated parts of README.md and docs/: `make docs`. A test checks that they are fresh.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. Each is made from what the
program itself prints or holds, so that documentation cannot drift.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from typer.testing import CliRunner

from benchmarks import files
from benchmarks.audit.render import render_audits, render_claims
from benchmarks.serving.render import render as render_serving
from benchmarks.table import render
from isobatch.audit import PROBES
from isobatch.audit.faults import FAULTS
from isobatch.cli import app
from isobatch.cli.lesson import lesson_table
from isobatch.lesson import SENTENCES, replay_lesson
from isobatch.scope import PROMISE
from isobatch.serve.app import describe_app
from isobatch.serve.documents import openapi_text

ROOT = Path(__file__).parent.parent
WIDTH = 112
ROOMS = (
    "errors",
    "core",
    "files",
    "extras",
    "checkpoint",
    "tokens",
    "plan",
    "packed",
    "cache",
    "numerics",
    "model",
    "precision",
    "predictor",
    "compat",
    "lesson",
    "scope",
    "agreement",
    "quantize",
    "tables",
    "jobs",
    "drawing",
    "evaluation",
    "page",
    "audit",
    "serve",
    "cli",
)


def main() -> None:
    for path, fresh in fresh_documents():
        path.write_text(fresh, encoding="utf-8")


def fresh_documents() -> Iterator[tuple[Path, str]]:
    """Each document with generated parts, and its text with those parts made anew."""
    for name in ("README.md", "docs/audit.md", "docs/cli.md", "docs/files.md", "docs/serving.md"):
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        yield (
            path,
            re.sub(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", _part, text, flags=re.S),
        )

    yield ROOT / "docs/openapi.json", openapi_text(describe_app())


def _part(match: re.Match[str]) -> str:
    return f"{match[1]}{PARTS[match[2]]()}\n{match[3]}"


def _lesson() -> str:
    console = Console(file=StringIO(), width=WIDTH, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(lesson_table(replay_lesson()))
    sentences = "\n".join(f"sentence {n}: {text}" for n, text in enumerate(SENTENCES, 1))
    return _fenced(f"{sentences}\n{captured.get()}")


def _promise() -> str:
    return f"> {PROMISE}"


def _benchmark() -> str:
    newest = max((ROOT / "benchmarks/results").glob("*.json"))
    return render(json.loads(newest.read_text(encoding="utf-8")))


def _files_benchmark() -> str:
    return files.render(_newest("files"))


def _serving_benchmark() -> str:
    return render_serving(_newest("serving"))


def _audit_probes() -> str:
    rows = [f"| `{each.name}` | {each.changes} | {each.proves} |" for each in PROBES]
    return "\n".join(["| probe | changes | proves |", "|---|---|---|", *rows])


def _audit_faults() -> str:
    rows = [
        f"| `{each.name}` | {each.title} | {each.cause} | {each.fix} |" for each in FAULTS.values()
    ]
    return "\n".join(["| name | fault | likely cause | fix |", "|---|---|---|---|", *rows])


def _audit_architectures() -> str:
    return render_audits(_newest("audit"))


def _audit_claims() -> str:
    return render_claims(_newest("audit"))


def _newest(folder: str) -> dict[str, Any]:
    newest = max((ROOT / "benchmarks/results" / folder).glob("*.json"))
    result: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    return result


def _tree() -> str:
    """Rooms of the package in the order in which text passes them, with their first sentence."""
    rooms = [_room(ROOT / "isobatch" / name) for name in ROOMS]
    return _fenced("\n".join(["isobatch/", *rooms, *_other_folders()]))


def _room(path: Path) -> str:
    is_folder = path.is_dir()
    name = f"{path.name}/" if is_folder else f"{path.name}.py"
    source = path / "__init__.py" if is_folder else path.with_suffix(".py")
    return f"  {name:<14} {_first_sentence(source)}"


def _other_folders() -> list[str]:
    return [
        "  bundled/       The bundled model, an ordinary Hugging Face folder, with its card",
        "benchmarks/      The benchmark suite and its results; see benchmarks/README.md",
        "docs/            files, serving, audit, cluster, cli; decisions/ (why), log.md",
        "scripts/         How the bundled model and the generated documentation were made",
        "tests/           claims/ holds the promise; the rest follows the rooms",
    ]


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[.;?])\s|\n\n", docstring.replace("\n", " "))[0].rstrip(".;")


def _help() -> str:
    pages = []
    for command in ([], *([str(each.name)] for each in app.registered_commands)):
        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": str(WIDTH)})
        title = " ".join(["isobatch", *command])
        pages.append(f"## `{title}`\n\n{_fenced(shown.output)}")
    return "\n\n".join(pages)


def _fenced(text: str) -> str:
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "\n".join(["```text", *lines, "```"])


PARTS: dict[str, Callable[[], str]] = {
    "audit_architectures": _audit_architectures,
    "audit_claims": _audit_claims,
    "audit_faults": _audit_faults,
    "audit_probes": _audit_probes,
    "benchmark": _benchmark,
    "files_benchmark": _files_benchmark,
    "help": _help,
    "lesson": _lesson,
    "promise": _promise,
    "serving_benchmark": _serving_benchmark,
    "tree": _tree,
}


if __name__ == "__main__":
    main()

"""`make docs`: write the generated parts of the documentation; a test checks that they are fresh.

A part is between `<!-- generated: NAME -->` and `<!-- end -->`. Each is generated from the
program's own output and data, so that documentation cannot drift.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from benchmarks import files, table
from benchmarks.audit.architecture_tables import render_audits, render_claims
from benchmarks.result_files import RESULTS, newest_by_kind, read_newest
from benchmarks.serving import serving_table
from benchmarks.training import training_table
from isobatch.audit import GRADIENT_PROBES, PROBES
from isobatch.audit.faults import FAULTS, AuditFault
from isobatch.audit.gradients.gradient_faults import GRADIENT_FAULTS
from isobatch.audit.gradients.gradient_probes import GradientProbe
from isobatch.audit.session import Probe
from isobatch.cli import app
from isobatch.cli.lesson import lesson_table
from isobatch.kernels import ARITHMETIC
from isobatch.lesson import SENTENCES, replay_lesson
from isobatch.scope import promise
from isobatch.serve.openapi import openapi_document
from isobatch.serve.routes import API_ROUTES

ROOT = Path(__file__).parent.parent
WIDTH = 112
DOCUMENTS = (
    "README.md",
    "benchmarks/RESULTS.md",
    "docs/audit.md",
    "docs/cli.md",
    "docs/files.md",
    "docs/serving.md",
)
MODULES = (
    "errors",
    "types",
    "specification",
    "extras",
    "checkpoint",
    "batching",
    "tables",
    "drawing",
    "kernels",
    "model",
    "precision",
    "tasks",
    "quantize",
    "compat",
    "scope",
    "lesson",
    "scoring",
    "jobs",
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
    """Yield each document with generated parts, and its text with those parts regenerated."""
    for name in DOCUMENTS:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        yield (
            path,
            re.sub(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", _part, text, flags=re.S),
        )

    openapi = json.dumps(openapi_document(API_ROUTES), ensure_ascii=False, indent=1)
    yield ROOT / "docs/openapi.json", f"{openapi}\n"


def _part(match: re.Match[str]) -> str:
    return f"{match[1]}{PARTS[match[2]]()}\n{match[3]}"


def _lesson() -> str:
    console = Console(file=StringIO(), width=WIDTH, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(lesson_table(replay_lesson()))
    sentences = "\n".join(f"sentence {n}: {text}" for n, text in enumerate(SENTENCES, 1))
    return _fenced(f"{sentences}\n{captured.get()}")


def _promise() -> str:
    return f"> {promise(ARITHMETIC)}"


def _audit_probes(probes: Iterable[Probe | GradientProbe] = PROBES) -> str:
    rows = [f"| `{each.name}` | {each.changes} | {each.proves} |" for each in probes]
    return "\n".join(["| probe | changes | proves |", "|---|---|---|", *rows])


def _audit_faults(faults: Iterable[AuditFault] = tuple(FAULTS.values())) -> str:
    rows = [f"| `{each.name}` | {each.title} | {each.cause} | {each.fix} |" for each in faults]
    return "\n".join(["| name | fault | likely cause | fix |", "|---|---|---|---|", *rows])


def _tree() -> str:
    """List the package's modules in the order of the data flow, with their first sentences."""
    lines = [_module(ROOT / "isobatch" / name) for name in MODULES]
    return _fenced("\n".join(["isobatch/", *lines, *_other_folders()]))


def _module(path: Path) -> str:
    is_folder = path.is_dir()
    name = f"{path.name}/" if is_folder else f"{path.name}.py"
    source = path / "__init__.py" if is_folder else path.with_suffix(".py")
    return f"  {name:<17} {_first_sentence(source)}"


def _other_folders() -> list[str]:
    return [
        "  bundled/       The bundled model: a Hugging Face checkpoint folder and its model card",
        "benchmarks/      The benchmark suite (README.md) and its results (RESULTS.md)",
        "docs/            files, serving, audit, cluster, cli; decisions/ (why), log.md",
        "scripts/         Training of the bundled model, generated documentation",
        "tests/           claims/ tests the promise; the other folders follow the package",
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
    "audit_architectures": lambda: render_audits(read_newest("audit")),
    "audit_claims": lambda: render_claims(read_newest("audit", "claims")),
    "audit_faults": _audit_faults,
    "gradient_probes": lambda: _audit_probes(GRADIENT_PROBES),
    "gradient_faults": lambda: _audit_faults(GRADIENT_FAULTS.values()),
    "audit_probes": _audit_probes,
    "benchmark": lambda: table.render_kinds_engines(newest_by_kind()),
    "benchmark_results": lambda: table.render_kinds(newest_by_kind()),
    "benchmark_targets": table.render_targets,
    "files_benchmark": lambda: files.render(read_newest("files")),
    "files_criteria": lambda: files.render_criteria(read_newest("files")),
    "help": _help,
    "lesson": _lesson,
    "promise": _promise,
    "serving_benchmark": lambda: serving_table.render(read_newest("serving")),
    "serving_criteria": lambda: serving_table.render_criteria(read_newest("serving")),
    "training_results": lambda: training_table.render_kinds(
        newest_by_kind(RESULTS / "training"), newest_by_kind(RESULTS / "training-accuracy")
    ),
    "tree": _tree,
}


if __name__ == "__main__":
    main()

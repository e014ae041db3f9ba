"""`make docs`: write the generated parts of the documentation; a test checks that they are fresh.

A part is between `<!-- generated: NAME -->` and `<!-- end -->`. Each is generated from the
program's own output and data, so that documentation cannot drift.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType
from typer.testing import CliRunner

from benchmarks import files, summary_table, table
from benchmarks.audit.architecture_tables import render_audits, render_claims
from benchmarks.families.family_table import render_families, render_speeds
from benchmarks.result_files import RESULTS, newest_by_kind, read_newest
from benchmarks.serving import serving_table
from benchmarks.tasks import task_table
from benchmarks.training import training_table
from isobatch import errors
from isobatch.audit import GRADIENT_PROBES, PROBES
from isobatch.audit.faults import FAULTS, AuditFault
from isobatch.audit.gradients.gradient_faults import GRADIENT_FAULTS
from isobatch.audit.gradients.gradient_probes import GradientProbe
from isobatch.audit.session import Probe
from isobatch.cli import app
from isobatch.cli.lesson import lesson_table, replay_command
from isobatch.cli.lesson_cost import describe_cost, mask_cost_parts
from isobatch.kernels import ARITHMETIC
from isobatch.lesson import (
    SENTENCES,
    LessonCheckpoint,
    LessonStep,
    MaskCost,
    measure_mask_cost,
)
from isobatch.scope import promise
from isobatch.serve.openapi import openapi_document
from isobatch.serve.routes import API_ROUTES
from scripts.http_reference import render_routes
from scripts.lesson_picture import lesson_picture

ROOT = Path(__file__).parent.parent
WIDTH = 112
LESSON_WIDTH = 96  # of a page of the site
DOCUMENTS = (
    "README.md",
    "benchmarks/RESULTS.md",
    "docs/architecture.md",
    "docs/audit.md",
    "docs/benchmarks.md",
    "docs/cli.md",
    "docs/errors.md",
    "docs/files.md",
    "docs/guarantee.md",
    "docs/http.md",
    "docs/models.md",
    "docs/index.md",
    "docs/serving.md",
    "docs/tutorial.md",
)
MODULES = (
    "errors",
    "types",
    "specification",
    "extras",
    "ambient",
    "checkpoint",
    "batching",
    "tables",
    "drawing",
    "kernels",
    "model",
    "precision",
    "transformers_engine",
    "tasks",
    "quantize",
    "convert",
    "compat",
    "scope",
    "lesson",
    "scoring",
    "jobs",
    "evaluation",
    "training",
    "sklearn",
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
    yield ROOT / "docs/images/lesson.svg", lesson_picture(*_lesson_results())


def _part(match: re.Match[str]) -> str:
    return f"{match[1]}{PARTS[match[2]]()}\n{match[3]}"


def _lesson() -> str:
    sentences = [f"sentence {number}: {text}" for number, text in enumerate(SENTENCES, 1)]
    return _printed(*sentences, lesson_table(_lesson_results()[0], LESSON_WIDTH))


def _lesson_cost() -> str:
    cost = _lesson_results()[1]
    return _printed(
        *describe_cost(cost), *mask_cost_parts(cost, replay_command(None, None), LESSON_WIDTH)
    )


@cache
def _lesson_results() -> tuple[tuple[LessonStep, ...], MaskCost]:
    checkpoint = LessonCheckpoint.from_pretrained()
    return checkpoint.steps(SENTENCES), measure_mask_cost(checkpoint)


def _printed(*parts: RenderableType) -> str:
    """Return what `isobatch lesson` prints."""
    console = Console(file=StringIO(), width=LESSON_WIDTH, markup=False, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return _fenced(captured.get())


def _errors() -> str:
    codes = {kind: _exit_code(kind) for kind in _kinds(errors.IsobatchError)}
    rows = [
        f"| {_kind(kind)} | {code} | {_first_paragraph(kind)} |" for kind, code in codes.items()
    ]
    return "\n".join(["| error | a kind of | exit code | when |", "|---|---|---:|---|", *rows])


def _warnings() -> str:
    kinds = _kinds(errors.IsobatchWarning)
    rows = [f"| {_kind(kind)} | {_first_paragraph(kind)} |" for kind in kinds]
    return "\n".join(["| warning | a kind of | when |", "|---|---|---|", *rows])


def _kinds(base: type[Exception]) -> list[type[Exception]]:
    """List the classes of isobatch.errors that derive from one, in the order of the file."""
    found = [each for each in vars(errors).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, base)]


def _exit_code(kind: type[Exception]) -> int:
    codes = {each.__name__: code for each, code in errors.EXIT_CODES.items()}
    return next((codes[each.__name__] for each in kind.__mro__ if each.__name__ in codes), 1)


def _kind(kind: type[Exception]) -> str:
    bases = ", ".join(f"`{each.__name__}`" for each in kind.__bases__)
    return f"`{kind.__name__}` | {bases}"


def _first_paragraph(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


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
    modules = [_module(ROOT / "isobatch" / name) for name in MODULES]
    return "\n".join(["| in the repository | |", "|---|---|", *modules, *_other_folders()])


def _module(path: Path) -> str:
    is_folder = path.is_dir()
    name = f"{path.name}/" if is_folder else f"{path.name}.py"
    source = path / "__init__.py" if is_folder else path.with_suffix(".py")
    return f"| `isobatch/{name}` | {_first_sentence(source)} |"


def _other_folders() -> list[str]:
    return [
        "| `isobatch/bundled/` | The bundled model: a Hugging Face folder and its model card |",
        "| `benchmarks/` | The benchmark suite (README.md) and its results (RESULTS.md) |",
        "| `docs/` | The site's pages (mkdocs.yml); decisions/ (why), log.md (measurements) |",
        "| `examples/` | Scripts and a notebook to begin with, each run by a test |",
        "| `scripts/` | The bundled model's training, wheels, generated documentation, the site |",
        "| `tests/` | claims/ tests the promise; the other folders follow the package |",
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
    "errors": _errors,
    "families": render_families,
    "family_speeds": lambda: render_speeds(newest_by_kind(RESULTS / "families")),
    "files_benchmark": lambda: files.render(read_newest("files")),
    "files_criteria": lambda: files.render_criteria(read_newest("files")),
    "help": _help,
    "lesson": _lesson,
    "lesson_cost": _lesson_cost,
    "promise": _promise,
    "routes": lambda: render_routes(openapi_document(API_ROUTES)),
    "serving_benchmark": lambda: serving_table.render(read_newest("serving")),
    "serving_criteria": lambda: serving_table.render_criteria(read_newest("serving")),
    "task_results": lambda: task_table.render_kinds(
        newest_by_kind(RESULTS / "tasks"), newest_by_kind()
    ),
    "summary": lambda: summary_table.render_summary(newest_by_kind()),
    "training_results": lambda: training_table.render_kinds(
        newest_by_kind(RESULTS / "training"), newest_by_kind(RESULTS / "training-accuracy")
    ),
    "tree": _tree,
    "warnings": _warnings,
}


if __name__ == "__main__":
    main()

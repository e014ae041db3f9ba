"""The rules of the code: imports go one way, each library has its room, everything stays small.

Read from the source with `ast`, so that an import inside a function or for types only counts too.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "isobatch"

LAYERS = {
    "types": ("errors", "types", "specification", "extras"),
    "data": ("ambient", "checkpoint", "batching", "tables", "drawing"),
    "kernels": ("kernels",),
    "model": ("model", "precision", "transformers_engine"),
    "tasks": ("tasks", "quantize", "convert", "compat", "scope"),
    "products": (
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
        "__main__",
    ),
}
"""Rooms from the bottom up; one imports lower layers, and its own layer without a cycle."""

LAYER_OF = {room: number for number, rooms in enumerate(LAYERS.values()) for room in rooms}

ROOMS_OF_LIBRARY = {
    "huggingface_hub": {"checkpoint", "training"},
    "safetensors": {"checkpoint", "training"},
    "tokenizers": {"checkpoint", "compat", "convert"},
    "typer": {"cli"},
    "rich": {"cli"},
    "click": {"cli"},
    "argparse": {"cli"},
    "asyncio": {"serve"},
    "pyarrow": {"tables"},
    "msgspec": {"tables"},
    "csv": {"tables", "scoring", "cli"},
    "ray": {"jobs"},
    "sklearn": {"evaluation", "sklearn"},
    "tensorboard": {"training"},
    "matplotlib": {"drawing", "evaluation", "training", "audit"},
    "jinja2": {"drawing", "page", "training"},
    "fastapi": set(),
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "pydantic": {"serve"},
    "prometheus_client": {"serve"},
    "transformers": {"audit", "transformers_engine"},
    "sentencepiece": {"convert"},
    "onnxruntime": {"audit"},
    "httpx": {"audit"},
}
"""Where a library may be imported; one that is not named here may be imported anywhere."""

TORCH_FREE = ("errors", "types", "specification", "batching/plan")

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
MAX_FAMILY_LINES = 89
"""Of a file in checkpoint/families; two describe what a family is, and how settings are read."""
VAGUE_WORDS = ("util", "common", "helper", "misc", "manager", "handler", "base")

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path != PACKAGE / "__init__.py"]

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Dotted names, absolute, of everything that the file imports."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written in full"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_rooms(path: Path) -> set[str]:
    """Rooms of the package; `from isobatch import __version__` enters none."""
    dotted = [name.split(".") for name in imported_modules(path)]
    return {parts[1] for parts in dotted if parts[0] == "isobatch" and len(parts) > 1} & {*LAYER_OF}


def functions() -> Iterator[tuple[str, Function]]:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def num_lines(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


@each_module
def test_a_room_imports_no_higher_layer(path: Path) -> None:
    room = room_of(path)
    assert room in LAYER_OF, f"{room} has no layer: add it to LAYERS"
    upward = {other for other in imported_rooms(path) if LAYER_OF[other] > LAYER_OF[room]}
    assert not upward


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {room: set() for room in LAYER_OF}
    for path in MODULES:
        graph[room_of(path)] |= imported_rooms(path) - {room_of(path)}
    order = TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the circle


def test_the_layers_are_those_of_the_decision() -> None:
    decision = (ROOT / "docs/decisions/09-import-layers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d (\w+) \| (.*) \|$", decision, flags=re.M)
    stated = {name: tuple(re.findall(r"`(\w+)`", rooms)) for name, rooms in rows}
    assert stated == {
        name: tuple(room for room in rooms if room != "__main__") for name, rooms in LAYERS.items()
    }


def test_the_package_itself_names_no_room_that_does_not_exist() -> None:
    assert imported_rooms(PACKAGE / "__init__.py") <= {room_of(path) for path in MODULES}


@each_file
def test_a_library_is_imported_only_in_its_room(path: Path) -> None:
    libraries = {name.partition(".")[0] for name in imported_modules(path)}
    strays = {
        library
        for library in libraries & ROOMS_OF_LIBRARY.keys()
        if room_of(path) not in ROOMS_OF_LIBRARY[library]
    }
    assert not strays


@pytest.mark.parametrize("room", TORCH_FREE)
def test_rooms_that_plan_and_report_do_without_torch(room: str) -> None:
    libraries = {name.partition(".")[0] for name in imported_modules(PACKAGE / f"{room}.py")}
    assert not libraries & {"torch", "numpy"}


@each_module
def test_only_the_command_line_prints_and_reads_the_environment(path: Path) -> None:
    if room_of(path) in ("cli", "__main__"):
        return
    # The choice of an instruction set and oneDNN's check: as the command line's docstring says.
    reads_variables = path.stem in ("variants", "torch_settings")
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input"), f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            dotted = f"{node.value.id}.{node.attr}"
            forbidden = ("sys.stdout", "sys.stderr", "os.environ", "os.getenv", "sys.argv")
            allowed = reads_variables and dotted == "os.environ"
            assert allowed or dotted not in forbidden, f"line {node.lineno}: {dotted}"
        # After a fork, a variable keeps the library `tokenizers` from using threads.
        if isinstance(node, ast.ImportFrom) and node.module == "os" and path.stem != "fork_safety":
            assert "environ" not in {alias.name for alias in node.names}, f"line {node.lineno}"


@each_file
def test_a_module_opens_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(tree(path))


@each_file
def test_a_file_stays_within_its_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def test_a_family_is_one_short_table() -> None:
    families = PACKAGE / "checkpoint" / "families"
    sizes = {path.stem: len(path.read_text("utf-8").splitlines()) for path in families.glob("*.py")}
    too_long = {name for name, size in sizes.items() if size > MAX_FAMILY_LINES}
    assert too_long == {"family", "config_values"}


def test_functions_stay_within_their_lines() -> None:
    sizes = {name: num_lines(function) for name, function in functions()}
    assert not {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES}


def test_names_say_what_a_thing_is() -> None:
    names = [path.stem for path in FILES if path.stem != "__init__"]
    for path in FILES:
        nodes = ast.walk(tree(path))
        names += [node.name for node in nodes if isinstance(node, Function | ast.ClassDef)]
    words = {word for name in names for word in _words(name)}
    assert not words & {*VAGUE_WORDS, *(f"{word}s" for word in VAGUE_WORDS)}


def _words(name: str) -> list[str]:
    """snake_case and CamelCase taken apart, in lower case."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in name)
    return spaced.replace("_", " ").lower().split()


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    report = (
        "import json, sys; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    command = [sys.executable, "-c", f"{statement}; {report}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "tokenizers", "safetensors", "huggingface_hub", "typer", "rich"}
    assert not modules_after("import isobatch") & heavy


def test_every_public_name_comes_without_transformers_servers_or_tables() -> None:
    loaded = modules_after("from isobatch import *")
    assert "torch" in loaded, "the control: the names were really imported"
    assert not loaded & {"transformers", "pyarrow", "pandas", "fastapi", "starlette", "uvicorn"}


# ------------------------------------------------------------------------ docs/architecture.md

FLOWS = re.findall(
    r"```text\n(.*?)```", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), flags=re.S
)
each_flow = pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.split()[1])


def steps_of(flow: str) -> list[tuple[Path, str]]:
    """The file and the name of each line."""
    found = re.findall(r"^[ ▸]*(isobatch/\S+\.py) +([\w.]+)", flow, flags=re.M)
    assert len(found) == len(flow.splitlines()), "every line is a step"
    return [(ROOT / file, name) for file, name in found]


def test_four_flows_and_the_loading_are_drawn() -> None:
    assert len(FLOWS) == 6


@each_flow
def test_each_step_of_a_flow_exists(flow: str) -> None:
    for path, name in steps_of(flow):
        scope: list[ast.stmt] = tree(path).body
        for part in name.split("."):
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            named = [node for node in scope if isinstance(node, kinds) and node.name == part]
            assert named, f"{path.relative_to(ROOT)} has no {name}"
            scope = named[0].body


@each_flow
def test_each_file_of_a_flow_is_imported_by_an_earlier_one(flow: str) -> None:
    (first, _), *others = steps_of(flow)
    reachable = modules_reached(first)
    for path, _ in others:
        assert module_name(path) in reachable, f"no earlier file imports {path.relative_to(ROOT)}"
        reachable |= modules_reached(path)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_reached(path: Path) -> set[str]:
    """The modules that a file imports, through packages that only export names, and itself."""
    names = {module_name(path), *imported_modules(path)}
    for name in [*names]:
        package = ROOT / name.replace(".", "/") / "__init__.py"
        if package in FILES and package != PACKAGE / "__init__.py":
            names |= {*imported_modules(package)}
    return names

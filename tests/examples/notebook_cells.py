"""Runs the code cells of a notebook in this process, as Jupyter does, without a Jupyter.

`python tests/examples/notebook_cells.py NOTEBOOK` runs them and stores what they print. Knows
printed text and the value of a last expression; a test compares both with the stored ones.
"""

import ast
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def fresh_outputs(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Run all code cells in order; the outputs of each, as a notebook stores them."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [
        _run("".join(cell["source"]), namespace, number) for number, cell in enumerate(cells, 1)
    ]


def stored_outputs(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]


def store(path: Path) -> None:
    """Replace the outputs in the file by fresh ones."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    outputs = fresh_outputs(notebook)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, fresh) in enumerate(zip(cells, outputs, strict=True), 1):
        cell |= {"execution_count": number, "outputs": fresh}
    text = json.dumps(notebook, ensure_ascii=False, indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")


def _run(source: str, namespace: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Statements, then the value of the last one if it is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, f"<cell {number}>", "exec"), namespace)
        if last is not None:
            expression = ast.Expression(last.value)
            value = eval(compile(expression, f"<cell {number}>", "eval"), namespace)
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(text)})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        result = {"data": data, "execution_count": number, "metadata": {}}
        outputs.append(result | {"output_type": "execute_result"})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    store(Path(sys.argv[1]))

"""The notebook of the padding lesson: its stored outputs are what its cells print."""

import json
import re
from pathlib import Path

from notebook_cells import fresh_outputs, store, stored_outputs

PATH = Path(__file__).parent.parent.parent / "examples/padding_lesson.ipynb"


def test_the_stored_outputs_are_those_of_a_fresh_run() -> None:
    notebook = json.loads(PATH.read_text(encoding="utf-8"))
    stored = stored_outputs(notebook)
    script = Path(__file__).with_name("notebook_cells.py")
    assert fresh_outputs(notebook) == stored, f"run `python {script} {PATH}` and look at it"
    lesson = str(stored)
    assert lesson.count("'True'") == 2, "with the mask, and by Classifier: the same bits"
    assert "no attention_mask" in lesson
    assert re.search(r"becomes (POSITIVE|NEGATIVE)", lesson), "no label flips, so why bother"


def test_its_format_is_that_of_jupyter() -> None:
    notebook = json.loads(PATH.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    identifiers = {cell["id"] for cell in cells}
    assert len(identifiers) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]


def test_an_output_that_is_not_stored_is_noticed(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "id": "a", "metadata": {}, "source": ["x = 2\n", "print(x)"]},
        {"cell_type": "markdown", "id": "b", "metadata": {}, "source": ["x"]},
        {"cell_type": "code", "id": "c", "metadata": {}, "source": ["y = x + 1\n", "y"]},
    ]
    for cell in cells[::2]:
        cell |= {"execution_count": None, "outputs": []}
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    assert fresh_outputs(notebook) != stored_outputs(notebook)
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps(notebook))
    store(path)
    stored = stored_outputs(json.loads(path.read_text()))
    assert stored == fresh_outputs(notebook)
    assert [each["output_type"] for [each] in stored] == ["stream", "execute_result"]
    assert stored[1][0]["data"] == {"text/plain": ["3"]}

"""The picture of the README: the lesson's table as SVG, by rich.

Invariant: the same lesson gives the same bytes, and the file refers to no other one.
"""

import re
from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isobatch.lesson import SENTENCES, LessonRow, LessonStep, MaskCost

WIDTH = 90
SAME, MOVED = "green", "bold red"


def lesson_picture(steps: Sequence[LessonStep], cost: MaskCost) -> str:
    """Draw a row for each sentence of each step, compared with it alone; then the cost."""
    console = Console(record=True, width=WIDTH, file=StringIO(), highlight=False)
    for number, sentence in enumerate(SENTENCES, 1):
        console.print(f"sentence {number}: {sentence}", style="dim")
    console.print(_table(steps))
    console.print(_cost(cost))
    svg = console.export_svg(title="The lesson of the forgotten mask", unique_id="lesson")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.S)


def _table(steps: Sequence[LessonStep]) -> Table:
    table = Table("step", "sentence", "logits", "against alone", box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.no_wrap = True
    for number, step in enumerate(steps, 1):
        for index, row in enumerate(step.rows, 1):
            head = f"{number}. {step.title}" if index == 1 else ""
            last = index == len(step.rows)
            table.add_row(head, str(index), _logits(row), _verdict(row), end_section=last)
    return table


def _cost(cost: MaskCost) -> Text:
    forgotten, masked = cost.forgotten, cost.masked
    return Text.assemble(
        f"{cost.num_texts} texts in batches of {cost.batch_size}, mask forgotten: ",
        (
            f"{forgotten.num_flipped} labels flip, logits move by up to {forgotten.largest:.1f}",
            MOVED,
        ),
        "\n",
        f"{cost.num_texts} texts in batches of {cost.batch_size}, mask passed: ",
        (f"{masked.num_moved} texts move", SAME if not masked.num_moved else MOVED),
    )


def _logits(row: LessonRow) -> str:
    return f"[{', '.join(f'{value:.4f}' for value in row.logits)}]"


def _verdict(row: LessonRow) -> Text:
    return Text(row.verdict, style=SAME if row.same_bits else MOVED)

"""`isobatch lesson`: the lesson of the forgotten attention mask, as a table or an HTML page."""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.cli import options
from isobatch.cli.writing import check_writable, write_file
from isobatch.drawing.display_text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from isobatch.lesson import LessonRow, LessonStep


def lesson(
    model: options.ModelArgument = None,
    revision: options.RevisionOption = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help="Sentence (at least two). Default: the built-in ones."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Path of an HTML page to write, with padding, attention and float bits."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show how a missing attention mask changes the logits, step by step.

    With --html, a self-contained page is written in place of the table.
    """
    from isobatch.lesson import SENTENCES, replay_lesson

    check_writable(html)
    sentences = tuple(text) if text else SENTENCES
    if html:
        from isobatch.page import LessonPage, render_page

        write_file(
            html,
            render_page(LessonPage.from_pretrained(model, revision=revision).data(sentences)),
            "page",
        )
        return
    steps = replay_lesson(model, sentences, revision)
    if as_json:
        for step in steps:
            sys.stdout.write(json.dumps(step.as_dict(), ensure_ascii=False) + "\n")
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    for number, sentence in enumerate(sentences, 1):
        console.print(f"sentence {number}: {sentence}")
    console.print(lesson_table(steps))


def lesson_table(steps: "Sequence[LessonStep]") -> "Table":
    """Build a table with a section for each step: each sentence's tokens with their ids."""
    from rich.table import Table

    table = Table("tokens:input_ids", "mask", "logits", "against alone", expand=True)
    table.columns[0].ratio = 1
    table.columns[1].min_width = max(len(_mask(row)) for step in steps for row in step.rows)
    for number, step in enumerate(steps, 1):
        table.add_row(f"{number}. {step.title}\n{step.call}", "", "", "", end_section=True)
        for row in step.rows:
            pairs = zip(row.tokens, row.input_ids, strict=True)
            tokens = " ".join(f"{printable(token)}:{each}" for token, each in pairs)
            logits = f"[{', '.join(f'{value:.4f}' for value in row.logits)}]"
            table.add_row(tokens, _mask(row), logits, row.verdict, end_section=True)
    return table


def _mask(row: "LessonRow") -> str:
    """Abbreviate the mask as counts: `1×8 0×3`."""
    if row.attention_mask is None:
        return "none"
    return " ".join(f"{kept}×{len(list(same))}" for kept, same in groupby(row.attention_mask))

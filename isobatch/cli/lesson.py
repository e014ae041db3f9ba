"""`isobatch lesson`: the lesson of the forgotten attention mask, and its cost: tables or a page."""

import json
import shlex
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.cli import input_files, options
from isobatch.cli.display import open_display
from isobatch.cli.lesson_cost import describe_cost, logits_text, mask_cost_parts
from isobatch.cli.lesson_texts import LessonTexts, read_lesson_texts
from isobatch.cli.terminal_layout import fitted_table, open_console, say, wrapped
from isobatch.cli.writing import check_writable, refuse_replacing, write_file
from isobatch.drawing.display_text import counted, printable
from isobatch.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from isobatch.lesson import LessonCheckpoint, LessonRow, LessonStep, MaskCost

INPUT_DEFAULTS = input_files.InputOptions()
Sentences = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        "-t",
        help="Sentence; repeat the option, at least two are needed. Default: two built-in ones.",
    ),
]
Texts = Annotated[
    str | None,
    typer.Option(
        "--texts",
        metavar="FILE",
        help="File with the texts of the batches, as `isobatch run` reads it; - for stdin. "
        "Default: 200 built-in sentences.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=2, help="Number of texts in a batch, in the order of the file.")
]
Html = Annotated[
    Path | None,
    typer.Option(
        help="Path to write an HTML page to, with padding, attention and the bits of each logit."
    ),
]


def lesson(
    model: options.ModelArgument = None,
    revision: options.RevisionOption = None,
    text: Sentences = None,
    texts: Texts = None,
    batch_size: BatchSize = 32,
    text_column: input_files.TextColumn = None,
    input_format: input_files.InputFormat = None,
    no_header: input_files.NoHeader = False,
    no_quotes: input_files.NoQuotes = False,
    delimiter: input_files.Delimiter = None,
    encoding: input_files.Encoding = None,
    compression: input_files.CompressionOption = None,
    html: Html = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: options.OnlyJsonOption = False,
) -> None:
    """Show how a missing attention mask changes the logits, step by step, and what it costs.

    Four steps compute a sentence alone and in a batch, without its mask and with it. Then many
    texts are computed in batches, to count the labels that a forgotten mask flips. With --html, a
    self-contained page is written in place of the tables.
    """
    from isobatch.lesson import SENTENCES, LessonCheckpoint

    check_writable(html)
    refuse_replacing({"--html": html}, {"--texts": texts})
    reading = input_files.InputOptions(
        input_format, no_header, no_quotes, delimiter, encoding, compression, "lesson --texts"
    )
    if texts is None and (text_column or replace(reading, command=None) != INPUT_DEFAULTS):
        raise OptionError(
            "--text-column and options such as --format and --delimiter are for the file of "
            "--texts. Leave them out"
        )
    sentences = tuple(map(options.decoded_argument, text)) if text else SENTENCES
    chosen = read_lesson_texts(texts, text_column, reading)
    if html and as_json:
        raise OptionError("--json prints what --html writes into a page. Leave one out")
    if html:
        _write_page(html, model, revision, sentences, chosen, batch_size, quiet=quiet)
        return
    checkpoint = LessonCheckpoint.from_pretrained(model, revision)
    steps = checkpoint.steps(sentences)
    if not as_json:
        print_steps(sentences, steps)
    cost = _measure(checkpoint, chosen, batch_size, quiet=quiet)
    if as_json:
        shown = {
            "sentences": sentences,
            "steps": [step.as_dict() for step in steps],
            "cost": cost.as_dict(),
        }
        sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
    else:
        print_cost(cost, replay_command(model, revision))


def _measure(
    checkpoint: "LessonCheckpoint", texts: LessonTexts, batch_size: int, *, quiet: bool
) -> "MaskCost":
    from isobatch.lesson import measure_mask_cost

    with open_display(quiet=quiet, beginning="computing the batches") as display:
        return measure_mask_cost(
            checkpoint,
            texts.texts,
            batch_size=batch_size,
            source=texts.source,
            num_left_out=texts.num_left_out,
            on_progress=lambda done, total: display.draw(
                done, total, f"{done:,} of {counted(total, 'text')} alone and in batches"
            ),
        )


def _write_page(
    html: Path,
    model: str | None,
    revision: str | None,
    sentences: tuple[str, ...],
    texts: LessonTexts,
    batch_size: int,
    *,
    quiet: bool,
) -> None:
    from isobatch.page import LessonPage, render_page

    page = LessonPage.from_pretrained(model, revision=revision)
    data = page.data(sentences)  # first, since it refuses sentences that a page cannot show
    cost = _measure(page.model.checkpoint, texts, batch_size, quiet=quiet)
    write_file(html, render_page(replace(data, cost=cost)), "page")


def print_steps(sentences: "Sequence[str]", steps: "Sequence[LessonStep]") -> None:
    """Print the sentences and the table of the four steps."""
    for number, sentence in enumerate(sentences, 1):
        say(printable(f"sentence {number}: {sentence}"))
    console = open_console()
    console.print(lesson_table(steps, console.width))


def replay_command(model: str | None, revision: str | None) -> str:
    """Return the command that computes two texts with the same model."""
    command = ["isobatch", "lesson", *([model] if model else [])]
    command += ["--revision", revision] if revision else []
    return f"{shlex.join(command)} -t TEXT -t LONGEST"


def print_cost(cost: "MaskCost", replay: str) -> None:
    """Print the cost of a forgotten mask: words, numbers, and the text that moves most."""
    console = open_console()
    for line in describe_cost(cost):
        console.print(wrapped(printable(line), console.width))
    for part in mask_cost_parts(cost, replay, console.width):
        console.print(part)


def lesson_table(steps: "Sequence[LessonStep]", width: int) -> "RenderableType":
    """Build a table with a section for each step: each sentence's tokens with their ids."""
    rows: list[tuple[str, str, str, str]] = []
    for number, step in enumerate(steps, 1):
        rows.append((f"{number}. {step.title}\n{step.call}", "", "", ""))
        for row in step.rows:
            pairs = zip(row.tokens, row.input_ids, strict=True)
            tokens = " ".join(f"{printable(token)}:{each}" for token, each in pairs)
            rows.append((tokens, _mask(row), logits_text(row.logits), row.verdict))
    header = ("tokens:input_ids", "mask", "logits", "against alone")
    return fitted_table(header, rows, width, show_lines=True)


def _mask(row: "LessonRow") -> str:
    """Abbreviate the mask as counts: `1×8 0×3`."""
    if row.attention_mask is None:
        return "none"
    return " ".join(f"{kept}×{len(list(same))}" for kept, same in groupby(row.attention_mask))

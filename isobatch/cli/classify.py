"""`isobatch classify`: texts from the arguments or stdin, answers as a table or as JSON lines."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import tee
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, cast

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import options
from isobatch.errors import InputError, OptionError

if TYPE_CHECKING:
    from isobatch.tasks import Prediction


def classify(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Texts; the lines of stdin if there are none."),
    ] = None,
    model: options.Model = None,
    precision: options.Precision = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    max_batch_tokens: options.MaxBatchTokens = MAX_BATCH_TOKENS,
    truncation: options.Truncation = "cut",
    as_json: options.AsJson = False,
) -> None:
    """Classify texts: a table on a terminal, JSON lines otherwise.

    One answer for each text, in order; an empty line is a text too.
    """
    if not texts and sys.stdin.isatty():
        raise OptionError("no text: give texts as arguments, or as lines on stdin")
    from isobatch.tasks import Classifier  # torch takes seconds; --help need not wait for it

    classifier = Classifier.from_pretrained(
        model,
        precision=precision,
        device=device,
        threads=threads,
        max_batch_tokens=max_batch_tokens,
        truncation=cast("Literal['cut', 'error']", truncation),
    )
    asked, shown = tee(texts or read_lines(sys.stdin.buffer))
    answers = zip(shown, classifier.predict_stream(asked), strict=True)
    show = print_json_lines if as_json or not sys.stdout.isatty() else print_table
    num_texts, num_truncated = show(answers)
    if num_truncated:
        typer.echo(
            f"{num_truncated} of {num_texts} texts were cut to {classifier.max_tokens} tokens",
            err=True,
        )


def read_lines(stream: BinaryIO) -> Iterator[str]:
    """Lines of UTF-8 without their line ends. InputError names a line that is not UTF-8."""
    for number, line in enumerate(stream, 1):
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"stdin, line {number}: not UTF-8 ({error.reason} at byte {error.start}); "
                "convert it first, e.g. with iconv"
            ) from None


Answers = Iterable[tuple[str, "Prediction"]]


def print_json_lines(answers: Answers) -> tuple[int, int]:
    """One JSON object a line; returns the numbers of texts and of truncated texts."""
    num_texts = num_truncated = 0
    for text, answer in answers:
        record = {
            "text": text,
            "label": answer.label,
            "score": answer.score,
            "scores": answer.scores,
            "logits": answer.logits,
            "num_tokens": answer.num_tokens,
            "truncated": answer.truncated,
        }
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        num_texts += 1
        num_truncated += answer.truncated
    sys.stdout.flush()
    return num_texts, num_truncated


def print_table(answers: Answers) -> tuple[int, int]:
    """A table for people; returns as `print_json_lines` does."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("text", "label", "score", "logits", "tokens")
    num_truncated = 0
    for text, answer in answers:
        logits = ", ".join(f"{value:.4f}" for value in answer.logits)
        tokens = f"{answer.num_tokens}{' (cut)' if answer.truncated else ''}"
        shown = text if len(text) <= 200 else text[:200] + "…"
        table.add_row(Text(shown), Text(answer.label), f"{answer.score:.4f}", logits, tokens)
        num_truncated += answer.truncated
    Console().print(table)
    return table.row_count, num_truncated

"""`isobatch classify`: predictions for texts from arguments or stdin."""

import json
import os
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
        typer.Argument(metavar="[TEXT]...", help="Texts to classify. Default: lines of stdin."),
    ] = None,
    model: options.ModelOption = None,
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
    truncation: options.TruncationOption = "cut",
    as_json: options.JsonOption = False,
) -> None:
    """Classify texts: a table on a terminal, JSON lines otherwise.

    Prints one prediction per text, in input order; an empty line is a text, too.
    """
    if not texts and sys.stdin.isatty():
        raise OptionError("no text: pass texts as arguments or as lines on stdin")
    from isobatch.tasks import Classifier  # torch takes seconds; --help need not wait for it

    classifier = Classifier.from_pretrained(
        model,
        precision=precision,
        device=device,
        threads=threads,
        max_batch_tokens=max_batch_tokens,
        truncation=cast("Literal['cut', 'error']", truncation),
    )
    inputs, shown = tee(map(_decoded, texts) if texts else read_lines(sys.stdin.buffer))
    predictions = zip(shown, classifier.predict_stream(inputs), strict=True)
    show = print_json_lines if as_json or not sys.stdout.isatty() else print_table
    num_texts, num_truncated = show(predictions)
    if num_truncated:
        typer.echo(
            f"{num_truncated} of {num_texts} texts were truncated "
            f"to {classifier.max_tokens} tokens",
            err=True,
        )


def _decoded(argument: str) -> str:
    """Decode an argument as UTF-8 where the locale has another encoding, as LC_ALL=C."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument


def read_lines(stream: BinaryIO) -> Iterator[str]:
    """Decode lines of UTF-8, without line ends. Raises InputError with the number of a bad line."""
    for number, line in enumerate(stream, 1):
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"stdin, line {number}: not UTF-8 ({error.reason} at byte {error.start}); "
                "convert it first, e.g. with iconv"
            ) from None


Predictions = Iterable[tuple[str, "Prediction"]]
"""Texts with their predictions."""


def print_json_lines(predictions: Predictions) -> tuple[int, int]:
    """Print one JSON object per line; return the numbers of texts and of truncated texts."""
    num_texts = num_truncated = 0
    for text, prediction in predictions:
        record = {"text": text, **prediction.to_dict()}
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        num_texts += 1
        num_truncated += prediction.truncated
    sys.stdout.flush()
    return num_texts, num_truncated


def print_table(predictions: Predictions) -> tuple[int, int]:
    """Print a table; return the numbers of texts and of truncated texts."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("text", "label", "score", "logits", "tokens")
    num_truncated = 0
    for text, prediction in predictions:
        logits = ", ".join(f"{value:.4f}" for value in prediction.logits)
        tokens = f"{prediction.num_tokens}{' (cut)' if prediction.truncated else ''}"
        shown = text if len(text) <= 200 else text[:200] + "…"
        table.add_row(
            Text(shown), Text(prediction.label), f"{prediction.score:.4f}", logits, tokens
        )
        num_truncated += prediction.truncated
    Console().print(table)
    return table.row_count, num_truncated

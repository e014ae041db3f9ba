"""`isobatch classify`: predictions for texts from arguments or stdin."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import tee
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options
from isobatch.cli.terminal_layout import fitted_table, open_console, say, shortened_text
from isobatch.drawing.display_text import counted
from isobatch.errors import InputError, OptionError, TableError
from isobatch.tables import UTF8, check_encoding, decode_lines, stream_lines

if TYPE_CHECKING:
    from isobatch.tasks import Prediction


def classify(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Texts to classify. Default: lines of stdin."),
    ] = None,
    model: options.ModelOption = None,
    revision: options.RevisionOption = None,
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
    truncation: options.TruncationOption = "cut",
    stride: options.StrideOption = None,
    window_pooling: options.WindowPoolingOption = None,
    model_engine: options.ModelEngineOption = "native",
    group_equal_lengths: options.GroupEqualLengthsOption = False,
    encoding: input_files.Encoding = None,
    as_json: options.JsonOption = False,
) -> None:
    """Classify texts: a table on a terminal, JSON lines otherwise.

    Prints one prediction per text, in input order; an empty line is a text, too.
    """
    if not texts and sys.stdin.isatty():
        raise OptionError("no text: pass texts as arguments or as lines on stdin")
    if texts and encoding is not None:
        raise OptionError("--encoding is for lines on stdin, not for arguments. Leave it out")
    long_texts = options.truncation_of(truncation, stride, window_pooling)
    given = map(options.decoded_argument, texts or ())
    source = given if texts else read_lines(sys.stdin.buffer, encoding)
    from isobatch.tasks import Classifier  # torch takes seconds; --help need not wait for it

    classifier = Classifier.from_pretrained(
        model,
        precision=precision,
        device=device,
        threads=threads,
        max_batch_tokens=max_batch_tokens,
        truncation=long_texts or "cut",
        revision=revision,
        engine=model_engine,
        group_equal_lengths=group_equal_lengths,
    )
    inputs, shown = tee(source)
    predictions = zip(shown, classifier.predict_stream(inputs), strict=True)
    show = print_json_lines if as_json or not sys.stdout.isatty() else print_table
    num_texts, num_truncated = show(predictions)
    if num_truncated:
        say(
            f"{num_truncated} of {counted(num_texts, 'text was', 'texts were')} truncated "
            f"to {classifier.max_tokens} tokens",
            err=True,
        )


def read_lines(stream: BinaryIO, encoding: str | None = None) -> Iterator[str]:
    """Decode lines, without line ends.

    Raises OptionError for an unknown encoding at once, and InputError with the number of a bad line
    as it is read.
    """
    return _lines(stream, UTF8 if encoding is None else check_encoding(encoding))


def _lines(stream: BinaryIO, codec: str) -> Iterator[str]:
    try:
        for line in decode_lines(stream_lines(stream, "stdin", codec), "stdin", codec):
            yield line.removesuffix("\n").removesuffix("\r")
    except TableError as error:
        raise InputError(str(error)) from error


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
    rows: list[tuple[str, ...]] = []
    num_truncated = 0
    for text, prediction in predictions:
        logits = ", ".join(f"{value:.4f}" for value in prediction.logits)
        tokens = f"{prediction.num_tokens}{' (cut)' if prediction.truncated else ''}"
        if prediction.num_windows > 1:
            tokens += f" in {counted(prediction.num_windows, 'window')}"
        label, score = prediction.label, f"{prediction.score:.4f}"
        rows.append((shortened_text(text), label, score, logits, tokens))
        num_truncated += prediction.truncated
    console = open_console()
    header = ("text", "label", "score", "logits", "tokens")
    console.print(fitted_table(header, rows, console.width))
    return len(rows), num_truncated

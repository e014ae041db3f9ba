"""`isobatch precisions`: speed and fp32 agreement of each precision on given texts."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.cli import input_files, options
from isobatch.cli.classify import read_lines
from isobatch.cli.standard_streams import printing
from isobatch.cli.terminal_layout import fitted_table, open_console, say
from isobatch.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isobatch.precision import PrecisionResult
    from isobatch.types import Precision


def precisions(
    model: options.ModelArgument = None,
    revision: options.RevisionOption = None,
    save: Annotated[
        bool,
        typer.Option("--save", help="Save the result next to the weights, for --precision auto."),
    ] = False,
    threads: options.ThreadsOption = None,
    encoding: input_files.Encoding = None,
    as_json: options.JsonOption = False,
) -> None:
    """Compare precisions on lines of stdin: throughput, and agreement with fp32's labels."""
    if sys.stdin.isatty():
        raise OptionError("no texts: pass them as lines on stdin, e.g. < texts.txt")
    from isobatch.checkpoint import locate_checkpoint
    from isobatch.precision import check_record, compare_precisions, save_agreements
    from isobatch.tasks import Classifier
    from isobatch.tasks.pipeline_loading import stated_or_default

    lines = read_lines(sys.stdin.buffer, encoding)
    folder = locate_checkpoint(model, revision)
    task = stated_or_default(folder)
    if task != "text-classification":
        raise OptionError(
            f"{folder}: is for {task}, and precisions are compared by the labels of whole texts. "
            "Compare the results of `isobatch evaluate --precision` for each"
        )

    def load(precision: "Precision") -> Classifier:
        return Classifier.from_pretrained(
            model, precision=precision, threads=threads, revision=revision
        )

    texts = list(lines)
    if save:
        check_record(model, len(texts))
    results = compare_precisions(load, texts)
    with printing():
        if as_json or not sys.stdout.isatty():
            for result in results:
                sys.stdout.write(json.dumps(result.as_dict()) + "\n")
        else:
            print_precisions(results)
    if save:
        say(f"saved in {save_agreements(model, results)}", err=True)


def print_precisions(results: "Sequence[PrecisionResult]") -> None:
    """Print one row per precision."""
    console = open_console()
    header = ("precision", "texts/s", "agreement with fp32", "largest logit difference")
    rows = [
        (
            result.precision,
            f"{result.texts_per_second:.1f}",
            f"{result.agreement.label_agreement:.2%} of {result.agreement.num_texts:,}",
            f"{result.agreement.largest_logit_difference:.4f}",
        )
        for result in results
    ]
    console.print(fitted_table(header, rows, console.width))

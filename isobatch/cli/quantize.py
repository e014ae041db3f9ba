"""`isobatch quantize`: an int8 checkpoint and its rounding errors."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.cli import options
from isobatch.cli.terminal_layout import fitted_table, open_console, say

if TYPE_CHECKING:
    from isobatch.quantize import QuantizeReport


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint folder or hub id.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to write: new or empty.")],
    revision: options.RevisionOption = None,
    as_json: options.OnlyJsonOption = False,
) -> None:
    """Quantize a checkpoint to int8, to about a quarter of its float32 size.

    The word embeddings and the linear layers of each block become int8 with a scale per row;
    everything else stays float32: other embeddings, norms, biases, the head. OUT is an ordinary
    folder (safetensors in the format of compressed-tensors), accepted wherever MODEL is. Its
    results are bit-identical to those of MODEL with --precision int8.
    """
    from isobatch.quantize import quantize_checkpoint

    report = quantize_checkpoint(model, out, revision)
    if as_json:
        sys.stdout.write(json.dumps(asdict(report), ensure_ascii=False) + "\n")
    else:
        print_report(report)


def print_report(report: "QuantizeReport") -> None:
    """Print the rounding errors as a table and the sizes as a line."""
    header = ("int8", "tensors", "rounding error", "largest")
    rows = [
        (each.kind, str(each.num_tensors), f"{each.mean:.2%}", f"{each.largest:.2%}")
        for each in report.rounding
    ]
    console = open_console()
    console.print(fitted_table(header, rows, console.width))
    share = report.out_bytes / report.float32_bytes
    say(
        f"{report.out}: {report.out_bytes / 1e6:.1f} MB, {share:.1%} of float32's "
        f"{report.float32_bytes / 1e6:.1f} MB (read: {report.source_bytes / 1e6:.1f} MB)"
    )

"""`isobatch convert`: a checkpoint in another format or with other names, as one that loads."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.cli import options
from isobatch.cli.terminal_layout import say
from isobatch.drawing.display_text import counted

if TYPE_CHECKING:
    from isobatch.convert import ConvertReport


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="FOLDER_OR_ID", help="Checkpoint folder, file in it, or hub id."),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to write: new or empty.")],
    revision: options.RevisionOption = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER_OR_ID",
            help="Base model of a LoRA adapter. Default: the one that the adapter names.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX", help="Leave out tensors whose names begin with this; repeatable."
        ),
    ] = None,
    as_json: options.OnlyJsonOption = False,
) -> None:
    """Convert a checkpoint that cannot be loaded directly to safetensors.

    Reads pytorch_model.bin, its shards, and a state_dict in *.pt, *.pth or *.ckpt without executing
    anything in them; removes what wrappers, PEFT and TensorFlow add to tensor names; merges LoRA
    adapters into their base model. Names and shapes are checked against config.json. Tokenizer and
    modules of sentence-transformers are copied; a missing tokenizer.json is created from a
    SentencePiece model. dtypes are kept.
    """
    from isobatch.convert import convert_checkpoint

    report = convert_checkpoint(source, out, revision=revision, base=base, drop=drop or ())
    if as_json:
        sys.stdout.write(json.dumps(asdict(report), ensure_ascii=False) + "\n")
    else:
        print_report(report)


def print_report(report: "ConvertReport") -> None:
    """Print what was done, a line each, and the sizes."""
    written = report.written
    say(f"read: {', '.join(report.read)} ({report.source_bytes / 1e6:.1f} MB)")
    if report.base is not None:
        say(
            f"merged: {counted(len(report.merged), 'tensor')} of LoRA into {report.base}; "
            f"{counted(len(report.replaced), 'tensor')} replaced"
        )
    if written.reasons and not written.renamed:
        say(f"note: {'; '.join(written.reasons)}")
    if written.renamed:
        reasons = f" ({'; '.join(written.reasons)})" if written.reasons else ""
        say(f"renamed: {counted(len(written.renamed), 'tensor')}{reasons}")
    for name, reason in written.dropped.items():
        say(f"dropped: {name} ({reason})")
    if report.tokenizer is not None:
        say(f"tokenizer.json: made of {report.tokenizer}")
    dtypes = ", ".join(f"{number} {name}" for name, number in written.dtypes.items())
    say(
        f"{report.out}: {written.family}, {written.task}, {counted(written.num_tensors, 'tensor')} "
        f"({dtypes}), {report.out_bytes / 1e6:.1f} MB"
    )

"""Options shared by several commands; each can also be set by an environment variable.

Imports neither torch nor NumPy, so that `--help` is fast.
"""

import os
from collections.abc import Iterable
from typing import Annotated, Literal

import typer

from isobatch import __version__
from isobatch.errors import OptionError
from isobatch.tables import split_at_commas
from isobatch.types import TRUNCATIONS, EngineName, TextWindows, Truncation, WindowPooling

PrecisionName = Literal["fp32", "bf16", "int8", "auto"]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="ISOBATCH_MODEL",
        help="Checkpoint folder or hub id. Default: the bundled sentiment model.",
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        envvar="ISOBATCH_MODEL",
        help="Checkpoint folder or hub id. Default: the bundled sentiment model.",
    ),
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(
        envvar="ISOBATCH_PRECISION",
        help="Precision; auto selects the fastest with recorded accuracy for this checkpoint. "
        "Default: fp32, or int8 for a quantized checkpoint.",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(envvar="ISOBATCH_REVISION", help="Branch, tag or commit of a hub id."),
]
DeviceOption = Annotated[
    str, typer.Option(envvar="ISOBATCH_DEVICE", help="Device to compute on: cpu or cuda.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(envvar="ISOBATCH_THREADS", min=1, help="Number of threads. Default: torch's."),
]
MaxBatchTokensOption = Annotated[
    int,
    typer.Option(
        envvar="ISOBATCH_MAX_BATCH_TOKENS",
        min=1,
        help="Maximum number of tokens per batch; affects speed and memory, never the results.",
    ),
]
WindowedTruncation = Annotated[
    Literal["cut", "error", "window"] | None,
    typer.Option(
        envvar="ISOBATCH_TRUNCATION",
        help="Texts too long for the model: truncate (cut), make the row an error (error), or "
        "read in overlapping windows (window). Default: cut; window for entities.",
    ),
]
TruncationOption = Annotated[
    str,
    typer.Option(
        envvar="ISOBATCH_TRUNCATION",
        help="Texts too long for the model: truncate (cut), stop (error), or read in overlapping "
        "windows (window).",
    ),
]
StrideOption = Annotated[
    int | None,
    typer.Option(
        envvar="ISOBATCH_STRIDE",
        min=0,
        help="With --truncation window: tokens that neighbouring windows share. Default: a quarter "
        "of a window.",
    ),
]
WindowPoolingOption = Annotated[
    WindowPooling | None,
    typer.Option(
        envvar="ISOBATCH_WINDOW_POOLING",
        help="With --truncation window: how the logits or vectors of the windows are combined. "
        "Default: mean.",
    ),
]
ModelEngineOption = Annotated[
    EngineName,
    typer.Option(
        envvar="ISOBATCH_MODEL_ENGINE",
        help="Code that computes the model: Isobatch's own (native), or, for any other "
        "architecture, the library transformers, one text at a time.",
    ),
]
GroupEqualLengthsOption = Annotated[
    bool,
    typer.Option(
        "--group-equal-lengths",
        help="With --model-engine transformers: compute texts of equal length together, which is "
        "faster and lets last digits drift with the batch.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, even on a terminal.")]
OnlyJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""Of commands that print tables into files and pipes too."""


def truncation_of(
    given: str | None, stride: int | None, window_pooling: WindowPooling | None
) -> Truncation | None:
    """Return --truncation with the options of windows; None for the default of the task.

    OptionError for another value, and for options of windows without windows.
    """
    if given not in (None, *TRUNCATIONS):
        raise OptionError(f"--truncation {given}: no such choice. Use cut, error or window")
    options = {"--stride": stride, "--window-pooling": window_pooling}
    named = [name for name, value in options.items() if value is not None]
    if named and given != "window":
        raise OptionError(f"{named[0]} is for windows. Add --truncation window, or leave it out")
    if named:
        return TextWindows(stride, window_pooling or "mean")
    return given


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"isobatch {__version__}")
        raise typer.Exit


def show_version(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Inference and training of text encoders in which the batch never changes the answer."""


def names_of(option: str, line: str) -> tuple[str, ...]:
    """Split the value of an option at commas; OptionError if it is not a line of CSV."""
    try:
        return split_at_commas(line)
    except ValueError as error:
        raise OptionError(f"{option} {error}. Separate names by commas, on one line") from error


def refuse_given(context: typer.Context, names: Iterable[str], reason: str) -> None:
    """Raise OptionError for a parameter of `names` on the command line; it has no effect there."""
    parameters = {each.name: each for each in context.command.params}
    for name in names:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            option = parameters[name].opts[0]
            raise OptionError(f"{option}: has no effect {reason}. Leave it out")


def decoded_argument(argument: str) -> str:
    """Decode an argument as UTF-8 where the locale has another encoding, as LC_ALL=C."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument

"""Options shared by several commands; each can also be set by an environment variable.

Imports neither torch nor NumPy, so that `--help` is fast.
"""

from typing import Annotated, Literal

import typer

from isobatch import __version__

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
TruncationOption = Annotated[
    str,
    typer.Option(
        envvar="ISOBATCH_TRUNCATION",
        help="For texts that are too long for the model: truncate (cut) or stop (error).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.")]


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
    """Text classification in which the batch never changes the answer."""

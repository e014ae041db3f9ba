"""The options that several commands share; each is also an environment variable.

Help texts and defaults stand here once. It imports nothing heavy, so that `--help` answers at once.
"""

from typing import Annotated, Literal

import typer

from isobatch import __version__

PrecisionName = Literal["fp32", "bf16", "int8", "auto"]

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="ISOBATCH_MODEL",
        help="A checkpoint folder or a hub id; the bundled sentiment model if absent.",
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        envvar="ISOBATCH_MODEL",
        help="A checkpoint folder or a hub id; the bundled sentiment model if absent.",
    ),
]
Precision = Annotated[
    PrecisionName | None,
    typer.Option(
        envvar="ISOBATCH_PRECISION",
        help="fp32, bf16 or int8; auto: the fastest whose accuracy was shown for this checkpoint. "
        "fp32 if absent, or int8 for a quantised checkpoint.",
    ),
]
Device = Annotated[str, typer.Option(envvar="ISOBATCH_DEVICE", help="cpu or cuda.")]
Threads = Annotated[
    int | None,
    typer.Option(envvar="ISOBATCH_THREADS", min=1, help="Threads; torch's default if absent."),
]
MaxBatchTokens = Annotated[
    int,
    typer.Option(
        envvar="ISOBATCH_MAX_BATCH_TOKENS",
        min=1,
        help="Tokens computed together: changes speed and memory, never an answer.",
    ),
]
Truncation = Annotated[
    str,
    typer.Option(
        envvar="ISOBATCH_TRUNCATION",
        help="A text too long for the model: cut it and say so (cut), or stop (error).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, also on a terminal.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"isobatch {__version__}")
        raise typer.Exit


def show_version(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Text classification in which the batch never changes the answer."""

"""The options of `isobatch run` that no other command has."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from isobatch.cli.inputs import FormatName

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Files, globs, a folder, or - for stdin.")
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="A file; a folder (ending with /) for a file each; - for stdout."
    ),
]
OutputFormat = Annotated[
    FormatName | None,
    typer.Option(help="Format of the output; by its name if absent, the input's for stdout."),
]
Columns = Annotated[
    str | None, typer.Option(help="Input columns to keep, with commas; all if absent.")
]
Logits = Annotated[bool, typer.Option("--logits", help="Add the logits, as one column.")]
Scores = Annotated[bool, typer.Option("--scores", help="Add a column for each class's score.")]
Prefix = Annotated[str, typer.Option(help="Put this before the names of the added columns.")]
RowTruncation = Annotated[
    Literal["cut", "error"],
    typer.Option(
        envvar="ISOBATCH_TRUNCATION",
        help="A text too long for the model: cut it and say so (cut), or no answer (error).",
    ),
]
OnError = Annotated[
    Literal["row", "stop"],
    typer.Option(help="A row that has no answer: say why in the row (row), or stop there (stop)."),
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew, and replace the output.")]
Report = Annotated[
    Path | None, typer.Option(help="Write counts, speed and provenance to this file, as JSON.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Where to compute: in this process, or on Ray, a file a worker at a time."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="ISOBATCH_RAY_ADDRESS",
        help="A Ray cluster to join (auto: the one that runs here); a Ray of its own if absent.",
    ),
]
Workers = Annotated[
    int, typer.Option(min=1, help="Ray workers, with one model and --threads CPUs (1) each.")
]
RayWait = Annotated[
    float, typer.Option(min=1.0, help="Seconds in which the cluster must have room for them all.")
]

"""The options of file jobs, which `isobatch run` and `isobatch embed` share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options

Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="Output file; a folder (ending with /) for one per input; - stdout."
    ),
]
Columns = Annotated[
    str | None, typer.Option(help="Input columns to keep, separated by commas. Default: all.")
]
Prefix = Annotated[str, typer.Option(help="Prefix of the names of the added columns.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Discard saved work and replace the output.")
]
Report = Annotated[
    Path | None, typer.Option(help="Path to write counts, speed and provenance to, as JSON.")
]
Expect = Annotated[
    str | None,
    typer.Option(
        metavar="DIGEST",
        help="Digest that the output must have, as a run prints it at its end: SHA-256 of the "
        "decompressed content; for several outputs, of their list. Exit code 9 if it differs.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="Where to compute: in this process, or on Ray with one file per worker; see "
        "--model-engine for the library of the model."
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="ISOBATCH_RAY_ADDRESS",
        help="Address of a Ray cluster; auto: the cluster of this machine. Default: a local Ray.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=1, help="Number of Ray workers, each with one model and --threads CPUs (default 1)."
    ),
]
RayWait = Annotated[
    float, typer.Option(min=1.0, help="Maximum seconds to wait for room for all Ray workers.")
]

OF_RAY = ("workers", "ray_address", "ray_wait")
"""Options that have an effect with --engine ray alone, here and in a training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCommand:
    """The options of a command that runs file jobs; a subclass adds those of its task."""

    names: input_files.Inputs
    output: Output
    input_format: input_files.InputFormat = None
    text_column: input_files.TextColumn = None
    id_column: input_files.IdColumn = None
    columns: Columns = None
    prefix: Prefix = ""
    no_header: input_files.NoHeader = False
    no_quotes: input_files.NoQuotes = False
    delimiter: input_files.Delimiter = None
    encoding: input_files.Encoding = None
    compression: input_files.CompressionOption = None
    truncation: options.WindowedTruncation = None
    stride: options.StrideOption = None
    window_pooling: options.WindowPoolingOption = None
    on_empty: input_files.OnEmptyOption = "score"
    restart: Restart = False
    report: Report = None
    expect: Expect = None
    quiet: input_files.Quiet = False
    engine: Engine = "local"
    workers: Workers = 2
    ray_address: RayAddress = None
    ray_wait: RayWait = 60.0
    model: options.ModelOption = None
    revision: options.RevisionOption = None
    precision: options.PrecisionOption = None
    device: options.DeviceOption = "cpu"
    threads: options.ThreadsOption = None
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS
    model_engine: options.ModelEngineOption = "native"

"""`isobatch verify`: computes rows of a finished output again, and compares them bit for bit."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import input_files, options
from isobatch.cli.display import Display, open_display
from isobatch.cli.standard_streams import printing
from isobatch.cli.terminal_layout import say
from isobatch.drawing.display_text import counted, printable, shortened
from isobatch.errors import EXIT_CODES, NotReproducedError, NotVerifiableError, OptionError

if TYPE_CHECKING:
    from isobatch.jobs import Verification, Verifier
    from isobatch.jobs.row_comparison import DifferentRow

    Result = tuple[Path, Verification | NotVerifiableError]

Outputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="OUTPUT...",
        help="Finished outputs of `isobatch run` or `embed`, with the folder .isobatch next to "
        "them; a folder for all outputs in it.",
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of rows to check, spread over each output at random. Default: 1000."
    ),
]
AllRows = Annotated[bool, typer.Option("--all", help="Check every row.")]
Seed = Annotated[
    int,
    typer.Option(min=0, help="Seed of the sample: the same seed selects the same rows."),
]
MovedInputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--input",
        metavar="PATH",
        help="Input that has been moved; repeat the option for several, in their order. A folder "
        "must have the inputs under their recorded names. Default: their recorded paths, "
        "relative to the output.",
    ),
]
MovedModel = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Checkpoint folder or hub id. Default: the recorded checkpoint."
    ),
]
ModelRevision = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of --model.")
]
RecordedDevice = Annotated[
    str | None,
    typer.Option("--device", help="Device to compute on: cpu or cuda. Default: as recorded."),
]
Show = Annotated[int, typer.Option(min=0, help="Number of different rows to show.")]


def verify(
    outputs: Outputs,
    sample: Sample = None,
    all_rows: AllRows = False,
    seed: Seed = 0,
    inputs: MovedInputs = None,
    show: Show = 10,
    quiet: input_files.Quiet = False,
    model: MovedModel = None,
    revision: ModelRevision = None,
    device: RecordedDevice = None,
    threads: options.ThreadsOption = None,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
    as_json: options.JsonOption = False,
) -> None:
    """Recompute rows of finished outputs, and check whether every bit is reproduced.

    Inputs, checkpoint and options were recorded with each output. Exit code 9 means that a
    label, score or logit is not reproduced, or that the file was changed; 10 that an output cannot
    be verified here, because inputs, checkpoint or arithmetic are missing or differ.
    """
    from isobatch.jobs import Verifier, VerifyOptions
    from isobatch.jobs.verification import DEFAULT_SAMPLE

    if all_rows and sample is not None:
        raise OptionError("--all checks every row, --sample some of them. Leave one out")
    if revision is not None and model is None:
        raise OptionError("--revision: is for --model. Specify the hub id that it is a revision of")
    verifier = Verifier(
        VerifyOptions(
            sample=None if all_rows else sample or DEFAULT_SAMPLE,
            seed=seed,
            inputs=tuple(inputs or ()),
            model=model,
            revision=revision,
            device=device,
            threads=threads,
            max_batch_tokens=max_batch_tokens,
            shown=show,
        )
    )
    found = list(_expand(outputs))
    if inputs and len(found) > 1 and not (len(inputs) == 1 and inputs[0].is_dir()):
        raise OptionError(
            f"--input: which of {len(found)} outputs is it for? Use the folder of all inputs, or "
            "verify one output at a time"
        )
    with open_display(quiet=quiet, beginning="reading") as display:
        results = [
            _verify(verifier, each, display) if isinstance(each, Path) else each for each in found
        ]
    with printing():
        _print(results, as_json=as_json or not sys.stdout.isatty(), quiet=quiet)
    if code := _exit_code(results):
        raise typer.Exit(code)


def _expand(outputs: Sequence[Path]) -> "Iterator[Path | Result]":
    """Replace folders by the outputs in them, one without any by the error."""
    from isobatch.jobs import outputs_with_jobs

    for given in outputs:
        try:
            yield from outputs_with_jobs(given)
        except NotVerifiableError as error:
            yield given, error


def _verify(verifier: "Verifier", path: Path, display: Display) -> "Result":
    """Verify one output; one that cannot be verified does not keep others from it."""

    def show(checked: int, total: int) -> None:
        display.draw(checked, total, f"{path.name}: {checked:,} of {counted(total, 'row')} checked")

    try:
        return path, verifier.verify(path, show)
    except NotVerifiableError as error:
        return path, error


def _print(results: "Sequence[Result]", *, as_json: bool, quiet: bool) -> None:
    if as_json:
        _print_json(results)
    if not (as_json and quiet):
        for line in (line for result in results for line in describe_result(*result)):
            say(f"isobatch: {line}" if as_json else line, err=as_json)


def _print_json(results: "Sequence[Result]") -> None:
    described = [
        {"verdict": "cannot be verified", "output": str(path), "reason": str(found)}
        if isinstance(found, NotVerifiableError)
        else found.as_dict()
        for path, found in results
    ]
    sys.stdout.write(json.dumps({"outputs": described}, ensure_ascii=False) + "\n")


def describe_result(path: Path, found: "Verification | NotVerifiableError") -> Iterator[str]:
    """Describe a result: the verdict, how much of the output it is about, and the differences."""
    if isinstance(found, NotVerifiableError):
        yield f"cannot be verified: {printable(str(found))}"
        return
    verdict = "reproduced" if found.is_reproduced else "NOT reproduced"
    yield f"{path}: {verdict}: {_extent(found)}; arithmetic {found.arithmetic}"
    yield from (f"  {printable(each)}" for each in found.problems)
    yield from (f"  {_described(row)}" for row in found.first)
    if more := found.different - len(found.first):
        yield f"  and {counted(more, 'row')} more"
    yield from (f"  note: {printable(each)}" for each in found.notes)


def _extent(found: "Verification") -> str:
    """Say how many rows were checked, and how many of those differ."""
    extent = f"{found.checked:,} of {counted(found.rows, 'row')} checked"
    if found.checked < found.chosen:
        extent += " (the others cannot be compared)"
    elif found.chosen < found.rows:
        extent += " (a sample; --all checks the others)"
    if found.different:
        return f"{extent}, {counted(found.different, 'differs', 'differ')}"
    is_whole = found.checked and found.checked == found.chosen
    return f"{extent}, each with the same bits" if is_whole else extent


def _described(row: "DifferentRow") -> str:
    cells = "; ".join(
        f"{each.column} is {_shown(each.written)}, computed {_shown(each.computed)}"
        for each in row.cells
    )
    return f"{row.place} (from {row.input_place}): {cells}"


def _shown(cell: str) -> str:
    return shortened(printable(cell)) or "empty"


def _exit_code(results: "Sequence[Result]") -> int:
    """Return the code of the worst result: not reproduced, else cannot be verified, else 0."""
    unverifiable = [isinstance(found, NotVerifiableError) for _, found in results]
    if any(not getattr(found, "is_reproduced", True) for _, found in results):
        return EXIT_CODES[NotReproducedError]
    return EXIT_CODES[NotVerifiableError] if any(unverifiable) else 0

"""`isobatch train`: trains a classifier on labelled files, and resumes an interrupted training."""

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from isobatch.cli import input_files, options
from isobatch.cli import training_options as given
from isobatch.cli.display import open_display
from isobatch.cli.job_command import interruptible
from isobatch.cli.job_options import OF_RAY
from isobatch.cli.standard_streams import printing
from isobatch.cli.stop_signals import DeferredStop
from isobatch.cli.terminal_layout import say
from isobatch.cli.training_progress import TrainingDisplay, summarize_training
from isobatch.drawing.display_text import counted, printable
from isobatch.errors import EXIT_CODES, NotReproducedError, OptionError, TrainingStopped

if TYPE_CHECKING:
    from isobatch.jobs import RayOptions
    from isobatch.tables import TableFile
    from isobatch.training.data.labelled_source import DataPart
    from isobatch.training.fine_tuning import TrainedFolder, TrainingRequest
    from isobatch.training.steps.events import Event
    from isobatch.training.training_verification import TrainingVerification

WITH_VERIFY = (
    "verify",
    "names",
    "base",
    "teacher",
    "threads",
    "blocks_in_flight",
    "quiet",
    "as_json",
)
"""Options that --verify has a use for; everything else is in the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainCommand:
    """The options of the command; those of a recipe have the names of RecipeOptions."""

    names: given.Inputs = None
    output: given.Output = None
    validation: given.ValidationFile = None
    validation_share: given.ValidationShare = None
    text_column: given.TextColumn = None
    pair_column: given.PairColumn = None
    label_columns: given.LabelColumn = None
    label_separator: given.LabelSeparator = None
    weight_column: given.WeightColumn = None
    id_column: given.IdColumn = None
    skip_unlabelled: given.SkipUnlabelled = False
    skip_empty: given.SkipEmpty = False
    options_file: given.OptionsFile = None
    restart: given.Restart = False
    base: given.Base = None
    revision: given.Revision = None
    task: given.Task = None
    class_weights: given.ClassWeights = None
    label_smoothing: given.LabelSmoothing = None
    freeze: given.Freeze = None
    teacher: given.Teacher = None
    unlabelled: given.Unlabelled = None
    teacher_weight: given.TeacherWeight = None
    teacher_temperature: given.TeacherTemperature = None
    layers: given.Layers = None
    epochs: given.Epochs = None
    batch_size: given.BatchSize = None
    block_tokens: given.BlockTokens = None
    seed: given.Seed = None
    precision: given.TrainingPrecisionOption = None
    learning_rate: given.LearningRate = None
    layer_decay: given.LayerDecay = None
    warm_up: given.WarmUp = None
    weight_decay: given.WeightDecay = None
    beta1: given.Beta1 = None
    beta2: given.Beta2 = None
    epsilon: given.Epsilon = None
    clip_norm: given.ClipNorm = None
    metric: given.MetricName = None
    evaluations_per_epoch: given.EvaluationsPerEpoch = None
    patience: given.Patience = None
    average_decay: given.AverageDecay = None
    threads: given.Threads = None
    blocks_in_flight: given.BlocksInFlight = None
    engine: given.Engine = "local"
    workers: given.Workers = 2
    ray_address: given.RayAddress = None
    ray_wait: given.RayWait = 60.0
    tensorboard: given.TensorBoard = None
    verify: given.Verify = None
    input_format: input_files.InputFormat = None
    no_header: input_files.NoHeader = False
    no_quotes: input_files.NoQuotes = False
    delimiter: input_files.Delimiter = None
    encoding: input_files.Encoding = None
    compression: input_files.CompressionOption = None
    quiet: input_files.Quiet = False
    as_json: options.OnlyJsonOption = False


def train(context: typer.Context, command: TrainCommand) -> None:
    """Train a classifier on labelled files, and write it as an ordinary checkpoint folder.

    The weights are the same bytes for any number of threads, and however often training was
    interrupted: run the same command again to resume it.
    """
    if command.verify is None:
        if command.engine != "ray":
            options.refuse_given(context, OF_RAY, "without --engine ray")
        _train(command)
    else:
        recorded = [name for name in context.params if name not in WITH_VERIFY]
        options.refuse_given(context, recorded, "with --verify, which takes it from the record")
        _verify(command.verify, command)


def _train(command: TrainCommand) -> None:
    chosen, stated = _chosen_options(command)
    with ExitStack() as stack, DeferredStop() as signals:
        display = stack.enter_context(_shown(quiet=command.quiet))
        request = stack.enter_context(_request(command, chosen, stated))
        callbacks: list[Callable[[Event], None]] = [display.show]
        if command.tensorboard:
            from isobatch.training.tensorboard_log import TensorBoardLog

            callbacks.append(stack.enter_context(TensorBoardLog(command.tensorboard)))

        def report(event: "Event") -> None:
            for callback in callbacks:
                callback(event)

        with interruptible(display.teacher, resumable=True, quiet=command.quiet):
            done = _run(request, display, report, signals)
    if not command.quiet:
        say(summarize_training(done), err=True)  # below the bar, which is removed
    if command.as_json:
        from isobatch.training.steps.events import plain_json

        shown = plain_json({**asdict(done), "folder": str(done.folder)})
        with printing():
            sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
    if signals.received:
        raise signals.stopped()


def _run(
    request: "TrainingRequest",
    display: TrainingDisplay,
    report: Callable[["Event"], None],
    signals: DeferredStop,
) -> "TrainedFolder":
    """Train; after a signal the state is saved, and the process ends with its exit code."""
    from isobatch.training import fine_tuning

    try:
        return fine_tuning.train(
            request,
            on_event=report,
            on_note=display.say,
            on_teacher=display.teacher.show,
            should_stop=signals.should_stop,
        )
    except TrainingStopped as stopped:
        if not signals.received:
            raise
        display.say(f"{stopped}; its state is saved. Run the same command again to resume")
        raise signals.stopped() from stopped


@contextmanager
def _shown(*, quiet: bool) -> Iterator[TrainingDisplay]:
    with open_display(quiet=quiet, beginning="reading") as display:
        yield TrainingDisplay(display)


def _chosen_options(command: TrainCommand) -> tuple[dict[str, Any], set[str]]:
    """Return the options that were given by name: those of --options, then of the command line.

    The names are of those that must have an effect: a record has all options, also unused ones.
    """
    from isobatch.training.data.class_weights import read_class_weights
    from isobatch.training.recipe import RecipeOptions
    from isobatch.training.train_record import (
        OTHER_OPTIONS,
        check_options,
        is_recorded,
        read_options,
    )

    stored = read_options(command.options_file) if command.options_file else {}
    _mention_other_texts(command)
    known = (*(field.name for field in fields(RecipeOptions)), *OTHER_OPTIONS)
    values = {name: getattr(command, name, None) for name in known}
    here = {name: value for name, value in values.items() if _is_given(value)}
    weights = here.get("class_weights")
    if weights and weights not in ("none", "balanced"):
        here["class_weights"] = read_class_weights(Path(weights))
    check_options(here)
    if "base" in here:
        stored.pop("revision", None)  # of the base that is replaced
    is_record = command.options_file is not None and is_recorded(command.options_file)
    return stored | here, {*here} if is_record else {*stored, *here}


def _mention_other_texts(command: TrainCommand) -> None:
    """Say which texts the training of --options had, too: files are not options."""
    from isobatch.training.train_record import recorded_parts

    given_parts = {"validation": command.validation, "unlabelled": command.unlabelled}
    recorded = recorded_parts(command.options_file) if command.options_file else {}
    for part, names in recorded.items():
        if part in given_parts and not given_parts[part] and not command.quiet:
            files = printable(", ".join(names))
            typer.echo(
                f"isobatch: note: {command.options_file} also names {files} (--{part}), which is "
                "not read. Specify it here, too, if it should be read",
                err=True,
            )


def _is_given(value: object) -> bool:
    """Return whether a parameter has a value; 0 is one, a flag that is not set is none."""
    return value is not None and value is not False and value != []


@contextmanager
def _request(
    command: TrainCommand, chosen: Mapping[str, Any], stated: Collection[str]
) -> Iterator["TrainingRequest"]:
    """Read the files, and put everything together that `train` takes."""
    from isobatch.training.data.dataset import LabelledColumns
    from isobatch.training.data.labelled_source import LabelledSource
    from isobatch.training.fine_tuning import TrainingRequest
    from isobatch.training.recipe import RecipeOptions
    from isobatch.training.train_record import COLUMN_OPTIONS

    out = _check_places(command)
    read = {field: chosen[name] for name, field in COLUMN_OPTIONS.items() if name in chosen}
    if "labels" in read:
        read["labels"] = tuple(read["labels"])
    columns = LabelledColumns(**read)
    recipe = {field.name for field in fields(RecipeOptions)} & chosen.keys()
    settings = RecipeOptions(**{name: chosen[name] for name in recipe})
    with _tables(command) as tables:
        _refuse_places_inside(
            out, command, [each.path for part in tables.values() for each in part]
        )
        sources = [LabelledSource(part, tuple(tables[part]), columns) for part in tables]
        texts = {source.part: source.read() for source in sources}
        files = [source.describe(texts[source.part], out) for source in sources]
        request = TrainingRequest(
            base=chosen.get("base"),
            revision=chosen.get("revision"),
            out=out,
            texts=texts["training"],
            validation=texts.get("validation"),
            task=chosen.get("task", "auto"),
            class_weights=chosen.get("class_weights", "none"),
            options=settings,
            threads=command.threads,
            blocks_in_flight=command.blocks_in_flight,
            restart=command.restart,
            files=tuple(fact for each in files for fact in each),
            teacher=chosen.get("teacher"),
            unlabelled=texts.get("unlabelled"),
            layers=chosen.get("layers"),
            ray=_ray_options(command),
            stated=stated,
        )
        share = chosen.get("validation_share")
        yield request if share is None else replace(request, validation_share=share)


def _ray_options(command: TrainCommand) -> "RayOptions | None":
    if command.engine != "ray":
        return None
    from isobatch.jobs import RayOptions

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports its use
    cpus = command.threads or 1
    return RayOptions(command.ray_address, command.workers, cpus, command.ray_wait)


@contextmanager
def _tables(command: TrainCommand) -> Iterator[dict["DataPart", Sequence["TableFile"]]]:
    """Expand the names of the files of each part into files with formats."""
    reading = input_files.InputOptions(
        command.input_format,
        command.no_header,
        command.no_quotes,
        command.delimiter,
        command.encoding,
        command.compression,
        "train",
    )
    with ExitStack() as stack:
        names: dict[DataPart, list[str]] = {"training": command.names or []}
        if command.validation:
            names["validation"] = [command.validation]
        if command.unlabelled:
            names["unlabelled"] = [command.unlabelled]
        yield {
            part: stack.enter_context(input_files.input_tables(each, reading))
            for part, each in names.items()
        }


def _check_places(command: TrainCommand) -> Path:
    if not command.names:
        raise OptionError("no input. Specify a labelled file, and the output folder: -o FOLDER")
    if command.output is None:
        raise OptionError("no output. Specify the folder to write: -o FOLDER")
    for option in ("validation", "unlabelled"):
        if getattr(command, option) == input_files.STDIN:
            raise OptionError(f"--{option} -: this file cannot be stdin. Specify one")
    from isobatch.training.run_folder import RunFolder

    out = Path(command.output)
    RunFolder(out).check()
    return out


def _refuse_places_inside(out: Path, command: TrainCommand, inputs: Sequence[Path]) -> None:
    """Raise OptionError for files in the output folder, which is replaced as a whole."""
    board = [command.tensorboard] if command.tensorboard else []
    for path in (*inputs, *board):
        if path.resolve().is_relative_to(out.resolve()):
            raise OptionError(
                f"{path}: is in the output folder, which will be replaced. Move it, or use another "
                "output folder"
            )


# ------------------------------------------------------------------------------ --verify


def _verify(folder: Path, command: TrainCommand) -> None:
    from isobatch.training.training_verification import verify_training

    with _shown(quiet=command.quiet) as display:
        found = verify_training(
            folder,
            moved=[Path(name) for name in command.names or ()],
            base=command.base,
            teacher=command.teacher,
            threads=command.threads,
            blocks_in_flight=command.blocks_in_flight,
            on_event=display.show,
            on_note=display.say,
            on_teacher=display.teacher.show,
        )
    shown_as_json = command.as_json or not sys.stdout.isatty()
    with printing():
        if shown_as_json:
            sys.stdout.write(json.dumps(found.as_dict(), ensure_ascii=False) + "\n")
        if not (shown_as_json and command.quiet):
            for line in _verdict(found):
                say(f"isobatch: {line}" if shown_as_json else line, err=shown_as_json)
    if not found.is_reproduced:
        raise typer.Exit(EXIT_CODES[NotReproducedError])


def _verdict(found: "TrainingVerification") -> Iterator[str]:
    verdict = "reproduced" if found.is_reproduced else "NOT reproduced"
    yield (
        f"{found.folder}: {verdict}: {counted(found.steps, 'step')}, SHA-256 of model.safetensors "
        f"{found.computed}"
    )
    yield from (f"  {printable(each)}" for each in found.problems)
    yield from (f"  note: {printable(each)}" for each in found.notes)

"""`isobatch train`: trains a classifier on labelled files, and resumes an interrupted training."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from isobatch.cli import input_files, options
from isobatch.cli import training_options as given
from isobatch.cli.display import open_display
from isobatch.cli.stop_signals import DeferredStop
from isobatch.cli.training_progress import TrainingDisplay, summarize_training
from isobatch.drawing.display_text import counted, printable
from isobatch.errors import EXIT_CODES, NotReproducedError, OptionError, TrainingStopped

if TYPE_CHECKING:
    from isobatch.training.events import Event
    from isobatch.training.fine_tuning import TrainedFolder, TrainingRequest
    from isobatch.training.training_verification import TrainingVerification

Params = Mapping[str, Any]

WITH_VERIFY = ("verify", "names", "base", "threads", "blocks_in_flight", "quiet", "as_json")
"""Options that --verify has a use for; everything else is in the record."""


def train(
    context: typer.Context,
    names: given.Inputs = None,
    output: given.Output = None,
    validation: given.ValidationFile = None,
    validation_share: given.ValidationShare = None,
    text_column: given.TextColumn = None,
    pair_column: given.PairColumn = None,
    label_columns: given.LabelColumn = None,
    label_separator: given.LabelSeparator = None,
    weight_column: given.WeightColumn = None,
    id_column: given.IdColumn = None,
    skip_unlabelled: given.SkipUnlabelled = False,
    skip_empty: given.SkipEmpty = False,
    options_file: given.OptionsFile = None,
    restart: given.Restart = False,
    base: given.Base = None,
    task: given.Task = None,
    class_weights: given.ClassWeights = None,
    label_smoothing: given.LabelSmoothing = None,
    freeze: given.Freeze = None,
    epochs: given.Epochs = None,
    batch_size: given.BatchSize = None,
    block_tokens: given.BlockTokens = None,
    seed: given.Seed = None,
    precision: given.TrainingPrecisionOption = None,
    learning_rate: given.LearningRate = None,
    layer_decay: given.LayerDecay = None,
    warm_up: given.WarmUp = None,
    weight_decay: given.WeightDecay = None,
    beta1: given.Beta1 = None,
    beta2: given.Beta2 = None,
    epsilon: given.Epsilon = None,
    clip_norm: given.ClipNorm = None,
    metric: given.MetricName = None,
    evaluations_per_epoch: given.EvaluationsPerEpoch = None,
    patience: given.Patience = None,
    average_decay: given.AverageDecay = None,
    threads: given.Threads = None,
    blocks_in_flight: given.BlocksInFlight = None,
    tensorboard: given.TensorBoard = None,
    verify: given.Verify = None,
    input_format: input_files.InputFormat = None,
    no_header: input_files.NoHeader = False,
    no_quotes: input_files.NoQuotes = False,
    delimiter: input_files.Delimiter = None,
    encoding: input_files.Encoding = None,
    compression: input_files.CompressionOption = None,
    quiet: input_files.Quiet = False,
    as_json: options.JsonOption = False,
) -> None:
    """Train a classifier on labelled files; it is written as an ordinary checkpoint folder.

    The weights are the same bytes for any number of threads, and however often a training was
    interrupted: run the same command again to resume it.
    """
    if verify is None:
        _train(context.params, quiet=quiet)
    else:
        _refuse_unused(context)
        _verify(verify, context.params, quiet=quiet, as_json=as_json)


def _train(params: Params, *, quiet: bool) -> None:
    chosen = _chosen_options(params)
    with ExitStack() as stack, DeferredStop() as signals:
        request = stack.enter_context(_request(params, chosen))
        display = stack.enter_context(_shown(quiet=quiet))
        callbacks: list[Callable[[Event], None]] = [display.show]
        if params["tensorboard"]:
            from isobatch.training.tensorboard_log import TensorBoardLog

            callbacks.append(stack.enter_context(TensorBoardLog(Path(params["tensorboard"]))))

        def report(event: "Event") -> None:
            for callback in callbacks:
                callback(event)

        done = _run(request, display, report, signals)
    if not quiet:
        typer.echo(summarize_training(done), err=True)  # below the bar, which is removed
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
            request, on_event=report, on_note=display.say, should_stop=signals.should_stop
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


def _chosen_options(params: Params) -> dict[str, Any]:
    """Return the options that were given by name: those of --options, then of the command line."""
    from isobatch.training.class_weights import read_class_weights
    from isobatch.training.recipe import RecipeOptions
    from isobatch.training.train_record import OTHER_OPTIONS, check_options, read_options

    file = params["options_file"]
    stored = read_options(Path(file)) if file else {}
    known = (*(field.name for field in fields(RecipeOptions)), *OTHER_OPTIONS)
    here = {name: params[name] for name in known if _is_given(params.get(name))}
    if "label_columns" in here:
        here["label_columns"] = list(here["label_columns"])
    weights = here.get("class_weights")
    if weights and weights not in ("none", "balanced"):
        here["class_weights"] = read_class_weights(Path(weights))
    check_options(here)
    return stored | here


def _is_given(value: object) -> bool:
    """Return whether a parameter has a value; 0 is one, a flag that is not set is none."""
    return value is not None and value is not False and value != ()


@contextmanager
def _request(params: Params, chosen: Mapping[str, Any]) -> Iterator["TrainingRequest"]:
    """Read the files, and put everything together that `train` takes."""
    from isobatch.training.dataset import LabelledColumns
    from isobatch.training.fine_tuning import TrainingRequest
    from isobatch.training.labelled_source import LabelledSource
    from isobatch.training.recipe import RecipeOptions
    from isobatch.training.train_record import COLUMN_OPTIONS

    out = _check_places(params)
    read = {field: chosen[name] for name, field in COLUMN_OPTIONS.items() if name in chosen}
    if "labels" in read:
        read["labels"] = tuple(read["labels"])
    columns = LabelledColumns(**read)
    recipe = {field.name for field in fields(RecipeOptions)} & chosen.keys()
    settings = RecipeOptions(**{name: chosen[name] for name in recipe})
    with _tables(params) as tables:
        sources = [LabelledSource("training", tuple(tables["training"]), columns)]
        if "validation" in tables:
            sources.append(LabelledSource("validation", tuple(tables["validation"]), columns))
        texts = [source.read() for source in sources]
        files = [source.describe(each, out) for source, each in zip(sources, texts, strict=True)]
        request = TrainingRequest(
            base=chosen.get("base"),
            out=out,
            texts=texts[0],
            validation=texts[1] if len(texts) > 1 else None,
            task=chosen.get("task", "auto"),
            class_weights=chosen.get("class_weights", "none"),
            options=settings,
            threads=params["threads"],
            blocks_in_flight=params["blocks_in_flight"],
            restart=params["restart"],
            files=tuple(fact for each in files for fact in each),
        )
        share = chosen.get("validation_share")
        yield request if share is None else replace(request, validation_share=share)


@contextmanager
def _tables(params: Params) -> Iterator[dict[str, Any]]:
    """Expand the names of the input and of the validation file into files with formats."""
    reading = input_files.InputOptions(
        params["input_format"],
        params["no_header"],
        params["no_quotes"],
        params["delimiter"],
        params["encoding"],
        params["compression"],
        "train",
    )
    with ExitStack() as stack:
        tables = {
            "training": stack.enter_context(input_files.input_tables(params["names"], reading))
        }
        if params["validation"]:
            held_out = [params["validation"]]
            tables["validation"] = stack.enter_context(input_files.input_tables(held_out, reading))
        yield tables


def _check_places(params: Params) -> Path:
    if not params["names"]:
        raise OptionError("no input. Name a labelled file, and the output folder: -o FOLDER")
    if params["output"] is None:
        raise OptionError("no output. Name the folder to write: -o FOLDER")
    if params["validation"] and params["validation_share"] is not None:
        raise OptionError(
            "--validation-share: has no effect with --validation. Leave one of them out"
        )
    if params["validation"] == input_files.STDIN:
        raise OptionError("--validation -: the validation file cannot be stdin. Name a file")
    from isobatch.training.run_folder import RunFolder

    out = Path(params["output"])
    RunFolder(out).check()
    return out


# ------------------------------------------------------------------------------ --verify


def _refuse_unused(context: typer.Context) -> None:
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in WITH_VERIFY and source and source.name == "COMMANDLINE":
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            raise OptionError(
                f"{option}: has no effect with --verify, which takes it from the record. Leave it "
                "out"
            )


def _verify(folder: Path, params: Params, *, quiet: bool, as_json: bool) -> None:
    from isobatch.training.training_verification import verify_training

    with _shown(quiet=quiet) as display:
        found = verify_training(
            folder,
            moved=[Path(name) for name in params["names"] or ()],
            base=params["base"],
            threads=params["threads"],
            blocks_in_flight=params["blocks_in_flight"],
            on_event=display.show,
            on_note=display.say,
        )
    shown_as_json = as_json or not sys.stdout.isatty()
    if shown_as_json:
        sys.stdout.write(json.dumps(found.as_dict(), ensure_ascii=False) + "\n")
    if not (shown_as_json and quiet):
        for line in _verdict(found):
            typer.echo(f"isobatch: {line}" if shown_as_json else line, err=shown_as_json)
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

"""A training from labelled texts to a finished folder: for the command, `fit` and scikit-learn.

Invariant: the folder is a function of base, texts, options and library versions. A run that was
stopped resumes, or says which of them has changed.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from isobatch.ambient import isolated
from isobatch.checkpoint import checkpoint_name, locate_checkpoint, read_json
from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError
from isobatch.jobs import RayOptions
from isobatch.jobs.ray_connection import await_room, connected
from isobatch.scoring import ProgressCallback
from isobatch.training.data.dataset import LabelledTexts
from isobatch.training.data.prepared_data import TargetedTexts, prepare_data, with_unlabelled
from isobatch.training.initial_model import read_initial_model
from isobatch.training.output.temperature import calibrate
from isobatch.training.output.trained_folder import write_trained_folder
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.output.training_report import check_report_libraries
from isobatch.training.recipe import RecipeOptions, TrainingTask, complete_recipe
from isobatch.training.recipe_text import describe_recipe
from isobatch.training.run_folder import RunFolder
from isobatch.training.run_log import RunLog
from isobatch.training.steps.block_gradients import BlockGradients, TrainedWeights
from isobatch.training.steps.events import Event, EventCallback
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.gradient_check import check_gradients, check_settings
from isobatch.training.steps.gradient_engine import LocalEngine, SingleThreads, single_threads
from isobatch.training.steps.optimizer import Optimizer
from isobatch.training.steps.order import cut_blocks, plan_steps
from isobatch.training.steps.ray_workers import RayEngine, WorkerSetup
from isobatch.training.steps.state import StateFolder
from isobatch.training.steps.target_scale import TargetScale
from isobatch.training.steps.trainer import TrainingRun
from isobatch.training.steps.validation_metrics import check_metric
from isobatch.training.student import keep_blocks
from isobatch.training.teacher import check_teacher, teacher_logits
from isobatch.training.train_record import RECORD_NAME, make_record
from isobatch.training.unused_options import refuse_unused

FEW_TEXTS = 50
"""Validation texts: with fewer, one text is more than 2 % of the accuracy."""

DEFAULT_SHARE = 0.1
"""Of the texts, held out for validation."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The base, the texts and the options of a training.

    base: a folder, a hub id, or None for the bundled model. texts, validation: as read; without
    validation texts, `validation_share` of the texts is held out. class_weights: by label.
    threads: of torch, None for its own number; blocks_in_flight: blocks computed at a time, None
    for the number of threads: fewer need less memory. Neither changes the result. restart: discard
    the saved state of an earlier run, and replace its folder. files: facts about the files that
    the texts are from, for the record. teacher: a classifier whose logits are learned, too; then
    there may be unlabelled texts. layers: the number of blocks that are kept of the base. ray: the
    cluster that computes the gradients, None for this process. report: write report.html, whose
    libraries are those of the extra `train`. revision: of the base, a hub id. stated: the options
    that the caller chose by name, which must have an effect; others may be of a record.
    """

    base: str | Path | None
    out: Path
    texts: LabelledTexts
    validation: LabelledTexts | None = None
    validation_share: float = DEFAULT_SHARE
    task: TrainingTask | Literal["auto"] = "auto"
    class_weights: Literal["none", "balanced"] | Mapping[str, float] = "none"
    options: RecipeOptions = field(default_factory=RecipeOptions)
    threads: int | None = None
    blocks_in_flight: int | None = None
    restart: bool = False
    files: tuple[Mapping[str, Any], ...] = ()
    teacher: str | Path | None = None
    unlabelled: LabelledTexts | None = None
    layers: int | None = None
    ray: RayOptions | None = None
    report: bool = True
    revision: str | None = None
    stated: Collection[str] = ()

    def __post_init__(self) -> None:
        refuse_unused(self, self.task)
        if self.unlabelled is not None and self.teacher is None:
            raise OptionError("unlabelled texts are learned from a teacher. Specify one: --teacher")
        for name in ("threads", "blocks_in_flight"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name} must be a whole number of at least 1, got {value!r}")


@dataclass(frozen=True, slots=True)
class TrainedFolder:
    """A finished training. digest: SHA-256 of model.safetensors. metrics: of the validation."""

    folder: Path
    digest: str
    metrics: Mapping[str, float]
    steps: int
    seconds: float


def train(
    request: TrainingRequest,
    *,
    on_event: EventCallback = lambda event: None,
    on_note: Callable[[str], None] = lambda note: None,
    on_teacher: ProgressCallback = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedFolder:
    """Train, and write the folder; resumes a run that was stopped.

    on_note: called with sentences about choices, such as the task that was found and its evidence.
    on_teacher: called with the progress of the teacher's logits; they are saved, too, when an
    exception ends them. should_stop: called after every step; once it returns True, the state is
    saved and TrainingStopped raised. Raises InputError and TrainingError for texts or labels that
    cannot be learned, JobError for a folder that holds another run.
    """
    threads = torch.get_num_threads()
    try:
        if request.threads is not None:
            torch.set_num_threads(request.threads)
        with isolated(), torch.inference_mode(False), torch.enable_grad():
            return _Session(request, on_event, on_note, on_teacher, should_stop).train()
    finally:
        torch.set_num_threads(threads)


class _Session:
    """One call of `train`: its texts, its model, and what was decided about them."""

    def __init__(
        self,
        request: TrainingRequest,
        on_event: EventCallback,
        on_note: Callable[[str], None],
        on_teacher: ProgressCallback,
        should_stop: Callable[[], bool],
    ) -> None:
        check_settings()
        if request.report:
            check_report_libraries()
        self._request = request
        self._on_event, self._on_note, self._should_stop = on_event, on_note, should_stop
        self._on_teacher = on_teacher
        self._data = prepare_data(
            request.texts,
            request.validation,
            task=request.task,
            validation_share=request.validation_share,
            seed=request.options.seed,
            class_weights=request.class_weights,
        )
        scheme = self._data.scheme
        refuse_unused(request, scheme.task)
        self._start = read_initial_model(
            request.base, scheme.task, scheme.labels, request.options.seed, request.revision
        )
        if request.layers is not None:
            self._start = keep_blocks(self._start, request.layers)
        self._refuse_replaced("base", self._start.folder)
        if request.teacher is not None:
            self._refuse_replaced("teacher", locate_checkpoint(request.teacher))
            check_teacher(request.teacher, scheme)
        self._train, self._unlabelled_notes = with_unlabelled(self._data, request.unlabelled)
        self._examples = self._encode(self._train)
        self._scale = None
        if scheme.task == "regression":
            has_bias = self._start.model.head.output.bias is not None
            self._scale = TargetScale.of(self._data.train.targets, has_bias=has_bias)
            standard = self._scale.standardized(self._examples.targets)
            self._examples = replace(self._examples, targets=standard)
            if self._start.head == "kept":
                self._scale.take_out_of(self._start.model)
        self._validation = self._encode(self._data.validation)
        self._recipe = complete_recipe(
            request.options,
            scheme.task,
            self._start.model.config,
            len(self._examples),
        )
        check_metric(self._recipe.metric, self._validation.targets)

    def train(self) -> TrainedFolder:
        """Open the folder, and do what remains to be done."""
        request = self._request
        folder = RunFolder(request.out)
        record = make_record(request, self._recipe, self._data.scheme.labels)
        with folder.locked():
            status = folder.open(record, restart=request.restart)
            if status == "finished":
                self._on_note("the training is finished already")
                return _read_finished(request.out)
            self._describe()
            self._ask_teacher(folder)
            weights = TrainedWeights(self._start.model, self._examples, self._recipe.freeze)
            gradients = BlockGradients(weights, self._examples, self._recipe)
            with (
                single_threads(self._blocks_in_flight(gradients)) as threads,
                self._engine(weights, gradients, threads) as engine,
            ):
                run = self._make_run(weights, engine, threads, folder)
                if run.resume():
                    self._on_note(f"resumed after step {run.state.step:,} of {run.num_steps:,}")
                with RunLog(folder.log, run.state.events) as log:
                    run.on_event = _both(log, self._on_event)
                    best = run.train()
            self._take(run, best)
            trained = self._finish(run, record)
            folder.discard()
            return trained

    def _refuse_replaced(self, name: str, folder: Path) -> None:
        """Raise OptionError for a checkpoint in the output folder, which is replaced as a whole."""
        out = self._request.out
        if folder.resolve().is_relative_to(out.resolve()):
            raise OptionError(
                f"{out}: the {name} is in the output folder, which will be replaced. Choose "
                "another output"
            )

    def _encode(self, texts: TargetedTexts) -> Examples:
        encodings = self._start.encode(texts.texts, texts.places)
        return Examples(encodings, texts.targets, texts.weights, texts.places)

    def _ask_teacher(self, folder: RunFolder) -> None:
        if self._request.teacher is None:
            return
        texts = self._train.texts
        self._on_note(f"computing the logits of the teacher for {counted(len(texts), 'text')}")
        logits = teacher_logits(
            self._request.teacher,
            texts,
            self._data.scheme,
            folder.path.parent,
            restart=self._request.restart,
            on_note=self._on_note,
            on_progress=self._on_teacher,
        )
        if self._scale is not None:
            logits = self._scale.standardized(logits)
        self._examples = replace(self._examples, teacher_logits=logits)

    def _describe(self) -> None:
        """Say what was found in the data, which head the model has, and the recipe."""
        cut = sum(encoding.truncated for encoding in self._examples.encodings)
        lines = [*self._data.notes, *self._unlabelled_notes, self._start.reason]
        if cut:
            longest = counted(self._start.encoder.max_tokens, "token")
            lines.append(f"{counted(cut, 'text')} longer than {longest}: cut at that length")
        steps = self._recipe.num_steps(len(self._examples))
        lines.append(f"{counted(steps, 'step')} at most, on {counted(len(self._examples), 'text')}")
        if len(self._validation) < FEW_TEXTS:
            texts = counted(len(self._validation), "validation text")
            lines.append(
                f"only {texts}: the choice of the best weights is uncertain. Hold out more with "
                "--validation-share, or specify a file with --validation"
            )
        request = self._request
        has_teacher = request.teacher is not None
        lines += describe_recipe(self._recipe, request.options, has_teacher=has_teacher)
        for line in lines:
            self._on_note(line)

    def _blocks_in_flight(self, gradients: BlockGradients) -> int:
        """Return how many blocks may be computed side by side, after checking their bits."""
        in_flight = self._request.blocks_in_flight or torch.get_num_threads()
        recipe = self._recipe
        steps = plan_steps(len(self._examples), recipe.batch_size, recipe.seed, epoch=0)
        blocks = cut_blocks(steps[0], self._examples.lengths, recipe.block_tokens)
        reason = check_gradients(gradients, blocks, in_flight)
        if reason is not None:
            self._on_note(f"one block at a time: {reason}")
            return 1
        return in_flight

    def _make_run(
        self,
        weights: TrainedWeights,
        engine: LocalEngine | RayEngine,
        threads: SingleThreads,
        folder: RunFolder,
    ) -> TrainingRun:
        return TrainingRun(
            weights,
            self._examples,
            self._validation,
            self._recipe,
            engine,
            Optimizer(weights, self._recipe, threads),
            StateFolder(folder.state),
            scale=self._scale,
            should_stop=self._should_stop,
        )

    @contextmanager
    def _engine(
        self, weights: TrainedWeights, gradients: BlockGradients, threads: SingleThreads
    ) -> Iterator[LocalEngine | RayEngine]:
        options = self._request.ray
        if options is None:
            yield LocalEngine(gradients, threads)
            return
        model = self._start.model
        tensors = {name: each.detach() for name, each in model.named_parameters()}
        setup = WorkerSetup(model.config, tensors, self._examples, self._recipe, options.cpus)
        with connected(options.address, options.workers * options.cpus) as ray:
            room = {"CPU": float(options.cpus)}
            await_room(ray, options.workers, room, options.seconds_to_wait)
            yield RayEngine(ray, weights, setup, options.workers)

    @torch.no_grad()
    def _take(self, run: TrainingRun, best: Mapping[str, Tensor]) -> None:
        """Put the best weights into the model."""
        for name, tensor in run.optimizer_weights().items():
            tensor.copy_(best[name])
        run.weights.write_words()
        if self._scale is not None:
            self._scale.fold_into(self._start.model)

    def _finish(self, run: TrainingRun, record: Mapping[str, Any]) -> TrainedFolder:
        """Calibrate the model, and write its folder."""
        calibrated = calibrate(self._start.model, self._validation, self._recipe.task)
        teacher = self._request.teacher
        trained = TrainedModel(
            start=self._start,
            calibrated=calibrated,
            scheme=self._data.scheme,
            recipe=self._recipe,
            training=self._examples,
            validation=self._validation,
            validation_texts=self._data.validation.texts,
            facts=self._data.facts,
            events=run.state.events,
            record={
                **record,
                "steps": run.state.step,
                "target_scale": self._scale and asdict(self._scale),
            },
            teacher=None if teacher is None else checkpoint_name(teacher),
        )
        digest = write_trained_folder(self._request.out, trained, report=self._request.report)
        return TrainedFolder(
            self._request.out, digest, trained.metrics, run.state.step, run.state.seconds
        )


def _both(log: EventCallback, on_event: EventCallback) -> EventCallback:
    def report(event: Event) -> None:
        log(event)
        on_event(event)

    return report


def _read_finished(out: Path) -> TrainedFolder:
    """Read the result of a finished training from its record."""
    content = read_json(out / RECORD_NAME)
    return TrainedFolder(
        out,
        cast("str", content["model_sha256"]),
        cast("dict[str, float]", content["validation"]),
        cast("int", content["steps"]),
        0.0,
    )

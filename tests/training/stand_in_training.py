"""A stand-in for `fine_tuning.train`: steps and events without a model; a digest as the weights.

As the real one, it resumes saved work, refuses a folder of another run, and writes a record; its
output depends on `weight_factors` alone.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isobatch.checkpoint import locate_checkpoint, read_config
from isobatch.errors import TrainingStopped
from isobatch.scoring import ProgressCallback
from isobatch.training.fine_tuning import TrainedFolder, TrainingRequest
from isobatch.training.recipe import complete_recipe
from isobatch.training.recipe_text import describe_recipe
from isobatch.training.run_folder import RunFolder
from isobatch.training.run_log import RunLog, read_log
from isobatch.training.steps.events import Evaluated, EventCallback, StepDone
from isobatch.training.train_record import RECORD_NAME, make_record, weight_factors

NUM_STEPS = 6


class StandIn:
    """Its `requests` are those that it was called with."""

    def __init__(self, before_step: Callable[[int], object] = lambda step: None) -> None:
        self.requests: list[TrainingRequest] = []
        self.first_steps: list[int] = []
        self._before_step = before_step

    def train(
        self,
        request: TrainingRequest,
        *,
        on_event: EventCallback = lambda event: None,
        on_note: Callable[[str], None] = lambda note: None,
        on_teacher: ProgressCallback = lambda progress: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainedFolder:
        self.requests.append(request)
        config = read_config(locate_checkpoint(request.base))
        task = "single" if request.task == "auto" else request.task
        recipe = complete_recipe(request.options, task, config, len(request.texts))
        for line in describe_recipe(
            recipe, request.options, has_teacher=request.teacher is not None
        ):
            on_note(line)
        labels = sorted({str(value) for value in request.texts.values})
        record = make_record(request, recipe, labels)
        folder = RunFolder(request.out)
        with folder.locked():
            status = folder.open(record, restart=request.restart)
            done = read_log(folder.log) if status == "interrupted" and folder.log.exists() else []
            steps = [event["step"] for event in done]
            if status != "finished":
                folder.state.mkdir(exist_ok=True)
                with RunLog(folder.log, done) as log:
                    self._take_steps(max(steps, default=0), log, on_event, should_stop)
                self._write(request.out, record)
                folder.discard()
        digest = hashlib.sha256((request.out / "model.safetensors").read_bytes()).hexdigest()
        return TrainedFolder(request.out, digest, {"accuracy": 0.75}, NUM_STEPS, 1.5)

    def _take_steps(
        self,
        start: int,
        log: RunLog,
        on_event: EventCallback,
        should_stop: Callable[[], bool],
    ) -> None:
        self.first_steps.append(start + 1)
        for step in range(start + 1, NUM_STEPS + 1):
            self._before_step(step)
            for event in (step_done(step), *([evaluated(step)] if step % 3 == 0 else [])):
                log(event)
                on_event(event)
            if should_stop():
                raise TrainingStopped(f"stopped after step {step} of {NUM_STEPS}")

    @staticmethod
    def _write(out: Path, record: dict[str, Any]) -> None:
        weights = json.dumps(weight_factors(record), sort_keys=True).encode()
        out.mkdir(exist_ok=True)
        (out / "model.safetensors").write_bytes(weights)
        digest = {"model_sha256": hashlib.sha256(weights).hexdigest()}
        (out / RECORD_NAME).write_text(json.dumps(record | digest))


def step_done(step: int, num_steps: int = NUM_STEPS, **values: float) -> StepDone:
    fields: dict[str, Any] = {"loss": 1 / step, "gradient_norm": 1.0, "learning_rate": 1e-4}
    fields |= {"texts": 32, "tokens": 900, "seconds": 0.5 * step} | values
    return StepDone(step=step, num_steps=num_steps, epoch=1, **fields)


def evaluated(step: int, best: bool = True) -> Evaluated:
    return Evaluated(
        step=step,
        num_steps=NUM_STEPS,
        epoch=1,
        weights="average",
        metric="accuracy",
        value=0.75,
        metrics={"accuracy": 0.75, "log_loss": 0.5},
        other_metrics={"accuracy": 0.5, "log_loss": 0.75},
        loss=0.25,
        best=best,
        evaluations_without_better=0 if best else 1,
        digest="0" * 64,
        seconds=0.5 * step,
    )

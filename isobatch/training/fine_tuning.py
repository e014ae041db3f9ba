"""A training from labelled texts to a finished folder: for the command, `fit` and scikit-learn.

Invariant: the folder is a function of base, texts, options and library versions. A run that was
stopped resumes, or says which of them has changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from isobatch.training.dataset import LabelledTexts
from isobatch.training.events import EventCallback
from isobatch.training.recipe import RecipeOptions, Task


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The base, the texts and the options of a training.

    base: a folder, a hub id, or None for the bundled model. texts, validation: as read; without
    validation texts, `validation_share` of the texts is held out. class_weights: by label.
    threads: of torch, None for its own number; blocks_in_flight: blocks computed at a time, None
    for the number of threads: fewer need less memory. Neither changes the result. restart: discard
    the saved state of an earlier run, and replace its folder. files: facts about the files that
    the texts are from, for the record.
    """

    base: str | Path | None
    out: Path
    texts: LabelledTexts
    validation: LabelledTexts | None = None
    validation_share: float = 0.1
    task: Task | Literal["auto"] = "auto"
    class_weights: Literal["none", "balanced"] | Mapping[str, float] = "none"
    options: RecipeOptions = field(default_factory=RecipeOptions)
    threads: int | None = None
    blocks_in_flight: int | None = None
    restart: bool = False
    files: tuple[Mapping[str, Any], ...] = ()


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
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedFolder:
    """Train, and write the folder; resumes a run that was stopped.

    on_note: called with sentences about choices, such as the task that was found and why.
    should_stop: asked after every step; the state is saved and TrainingStopped raised if it says
    so. Raises InputError and TrainingError for texts or labels that cannot be learned, JobError
    for a folder that holds another run.
    """
    raise NotImplementedError

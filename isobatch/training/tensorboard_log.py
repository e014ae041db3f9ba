"""Event files for TensorBoard: the curves of a run, in a folder of this machine.

Written by the library `tensorboard` itself, whose writer needs neither TensorFlow nor torch. A run
that resumes writes another file into the same folder; steps that are taken again have the same
values.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from isobatch.errors import JobError
from isobatch.extras import needs_extra
from isobatch.training.steps.events import Evaluated, Event, StepDone


class TensorBoardLog:
    """Writes events as scalars; use it as a context, and as a callback for events.

    Raises OptionError without the library, JobError for a folder that cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        with needs_extra("tensorboard", "--tensorboard"):
            from tensorboard.summary import Writer
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = Writer(str(folder))
        except OSError as error:
            raise JobError(
                f"{folder}: event files cannot be written: {error.strerror}. Use another folder"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    def __call__(self, event: Event) -> None:
        """Add the numbers of an event; after an evaluation the file is up to date."""
        for name, value in _scalars(event).items():
            self._writer.add_scalar(name, value, event.step)
        if isinstance(event, Evaluated):
            self._writer.flush()


def _scalars(event: Event) -> dict[str, float]:
    if isinstance(event, StepDone):
        return {
            "training/loss": event.loss,
            "training/gradient_norm": event.gradient_norm,
            "training/learning_rate": event.learning_rate,
        }
    other = "raw" if event.weights == "average" else "average"
    return {
        f"validation_{event.weights}/{name}": value for name, value in event.metrics.items()
    } | {f"validation_{other}/{name}": value for name, value in event.other_metrics.items()}

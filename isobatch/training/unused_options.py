"""Options of a training that would have no effect: they are refused, not dropped."""

from typing import TYPE_CHECKING, Literal

from isobatch.errors import OptionError
from isobatch.training.recipe import TrainingTask

if TYPE_CHECKING:
    from isobatch.training.fine_tuning import TrainingRequest


def refuse_unused(request: "TrainingRequest", task: TrainingTask | Literal["auto"]) -> None:
    """Raise OptionError for a stated option that has no effect on this task with the others."""
    without_teacher = (request.teacher is None, "without --teacher")
    in_regression = (task == "regression", "in a regression")
    cases = (
        ("teacher_weight", *without_teacher),
        ("teacher_temperature", *without_teacher),
        ("teacher_temperature", *in_regression),
        ("label_smoothing", *in_regression),
        (
            "label_separator",
            len(request.texts.label_columns) > 1,
            "with several label columns, of which each is one label",
        ),
        ("validation_share", request.validation is not None, "with --validation"),
    )
    for name, is_unused, where in cases:
        if is_unused and name in request.stated:
            option = f"--{name.replace('_', '-')}"
            raise OptionError(f"{option}: has no effect {where}. Leave it out")

"""A trained model with everything that its folder tells about it: plain data, nothing computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isobatch.training.data.data_facts import DataFacts
from isobatch.training.data.label_scheme import LabelScheme
from isobatch.training.initial_model import InitialModel
from isobatch.training.output.temperature import CalibratedModel
from isobatch.training.recipe import Recipe
from isobatch.training.steps.examples import Examples
from isobatch.types import TextInput


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The result of a training.

    start: the checkpoint that it started from. calibrated: the trained model, with the used words
    written into its table. training, validation: the examples; validation_texts: the texts of the
    latter. events: steps and evaluations, as `event_fields` has them. record: versions, digests and
    options of the run, for train.json. teacher: the name of the teacher, None without one.
    """

    start: InitialModel
    calibrated: CalibratedModel
    scheme: LabelScheme
    recipe: Recipe
    training: Examples
    validation: Examples
    validation_texts: Sequence[TextInput]
    facts: DataFacts
    events: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None

    @property
    def deviations(self) -> Sequence[float]:
        """The numbers that the outputs of a regression were divided by for training."""
        scale = self.record.get("target_scale")
        return scale["deviation"] if scale else ()

    @property
    def has_class_weights(self) -> bool:
        """Whether classes were weighted."""
        options: Mapping[str, Any] = self.record.get("options", {})
        return bool(options.get("class_weights", "none") != "none")

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the finished model on the validation texts."""
        return self.calibrated.after.metrics

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        return [each for each in self.events if each["event"] == "evaluation"]

    @property
    def best(self) -> Mapping[str, Any]:
        """The evaluation whose weights the model has."""
        return [each for each in self.evaluations if each["best"]][-1]

    @property
    def name_of_data(self) -> str:
        """The names of the files with the validation texts, or of those they were held out of."""
        files = self.facts.validation_files or self.facts.files
        return ", ".join(str(each["name"]) for each in files) or "texts passed in Python"

    @property
    def num_unlabelled(self) -> int:
        """How many texts without a label were learned from the teacher."""
        return len(self.training) - self.facts.num_train

    @property
    def num_truncated(self) -> tuple[int, int]:
        """How many training and validation texts were longer than the model's maximum."""
        training, validation = (
            sum(encoding.truncated for encoding in examples.encodings)
            for examples in (self.training, self.validation)
        )
        return training, validation

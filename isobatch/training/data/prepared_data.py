"""From labelled texts to the two sets of a training: all that is decided before texts are encoded.

Invariant: the result is a function of the texts, their labels and the options; every text that is
given is in one of the sets.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isobatch.errors import InputError
from isobatch.training.data.class_weights import ClassWeights, text_weights
from isobatch.training.data.data_facts import DataFacts, collect_facts
from isobatch.training.data.dataset import LabelledTexts
from isobatch.training.data.equal_texts import group_equal_texts
from isobatch.training.data.label_scheme import LabelScheme, infer_labels
from isobatch.training.data.split import Indices, split_groups
from isobatch.training.data.targets import Targets, check_classes, make_targets
from isobatch.training.recipe import TrainingTask
from isobatch.types import TextInput


@dataclass(frozen=True, slots=True)
class TargetedTexts:
    """Texts with their targets, float32 [texts, outputs]; weights have mean 1."""

    texts: list[TextInput]
    targets: Targets
    weights: NDArray[np.float32]
    places: list[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The two sets, their labels, and facts about them.

    notes: sentences for the user, first the evidence of the task. train_rows, validation_rows:
    indices among the given texts; the latter is empty where validation texts were given.
    """

    train: TargetedTexts
    validation: TargetedTexts
    scheme: LabelScheme
    facts: DataFacts
    notes: tuple[str, ...]
    train_rows: tuple[int, ...]
    validation_rows: tuple[int, ...]


def prepare_data(
    texts: LabelledTexts,
    validation: LabelledTexts | None = None,
    *,
    task: TrainingTask | Literal["auto"] = "auto",
    validation_share: float = 0.1,
    seed: int = 0,
    class_weights: ClassWeights = "none",
) -> PreparedData:
    """Find the labels, hold out validation texts unless there are some, and weight the others.

    Class weights count in training alone. Raises InputError, with the place, for labels that cannot
    be learned or that are in the validation alone, and OptionError for options that do not fit.
    """
    scheme = infer_labels(texts.values, texts.places, task, texts.label_columns)
    targets = _targets(scheme, texts)
    check_classes(scheme, targets, texts.places)
    groups = group_equal_texts([*texts.texts, *(validation.texts if validation else ())])
    if validation is None:
        rows, held = split_groups(groups, targets, validation_share, seed, scheme.task)
        given = None
    else:
        check_same_kind(texts, validation, "validation texts")
        rows, held = np.arange(len(texts)), np.arange(0)
        given = validation, _targets(scheme, validation)
    share = None if given else validation_share
    facts = collect_facts(scheme, (texts, targets), given, held, share, groups)
    return PreparedData(
        _part(scheme, texts, targets, rows, class_weights),
        _part(scheme, *given, np.arange(len(given[1])), "none")
        if given
        else _part(scheme, texts, targets, held, "none"),
        scheme,
        facts,
        (scheme.evidence, *facts.notes(has_class_weights=class_weights != "none")),
        tuple(rows.tolist()),
        tuple(held.tolist()),
    )


def _targets(scheme: LabelScheme, texts: LabelledTexts) -> Targets:
    return make_targets(scheme, texts.values, texts.places, texts.label_columns)


def check_same_kind(texts: LabelledTexts, others: LabelledTexts, name: str) -> None:
    """Raise InputError unless there are `others`, all of them pairs or single texts as `texts` are.

    name: of the others, "validation texts" or "unlabelled texts".
    """
    if not len(others):
        raise InputError(f"there are no {name}. Specify some, or leave them out")
    kinds = {isinstance(text, str) for text in texts.texts}
    for text, place in zip(others.texts, others.places, strict=True):
        if isinstance(text, str) not in kinds:
            found, wanted = ("text", "pairs") if isinstance(text, str) else ("pair", "texts")
            raise InputError(
                f"{place}: this is a single {found}, but the training has {wanted}. Use the same "
                "columns for both"
            )


def _part(
    scheme: LabelScheme,
    texts: LabelledTexts,
    targets: Targets,
    rows: Indices,
    class_weights: ClassWeights,
) -> TargetedTexts:
    """Take some of the texts, in order."""
    chosen = targets[rows]
    indices = rows.tolist()
    weights = texts.weights and [texts.weights[row] for row in indices]
    return TargetedTexts(
        [texts.texts[row] for row in indices],
        chosen,
        text_weights(scheme, chosen, weights, class_weights),
        [texts.places[row] for row in indices],
    )

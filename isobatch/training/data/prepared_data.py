"""From labelled texts to the two sets of a training: all that is decided before texts are encoded.

Invariant: the result is a function of the texts, their labels and the options; every text that is
given is in one of the sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import counted
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
        _check_kind(texts.texts, validation, "validation texts")
        rows, held = np.arange(len(texts)), np.arange(0)
        given = validation, _targets(scheme, validation)
    share = None if given else validation_share
    facts = collect_facts(scheme, (texts, targets), given, held, share, groups)
    return PreparedData(
        _part(scheme, texts, targets, rows, class_weights),
        _part(scheme, *given, np.arange(len(given[1])), None)
        if given
        else _part(scheme, texts, targets, held, None),
        scheme,
        facts,
        (scheme.evidence, *facts.notes(has_class_weights=class_weights != "none")),
        tuple(rows.tolist()),
        tuple(held.tolist()),
    )


def _targets(scheme: LabelScheme, texts: LabelledTexts) -> Targets:
    return make_targets(scheme, texts.values, texts.places, texts.label_columns)


def _check_kind(texts: Sequence[TextInput], others: LabelledTexts, name: str) -> None:
    """Raise InputError unless there are `others`, all of them pairs or single texts as `texts` are.

    name: of the others, "validation texts" or "unlabelled texts".
    """
    if not len(others):
        raise InputError(f"there are no {name}. Specify some, or leave them out")
    kinds = {isinstance(text, str) for text in texts}
    for text, place in zip(others.texts, others.places, strict=True):
        if isinstance(text, str) not in kinds:
            found, wanted = ("text", "pairs") if isinstance(text, str) else ("pair", "texts")
            raise InputError(
                f"{place}: this is a single {found}, but the training has {wanted}. Use the same "
                "columns for both"
            )


def with_unlabelled(
    data: PreparedData, unlabelled: LabelledTexts | None
) -> tuple[TargetedTexts, tuple[str, ...]]:
    """Append texts without labels to those of the training, with targets NaN; and notes on them.

    Those that are validation texts are left out: a teacher's logits would leak them. Raises
    InputError unless they are pairs, or single texts, as the others are.
    """
    train, held_out = data.train, data.validation.texts
    if unlabelled is None:
        return train, ()
    _check_kind(train.texts, unlabelled, "unlabelled texts")
    groups = group_equal_texts([*held_out, *unlabelled.texts])
    is_held = np.isin(groups[len(held_out) :], groups[: len(held_out)])
    rows = np.flatnonzero(~is_held).tolist()
    left_out = {"text": int(is_held.sum()), "empty text": unlabelled.num_empty}
    reasons = {"text": ": among the validation texts", "empty text": ""}
    notes = [
        f"{counted(number, name)} without labels left out{reasons[name]}"
        for name, number in left_out.items()
        if number
    ]
    targets = np.full((len(rows), train.targets.shape[1]), np.nan, np.float32)
    together = TargetedTexts(
        [*train.texts, *(unlabelled.texts[row] for row in rows)],
        np.concatenate([train.targets, targets]),
        np.concatenate([train.weights, np.ones(len(rows), np.float32)]),
        [*train.places, *(unlabelled.places[row] for row in rows)],
    )
    return together, tuple(notes)


def _part(
    scheme: LabelScheme,
    texts: LabelledTexts,
    targets: Targets,
    rows: Indices,
    class_weights: ClassWeights | None,
) -> TargetedTexts:
    """Take some of the texts, in order. class_weights: None for texts that are not weighted."""
    chosen = targets[rows]
    indices = rows.tolist()
    weights = np.ones(len(rows), np.float32)
    if class_weights is not None:
        own = texts.weights and [texts.weights[row] for row in indices]
        weights = text_weights(scheme, chosen, own, class_weights)
    return TargetedTexts(
        [texts.texts[row] for row in indices],
        chosen,
        weights,
        [texts.places[row] for row in indices],
    )

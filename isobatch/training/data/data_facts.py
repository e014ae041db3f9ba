"""Facts about the data of a training: duplicates, contradictions, counts, and texts that are cut.

They are part of train.json, of the model card and of the report. Invariant: each number is counted
over whole sets, and each list names the first places in the order of the files.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import counted, shortened
from isobatch.training.data.dataset import LabelledTexts
from isobatch.training.data.equal_texts import Groups
from isobatch.training.data.label_scheme import LabelScheme
from isobatch.training.data.targets import Targets, describe_target
from isobatch.training.recipe import TrainingTask
from isobatch.types import Encoding, TextInput

MAX_LISTED = 20
"""Of a list of places or texts; beyond that they are only counted."""

NOT_NAMES = ("nan", "null", "n/a", "na", "<na>", "nil")
"""Texts that tools write for a missing value; "none" is a label in many data sets."""

RARE_SHARE = 0.05
"""A class with a smaller share of the texts is worth a note: accuracy hardly depends on it."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An equal text with different labels; the first few of its places, each with its label."""

    text: TextInput
    labels: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Numbers of texts, of labels, and of what is suspicious about them.

    Texts are equal if they differ in case and white space alone. num_duplicates: of the training
    files' texts that equal an earlier one. num_shared: of validation texts that equal a training
    text, none where the split was made here; shared_places: the first of these. num_contradictions:
    of different texts that have several labels; contradictions: the first of these. num_unlabelled,
    num_empty: of rows that were left out. train_labels, validation_labels: texts of each label,
    empty for a regression.
    """

    task: TrainingTask
    num_train: int
    num_validation: int
    split_share: float | None
    num_duplicates: int
    num_shared: int
    shared_places: tuple[str, ...]
    num_contradictions: int
    contradictions: tuple[Contradiction, ...]
    num_unlabelled: int
    num_empty: int
    train_labels: dict[str, int]
    validation_labels: dict[str, int]
    files: tuple[dict[str, Any], ...]
    validation_files: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def notes(self, *, has_class_weights: bool = False) -> list[str]:
        """Return sentences about what a user should look at."""
        said = []
        for number, reason in (
            (self.num_unlabelled, "without a label"),
            (self.num_empty, "with an empty text"),
        ):
            if number:
                said.append(f"{counted(number, 'row')} {reason} left out")
        if self.num_duplicates:
            said.append(
                f"{counted(self.num_duplicates, 'text')} equal to an earlier one, but for case and "
                "white space"
            )
        if self.num_shared:
            said.append(
                f"{counted(self.num_shared, 'validation text')} also among the training texts, so "
                f"the validation results are too good; the first: {self.shared_places[0]}"
            )
        if self.num_contradictions:
            first = self.contradictions[0]
            pairs = zip(first.places, first.labels, strict=True)
            said.append(
                f"{counted(self.num_contradictions, 'text')} with different labels; the first: "
                + ", ".join(f"{place} ({label})" for place, label in list(pairs)[:3])
            )
        return said + self._notes_on_labels(has_class_weights) + self._notes_on_names()

    def _notes_on_labels(self, has_class_weights: bool) -> list[str]:
        said = []
        if self.task == "single" and not has_class_weights:
            rarest = min(self.train_labels, key=lambda label: self.train_labels[label])
            share = self.train_labels[rarest] / self.num_train
            if share < RARE_SHARE:
                said.append(
                    f"the label {rarest!r} has {share:.1%} of the training texts; consider "
                    "--class-weights balanced, and a macro F1 as --metric"
                )
        if absent := [label for label, number in self.validation_labels.items() if not number]:
            said.append(
                f"no validation text has the label {absent[0]!r}"
                + (f", nor {counted(len(absent) - 1, 'other')}" if len(absent) > 1 else "")
            )
        return said

    def _notes_on_names(self) -> list[str]:
        """Return sentences about labels that are probably not meant as they are."""
        said = []
        folded: dict[str, str] = {}
        for label in self.train_labels:
            other = folded.setdefault(label.casefold(), label)
            if other != label:
                said.append(f"the labels {other!r} and {label!r} differ in case alone")
            if label.casefold() in NOT_NAMES:
                said.append(f"{label!r} is read as the name of a label, not as a missing one")
            for mark in ";|,":
                parts = [part.strip() for part in label.split(mark)]
                if len(parts) > 1 and all(part in self.train_labels for part in parts):
                    said.append(
                        f"the label {label!r} looks like several; split it with --label-separator "
                        f"{shlex.quote(mark)}"
                    )
        return said


def collect_facts(
    scheme: LabelScheme,
    train: tuple[LabelledTexts, Targets],
    validation: tuple[LabelledTexts, Targets] | None,
    held_out: NDArray[np.int64],
    split_share: float | None,
    groups: Groups,
) -> DataFacts:
    """Count; `held_out` are the indices of the validation texts among those of `train`.

    groups: of the texts of `train`, then of those of `validation`, which is a set of its own.
    """
    texts, targets = train
    size = len(texts)
    shared = np.flatnonzero(np.isin(groups[size:], groups[:size]))
    is_held = np.zeros(size, bool)
    is_held[held_out] = True
    held = targets[is_held] if validation is None else validation[1]
    others = validation[0] if validation else None
    sets = [texts, *([others] if others else [])]
    all_targets = np.concatenate([targets, *([validation[1]] if validation else [])])
    number, listed = _contradictions(scheme, sets, all_targets, groups)
    return DataFacts(
        task=scheme.task,
        num_train=size - int(is_held.sum()),
        num_validation=len(held),
        split_share=split_share,
        num_duplicates=size - len(np.unique(groups[:size])),
        num_shared=len(shared),
        shared_places=tuple(others.places[row] for row in shared[:MAX_LISTED]) if others else (),
        num_contradictions=number,
        contradictions=listed,
        num_unlabelled=sum(each.num_unlabelled for each in sets),
        num_empty=sum(each.num_empty for each in sets),
        train_labels=_label_counts(scheme, targets[~is_held]),
        validation_labels=_label_counts(scheme, held),
        files=tuple(dict(each) for each in texts.files),
        validation_files=tuple(dict(each) for each in others.files) if others else (),
    )


def _label_counts(scheme: LabelScheme, targets: Targets) -> dict[str, int]:
    if scheme.task == "regression":
        return {}
    counts = np.count_nonzero(targets, axis=0).tolist()
    return dict(zip(scheme.labels, counts, strict=True))


def _contradictions(
    scheme: LabelScheme, sets: Sequence[LabelledTexts], targets: Targets, groups: Groups
) -> tuple[int, tuple[Contradiction, ...]]:
    """Return the number of groups whose texts have different targets, and the first of them."""
    _, firsts = np.unique(groups, return_index=True)
    differs = (targets != targets[firsts[groups]]).any(axis=1)
    contradicted = np.unique(groups[differs])
    order = contradicted[np.argsort(firsts[contradicted])][:MAX_LISTED]
    texts = [text for each in sets for text in each.texts]
    places = [place for each in sets for place in each.places]
    members: dict[int, list[int]] = {int(group): [] for group in order}
    for row in np.flatnonzero(np.isin(groups, order)).tolist():
        members[int(groups[row])].append(row)
    listed = []
    for rows in members.values():
        text = texts[rows[0]]
        shown = _first_of_each_label(rows, targets)
        listed.append(
            Contradiction(
                shortened(text)
                if isinstance(text, str)
                else (shortened(text[0]), shortened(text[1])),
                tuple(describe_target(scheme, targets[row]) for row in shown),
                tuple(places[row] for row in shown),
            )
        )
    return len(contradicted), tuple(listed)


def _first_of_each_label(rows: Sequence[int], targets: Targets) -> list[int]:
    """Return the first row of each different target, in order, MAX_LISTED at most."""
    first: dict[bytes, int] = {}
    for row in rows:
        first.setdefault(targets[row].tobytes(), row)
    return list(first.values())[:MAX_LISTED]


@dataclass(frozen=True, slots=True)
class TruncationFacts:
    """How many texts are longer than the model reads; the first few of their places."""

    max_tokens: int
    num_texts: int
    num_truncated: int
    places: tuple[str, ...]

    def note(self) -> str | None:
        """Return a sentence; None if no text is cut."""
        if not self.num_truncated:
            return None
        return (
            f"{self.num_truncated:,} of {counted(self.num_texts, 'text')} cut at "
            f"{self.max_tokens} tokens; the first: {self.places[0]}"
        )


def count_truncated(
    encodings: Sequence[Encoding], places: Sequence[str], max_tokens: int
) -> TruncationFacts:
    """Count the texts whose encodings were cut at `max_tokens`."""
    cut = [place for each, place in zip(encodings, places, strict=True) if each.truncated]
    return TruncationFacts(max_tokens, len(encodings), len(cut), tuple(cut[:MAX_LISTED]))

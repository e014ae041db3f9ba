"""CandidateLabels: the labels of a zero-shot classification, and the hypothesis that each makes.

And the labels of the checkpoint that they are scored by, found by their names. Invariant: a label
is what the caller gave, whole: commas do not separate labels.
"""

import string
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from isobatch.checkpoint.text_encoder import input_error
from isobatch.errors import OptionError

DEFAULT_TEMPLATE = "This example is {}."

LabelLists = Sequence[str] | Sequence[Sequence[str]]
"""Labels for all texts, or a list of labels for each."""


@dataclass(frozen=True, slots=True)
class CandidateLabels:
    """Labels, and how they are asked for.

    template: has {} in the place of the label, and doubled braces for other ones, as
    `str.format` has. multi_label: each label is true or false by itself. Raises OptionError for
    labels or a template that are not valid.
    """

    labels: tuple[str, ...]
    template: str = DEFAULT_TEMPLATE
    multi_label: bool = False

    def __post_init__(self) -> None:
        _check_labels(self.labels)
        _check_template(self.template)
        if not isinstance(self.multi_label, bool):
            raise OptionError(f"multi_label must be True or False, got {self.multi_label!r}")

    @property
    def are_independent(self) -> bool:
        """Whether each label is scored without the others: also a single label."""
        return self.multi_label or len(self.labels) == 1

    def hypotheses(self) -> list[str]:
        """Return the hypothesis of each label."""
        return [self.template.format(label) for label in self.labels]


def _check_labels(labels: Sequence[object]) -> None:
    if not labels:
        raise OptionError("labels: the list is empty. Pass at least one label")
    known: set[str] = set()
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise OptionError(
                f"labels: label {index} must be a text that is not empty, got {label!r}"
            )
        if error := input_error(label, index):
            raise OptionError(f"labels: label {index}: {error.reason}")
        if label in known:
            raise OptionError(f"labels: {label!r} appears twice. Pass each label once")
        known.add(label)


def _check_template(template: object) -> None:
    problem = None
    if not isinstance(template, str):
        problem = "is not a text"
    elif error := input_error(template, 0):
        problem = error.reason
    else:
        try:
            fields = [each for each in string.Formatter().parse(template) if each[1] is not None]
        except ValueError as error:
            problem = f"cannot be read ({error})"
        else:
            if len(fields) != 1 or fields[0][1:] != ("", "", None):
                problem = "must have {} once, in the place of the label"
    if problem:
        raise OptionError(
            f'template: {template!r} {problem}. Write one such as "{DEFAULT_TEMPLATE}", with '
            "braces doubled that are not for the label"
        )


def read_labels_of_texts(
    labels: LabelLists, num_texts: int, *, single: bool
) -> list[tuple[str, ...]]:
    """Return the labels of each text, from one list for all or from a list for each.

    single: the caller gave one text, without a list. Raises OptionError for labels in another form.
    """
    given = _listed(labels)
    nested = [not isinstance(each, str) and isinstance(each, Iterable) for each in given]
    if not any(nested):
        _check_labels(given)
        return [tuple(given)] * num_texts
    if single or not all(nested):
        raise OptionError(
            "labels: expected a list of texts, or a list of such lists, one for each of a list of "
            "texts"
        )
    if len(given) != num_texts:
        raise OptionError(
            f"labels: the number of lists is {len(given)}, and that of texts {num_texts}. Pass one "
            "list for each text, or a single list for all"
        )
    lists = [tuple(_listed(each)) for each in given]
    for each in lists:
        _check_labels(each)
    return lists


def _listed(labels: object) -> list[Any]:
    if isinstance(labels, str):
        raise OptionError(
            f"labels: expected a list, got the text {labels[:40]!r}. Write [{labels[:40]!r}]; "
            "commas do not separate labels"
        )
    if isinstance(labels, bytes | Mapping | Set) or not isinstance(labels, Iterable):
        raise OptionError(f"labels: expected a list of texts, got {type(labels).__name__}")
    return list(labels)


@dataclass(frozen=True, slots=True)
class NliLabels:
    """The indices of a checkpoint's labels for entailment and for contradiction."""

    entailment: int
    contradiction: int


def find_nli_labels(labels: Sequence[str]) -> NliLabels | None:
    """Find the labels of natural language inference by name, in any case; None without them.

    Entailment begins with "entail", contradiction with "contradict"; of two labels, the other one
    is contradiction, such as "not_entailment".
    """
    entailing = _beginning(labels, "entail")
    contradicting = _beginning(labels, "contradict")
    if len(labels) == 2 and len(entailing) == 1:
        contradicting = [1 - entailing[0]]
    if len(entailing) != 1 or len(contradicting) != 1:
        return None
    return NliLabels(entailing[0], contradicting[0])


def _beginning(labels: Sequence[str], start: str) -> list[int]:
    return [index for index, label in enumerate(labels) if label.lower().startswith(start)]

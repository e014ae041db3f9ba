"""The same metrics over parts of the rows: one evaluator for all, and one for each slice."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from isobatch.errors import OptionError
from isobatch.evaluation.evaluator import NUM_MISTAKES, Evaluator
from isobatch.evaluation.labels import is_missing, spelled
from isobatch.evaluation.records import Evaluation, Example, Slice

MAX_SLICES = 200
NO_VALUE = "(no value)"

_ALWAYS = ("value", "num_texts", "num_errors", "num_unlabelled", "undefined")
_METRICS = [each.name for each in fields(Slice) if each.name not in _ALWAYS]


class SlicedEvaluator:
    """An Evaluator that also keeps one for each slice, by the values of the column `by`."""

    def __init__(
        self, labels: Sequence[str], *, num_mistakes: int = NUM_MISTAKES, by: str | None = None
    ) -> None:
        self._labels = labels
        self._whole = Evaluator(labels, num_mistakes=num_mistakes)
        self._by = by
        self._parts: dict[str, Evaluator] = {}

    def add(self, example: Example) -> None:
        """Count one prediction; errors as in Evaluator.add."""
        for each in self._evaluators(example.slice):
            each.add(example)

    def add_error(self, place: str, reason: str, slice: str | None = None) -> None:
        """Count a row that could not be classified."""
        for each in self._evaluators(slice):
            each.add_error(place, reason)

    def add_unlabelled(self, slice: str | None = None) -> None:
        """Count a row that is left out because it has no label."""
        for each in self._evaluators(slice):
            each.add_unlabelled()

    def finish(self, facts: Mapping[str, str], notes: Sequence[str] = ()) -> Evaluation:
        """Compute the Evaluation; errors as in Evaluator.finish."""
        whole = self._whole.finish(facts)
        parts = tuple(self._slice(value) for value in sorted(self._parts))
        return replace(whole, notes=tuple(notes), slice_column=self._by, slices=parts)

    def _evaluators(self, slice: str | None) -> list[Evaluator]:
        if slice is None:
            return [self._whole]
        if slice not in self._parts:
            self._parts[slice] = Evaluator(self._labels, num_mistakes=0)
        return [self._whole, self._parts[slice]]

    def _slice(self, value: str) -> Slice:
        part = self._parts[value]
        found = part.finish() if part.num_texts else None
        metrics = {name: getattr(found, name, None) for name in _METRICS}
        undefined = dict.fromkeys(_METRICS, "no row could be evaluated")
        return Slice(
            value=value,
            num_texts=part.num_texts,
            num_errors=part.num_errors,
            num_unlabelled=part.num_unlabelled,
            undefined=found.undefined if found else undefined,
            **metrics,
        )


def slice_of(cell: object) -> str:
    """Return the value that names the slice of a row."""
    return NO_VALUE if is_missing(cell) else spelled(cell).strip()


def check_slices(values: Sequence[str], by: str) -> None:
    """OptionError for a column with too many different values."""
    if len(values) > MAX_SLICES:
        raise OptionError(
            f"--by {by}: the column has more than {MAX_SLICES} different values, such as "
            f"{values[0]!r} and {values[1]!r}. Choose a column with fewer, such as a language"
        )

"""RowTally: counts the rows of an evaluation that has no labels, and keeps the first errors."""

from collections.abc import Mapping, Sequence
from typing import Any

from isobatch.drawing.display_text import counted
from isobatch.errors import InputError
from isobatch.evaluation.evaluator import NUM_ERRORS
from isobatch.evaluation.records import RowError


class RowTally:
    """Numbers of rows so far."""

    def __init__(self) -> None:
        self.num_texts = self.num_unlabelled = self.num_truncated = self.num_empty = 0
        self.num_errors = self.num_tokens = 0
        self._errors: list[RowError] = []

    def add(self, *, truncated: bool, empty: bool, num_tokens: int = 0) -> None:
        """Count a row that was computed."""
        self.num_texts += 1
        self.num_tokens += num_tokens
        self.num_truncated += truncated
        self.num_empty += empty

    def add_error(self, place: str, reason: str) -> None:
        """Count a row, or a query, that is in no metric."""
        self.num_errors += 1
        if len(self._errors) < NUM_ERRORS:
            self._errors.append(RowError(place, reason))

    def fields(self, facts: Mapping[str, str] | None, notes: Sequence[str] = ()) -> dict[str, Any]:
        """Return the fields of EvaluatedRows."""
        return {
            "num_texts": self.num_texts,
            "num_errors": self.num_errors,
            "num_unlabelled": self.num_unlabelled,
            "num_truncated": self.num_truncated,
            "num_empty": self.num_empty,
            "errors": tuple(self._errors),
            "facts": dict(facts or {}),
            "notes": tuple(notes),
        }

    def absence(self, what: str) -> InputError:
        """Return the error for an evaluation of no row, "pair" or "query"."""
        if not self._errors:
            return InputError(f"no {what} to evaluate. Pass a file with at least one row")
        first = self._errors[0]
        return InputError(
            f"no {what} could be evaluated ({counted(self.num_errors, 'error')}); the first, "
            f"{first.place}: {first.reason}"
        )

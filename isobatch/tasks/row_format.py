"""Row formats: the columns of a file that hold the predictions of a task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

PredictionT = TypeVar("PredictionT")


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a file job adds: its name, the kind of its values, and the size of vectors."""

    name: str
    kind: Literal["text", "number", "integer", "numbers", "flag", "vector", "entities"]
    size: int | None = None


class RowFormat(ABC, Generic[PredictionT]):
    """How predictions become columns of a file. Plain data, so that it can be pickled.

    raw: also the model's own outputs. all_scores: also a score for every label.
    """

    labels: tuple[str, ...]

    @abstractmethod
    def columns(self, *, raw: bool, all_scores: bool) -> tuple[Column, ...]:
        """List the columns that are added, in the order of `values`."""

    @abstractmethod
    def values(self, prediction: PredictionT, *, raw: bool, all_scores: bool) -> list[object]:
        """Return the values of one prediction for `columns` with the same options."""

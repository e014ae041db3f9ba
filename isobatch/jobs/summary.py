"""What a job did so far: counts that add up over chunks, and what can be told from them.

It knows numbers only. Invariant: counts of chunks may be added in any order.
"""

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields


@dataclass(frozen=True, slots=True)
class Counts:
    """Of some rows: how many, with errors, cut; answered from the cache; tokens and spared pads."""

    rows: int = 0
    errors: int = 0
    truncated: int = 0
    duplicates: int = 0
    tokens: int = 0
    pads: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Counts") -> "Counts":
        labels = Counter(self.labels) + Counter(other.labels)
        return self._with(other, operator.add, labels)

    def __sub__(self, other: "Counts") -> "Counts":
        labels = Counter(self.labels) - Counter(other.labels)
        return self._with(other, operator.sub, labels)

    def _with(
        self, other: "Counts", operation: Callable[[int, int], int], labels: Mapping[str, int]
    ) -> "Counts":
        numbers = {
            each.name: operation(getattr(self, each.name), getattr(other, each.name))
            for each in fields(self)
            if each.name != "labels"
        }
        return Counts(**numbers, labels=dict(labels))

    @property
    def padding_avoided(self) -> float:
        """Share of pads in what batches of 32 in the order of the file would compute, 0 to 1."""
        return self.pads / (self.pads + self.tokens) if self.tokens else 0.0

    def as_dict(self) -> dict[str, object]:
        """The counts as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands: `kept` was there when it began, `done` came since, in `seconds`."""

    num_rows: int
    kept: Counts
    done: Counts
    seconds: float

    def followed_by(self, other: "Progress") -> "Progress":
        """Where two jobs stand together, of which `num_rows` already counts both."""
        return Progress(
            self.num_rows,
            self.kept + other.kept,
            self.done + other.done,
            self.seconds + other.seconds,
        )

    @property
    def total(self) -> Counts:
        """Of the whole output so far."""
        return self.kept + self.done

    @property
    def rows_per_second(self) -> float:
        return self.done.rows / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.done.tokens / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None before there is any."""
        remaining = self.num_rows - self.total.rows
        return remaining / self.rows_per_second if self.done.rows else None

    def as_dict(self) -> dict[str, object]:
        """The whole job's counts and this run's speed, as plain values for JSON."""
        return {
            **self.total.as_dict(),
            "padding_avoided": self.total.padding_avoided,
            "rows_there_already": self.kept.rows,
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
            "tokens_per_second": self.tokens_per_second,
        }

"""Row counts that add up over chunks, and the progress derived from them."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Number of rows, errors, truncated and empty texts, duplicates, tokens, pads, and labels.

    windowed: texts that were read in several windows.
    """

    rows: int = 0
    errors: int = 0
    truncated: int = 0
    windowed: int = 0
    empty: int = 0
    duplicates: int = 0
    tokens: int = 0
    pads: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "RowCounts") -> "RowCounts":
        return self._combine(other, 1, Counter(self.labels) + Counter(other.labels))

    def __sub__(self, other: "RowCounts") -> "RowCounts":
        return self._combine(other, -1, Counter(self.labels) - Counter(other.labels))

    def _combine(self, other: "RowCounts", sign: int, labels: Mapping[str, int]) -> "RowCounts":
        numbers = {
            each.name: getattr(self, each.name) + sign * getattr(other, each.name)
            for each in fields(self)
            if each.name != "labels"
        }
        return RowCounts(**numbers, labels=dict(labels))

    @property
    def padding_avoided(self) -> float:
        """Share of pads in what batches of 32 in the order of the file would compute, 0 to 1."""
        return self.pads / (self.pads + self.tokens) if self.tokens else 0.0


@dataclass(frozen=True, slots=True)
class ScoringProgress:
    """Rows `saved` by earlier runs, and rows `done` by this run in `seconds`, of `num_rows`."""

    num_rows: int
    saved: RowCounts
    done: RowCounts
    seconds: float

    def followed_by(self, other: "ScoringProgress") -> "ScoringProgress":
        """Add the progress of the next job; `num_rows` already counts both."""
        return ScoringProgress(
            self.num_rows,
            self.saved + other.saved,
            self.done + other.done,
            self.seconds + other.seconds,
        )

    @property
    def total(self) -> RowCounts:
        """Counts of the whole output so far."""
        return self.saved + self.done

    @property
    def rows_per_second(self) -> float:
        return self.done.rows / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.done.tokens / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate at the speed so far; None before the first row."""
        remaining = self.num_rows - self.total.rows
        return remaining / self.rows_per_second if self.done.rows else None

    def as_dict(self) -> dict[str, object]:
        """Return the counts of the whole output and the speed of this run, for JSON."""
        return {
            **asdict(self.total),
            "padding_avoided": self.total.padding_avoided,
            "rows_there_already": self.saved.rows,
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
            "tokens_per_second": self.tokens_per_second,
        }


ProgressCallback = Callable[[ScoringProgress], None]

"""Progress of an audit, for whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` probes are done; `probe` is the one that runs now, "" at the end."""

    done: int
    total: int
    probe: str


OnProgress = Callable[[Progress], None]

"""Progress of a job in words, and where it is shown.

It knows what to show and not what is done.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isobatch.cli.display import Display, open_display

if TYPE_CHECKING:
    from isobatch.jobs import Progress


class ProgressDisplay:
    """Where the progress of a job is shown. `last` is what was shown last."""

    def __init__(self, display: Display) -> None:
        self.last: Progress | None = None
        self._display = display

    def show(self, progress: "Progress") -> None:
        """Show where the work stands, and once, what was there when it began."""
        already = self.last.kept.rows if self.last else 0
        self.last = progress
        if progress.kept.rows > already:
            rows = f"{progress.kept.rows:,} of {progress.num_rows:,} rows"
            self.say(f"{rows} are there already")
        left = time_left(progress)
        self._display.draw(progress.total.rows, progress.num_rows, describe(progress), left)

    def say(self, message: str) -> None:
        """Say something once."""
        self._display.say(message)


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[ProgressDisplay]:
    """A display that suits stderr."""
    with open_display(quiet=quiet, beginning="reading") as display:
        yield ProgressDisplay(display)


def describe(progress: "Progress") -> str:
    """Where it stands, and how fast it goes."""
    total = progress.total
    parts = [f"{total.rows:,} of {progress.num_rows:,} rows"]
    if progress.done.rows:
        parts += [
            f"{progress.rows_per_second:,.0f} rows/s",
            f"{progress.tokens_per_second:,.0f} tokens/s",
            f"{total.padding_avoided:.0%} padding avoided",
        ]
    return " · ".join(parts)


def time_left(progress: "Progress") -> str:
    """How long it will take; nothing before it is known."""
    left = progress.seconds_left
    return "" if left is None else f"{_duration(left)} left"


def summarise(progress: "Progress", max_tokens: int) -> str:
    """The closing lines: everything that was done, and how it was."""
    total = progress.total
    labels = sorted(total.labels.items(), key=lambda item: (-item[1], item[0]))
    already = f", {progress.kept.rows:,} of them were there already" if progress.kept.rows else ""
    speed = f"{progress.rows_per_second:,.0f} rows/s, {progress.tokens_per_second:,.0f} tokens/s; "
    lines = [
        f"{total.rows:,} rows in {_duration(progress.seconds)}{already}",
        f"{speed if progress.done.rows else ''}{total.tokens:,} tokens, "
        f"{total.padding_avoided:.0%} padding avoided",
        f"{total.errors:,} with an error, {total.truncated:,} cut to {max_tokens} tokens, "
        f"{total.duplicates:,} duplicates not computed again",
        "labels: " + (", ".join(f"{label} {count:,}" for label, count in labels) or "none"),
    ]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    """As people say it: 0.4 s, 37 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"

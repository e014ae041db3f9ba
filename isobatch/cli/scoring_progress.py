"""Progress and summary of scoring, in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isobatch.cli.display import Display, open_display
from isobatch.drawing.display_text import counted

if TYPE_CHECKING:
    from isobatch.scoring import ScoringProgress


class ProgressDisplay:
    """Shows progress; `last` is the latest one shown."""

    def __init__(self, display: Display) -> None:
        self.last: ScoringProgress | None = None
        self._display = display

    def show(self, progress: "ScoringProgress") -> None:
        """Show progress, and once the rows that earlier runs saved."""
        before = self.last.saved.rows if self.last else 0
        self.last = progress
        if progress.saved.rows > before:
            self.say(
                f"resuming: {progress.saved.rows:,} of "
                f"{counted(progress.num_rows, 'row is', 'rows are')} saved"
            )
        left = progress.seconds_left
        self._display.draw(
            progress.total.rows,
            progress.num_rows,
            describe(progress),
            "" if left is None else f"{format_duration(left)} left",
        )

    def say(self, message: str) -> None:
        """Show a message once."""
        self._display.say(message)


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[ProgressDisplay]:
    """Open a display on stderr."""
    with open_display(quiet=quiet, beginning="reading") as display:
        yield ProgressDisplay(display)


def describe(progress: "ScoringProgress") -> str:
    """Describe rows done and speed."""
    total = progress.total
    parts = [f"{total.rows:,} of {counted(progress.num_rows, 'row')}"]
    if progress.done.rows:
        parts += [
            f"{progress.rows_per_second:,.0f} rows/s",
            f"{progress.tokens_per_second:,.0f} tokens/s",
            f"{total.padding_avoided:.0%} padding avoided",
        ]
    return " · ".join(parts)


COUNTED = {
    "text-classification": "labels",
    "zero-shot-classification": "labels",
    "token-classification": "entities",
}
"""The name of the counted labels, of tasks that have any."""


def summarize(
    progress: "ScoringProgress", max_tokens: int, digest: str, task: str = "text-classification"
) -> str:
    """Write the closing lines: rows, speed, errors, labels, and the digest of the outputs."""
    total = progress.total
    labels = sorted(total.labels.items(), key=lambda item: (-item[1], item[0]))
    saved = f", {progress.saved.rows:,} of them from earlier runs" if progress.saved.rows else ""
    speed = f"{progress.rows_per_second:,.0f} rows/s, {progress.tokens_per_second:,.0f} tokens/s; "
    windows = f"{total.windowed:,} read in windows, " if total.windowed else ""
    lines = [
        f"{counted(total.rows, 'row')} in {format_duration(progress.seconds)}{saved}",
        f"{speed if progress.done.rows else ''}{counted(total.tokens, 'token')}, "
        f"{total.padding_avoided:.0%} padding avoided",
        f"{total.errors:,} with an error, {total.empty:,} empty or white space, "
        f"{total.truncated:,} truncated to {max_tokens} tokens, {windows}"
        f"{counted(total.duplicates, 'duplicate')} not computed again",
    ]
    if task in COUNTED:
        found = ", ".join(f"{label} {count:,}" for label, count in labels) or "none"
        lines.append(f"{COUNTED[task]}: {found}")
    lines.append(f"digest: {digest}")
    return "\n".join(lines)


def format_duration(seconds: float) -> str:
    """Format like 0.4 s, 37 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"

"""Progress on stderr: a bar on a terminal, elsewhere a line every so often, nothing if quiet.

It knows what to show and not what is done.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from isobatch.jobs import Progress

SECONDS_BETWEEN_LINES = 10.0


class ProgressDisplay:
    """Where progress is shown; this one is silent. `last` is what was shown last."""

    def __init__(self) -> None:
        self.last: Progress | None = None

    def show(self, progress: "Progress") -> None:
        """Show where the work stands, and once, what was there when it began."""
        already = self.last.kept.rows if self.last else 0
        self.last = progress
        if progress.kept.rows > already:
            rows = f"{progress.kept.rows:,} of {progress.num_rows:,} rows"
            self.say(f"{rows} are there already")
        self._draw(progress)

    def say(self, message: str) -> None:
        """Say something once."""

    def _draw(self, progress: "Progress") -> None:
        """Show the present state."""


class _Lines(ProgressDisplay):
    """A line now and then, for logs."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = time.monotonic()

    def say(self, message: str) -> None:
        typer.echo(f"isobatch: {message}", err=True)

    def _draw(self, progress: "Progress") -> None:
        now = time.monotonic()
        if now - self._drawn >= SECONDS_BETWEEN_LINES:
            self._drawn = now
            left = time_left(progress)
            self.say(describe(progress) + (f" · {left}" if left else ""))


class _Bar(ProgressDisplay):
    """A bar, for people."""

    def __init__(self, bar: "Bar") -> None:
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("reading", total=None, left="")

    def say(self, message: str) -> None:
        self._bar.console.print(f"isobatch: {message}", markup=False, highlight=False)

    def _draw(self, progress: "Progress") -> None:
        self._bar.update(
            self._task,
            total=progress.num_rows,
            completed=progress.total.rows,
            description=describe(progress),
            left=time_left(progress),
        )


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[ProgressDisplay]:
    """A display that suits stderr; a bar is gone when the context ends."""
    if quiet:
        yield ProgressDisplay()
    elif sys.stderr.isatty():
        with _bar() as bar:
            yield _Bar(bar)
    else:
        yield _Lines()


def _bar() -> "Bar":
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class TwoLines(Progress):
        """The bar above, what there is to say below it: together they need too wide a terminal."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                yield Text(task.description, no_wrap=True, overflow="ellipsis")

    columns = (
        SpinnerColumn(),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    return TwoLines(*columns, console=Console(stderr=True), transient=True)


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

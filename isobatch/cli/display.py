"""Where progress is shown: a bar on a terminal, elsewhere a line every so often, nothing if quiet.

It knows nothing of what is done. Invariant: all of it goes to stderr, and a bar is gone when its
context ends.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Where progress is shown; this one is silent."""

    def say(self, message: str) -> None:
        """Say something once."""

    def draw(self, done: int, total: int, words: str, left: str = "") -> None:
        """Show the present state: `done` of `total`, in `words`, and how long is `left`."""


class _Lines(Display):
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._drawn = time.monotonic()

    def say(self, message: str) -> None:
        typer.echo(f"isobatch: {message}", err=True)

    def draw(self, done: int, total: int, words: str, left: str = "") -> None:
        now = time.monotonic()
        if now - self._drawn >= SECONDS_BETWEEN_LINES:
            self._drawn = now
            self.say(f"{words} · {left}" if left else words)


class _Bar(Display):
    """A bar, for people."""

    def __init__(self, bar: "Bar", beginning: str) -> None:
        self._bar = bar
        self._task = bar.add_task(beginning, total=None, left="")

    def say(self, message: str) -> None:
        self._bar.console.print(f"isobatch: {message}", markup=False, highlight=False)

    def draw(self, done: int, total: int, words: str, left: str = "") -> None:
        self._bar.update(self._task, total=total, completed=done, description=words, left=left)


@contextmanager
def open_display(*, quiet: bool, beginning: str) -> Iterator[Display]:
    """A display that suits stderr; `beginning` stands beside a bar before there is progress."""
    if quiet:
        yield Display()
    elif sys.stderr.isatty():
        with _bar() as bar:
            yield _Bar(bar, beginning)
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

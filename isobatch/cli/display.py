"""Progress displays on stderr: a bar on a terminal, a line every ten seconds elsewhere, or none.

Invariant: the bar is removed when its context ends.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isobatch.cli.terminal_layout import say, wrapped

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0

SHORTEST_BAR, LONGEST_BAR = 8, 40
AROUND_BAR = 33
"""Columns that spinner, percentage, elapsed time and "12 min 5 s left" take, with their gaps."""


class Display:
    """A silent progress display. is_live: it is drawn again and again in the same place."""

    is_live = False

    def say(self, message: str) -> None:
        """Print a message."""

    def draw(self, done: int, total: int, text: str, left: str = "") -> None:
        """Show `done` of `total`, described by `text`, and the time `left`."""


class _Lines(Display):
    def __init__(self) -> None:
        self._drawn = time.monotonic()

    def say(self, message: str) -> None:
        say(f"isobatch: {message}", err=True)

    def draw(self, done: int, total: int, text: str, left: str = "") -> None:
        now = time.monotonic()
        if now - self._drawn >= SECONDS_BETWEEN_LINES:
            self._drawn = now
            self.say(f"{text} · {left}" if left else text)


class _Bar(Display):
    is_live = True

    def __init__(self, bar: "Bar", beginning: str) -> None:
        self._bar = bar
        self._task = bar.add_task(beginning, total=None, left="")

    def say(self, message: str) -> None:
        console = self._bar.console
        line = wrapped(f"isobatch: {message}", console.width)
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def draw(self, done: int, total: int, text: str, left: str = "") -> None:
        self._bar.update(self._task, total=total, completed=done, description=text, left=left)


@contextmanager
def open_display(*, quiet: bool, beginning: str) -> Iterator[Display]:
    """Open the display that suits stderr; `beginning` describes a bar before any progress."""
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
        """The bar above its description, which has two lines on a narrow terminal."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                yield Text(task.description, overflow="fold")

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=min(LONGEST_BAR, max(SHORTEST_BAR, console.width - AROUND_BAR))),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    return TwoLines(*columns, console=console, transient=True)

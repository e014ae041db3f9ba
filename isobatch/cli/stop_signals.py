"""Signals that end a command: one line, and 128 + the signal's number as the exit code.

The first one raises Stopped where the program is, so that files are closed and saved work is
reported; a second one, and one during an import, ends the process at once: modules in C++ abort or
replace an exception that passes through them. Work that must end a step first defers signals.
Invariant: a signal that is ignored when the command starts, as SIGHUP under nohup, stays ignored.
"""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

DESCRIPTIONS = {
    name: description
    for name, description in {
        "SIGINT": "interrupted",
        "SIGTERM": "terminated",
        "SIGHUP": "ended by a hangup of the terminal",
    }.items()
    if hasattr(signal, name)  # Windows has no SIGHUP
}

Handler = Callable[[int, FrameType | None], object] | int | None
"""A handler of a signal, as `signal.signal` returns it."""


class Stopped(SystemExit):
    """A signal ended the command. `announced`: its line has been written already."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.announced = False
        self.description = _described(number)


class StopSignals:
    """A context in which the signals raise Stopped; `received` is the number of the first one."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        self._before = _handle_signals(self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _put_back(self._before)

    @property
    def description(self) -> str:
        """Describe the signal that was received."""
        return _described(self.received)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received, number
        if again or _is_importing(frame):
            if not again:
                with suppress(OSError):  # stderr may be closed
                    os.write(2, f"isobatch: {self.description}\n".encode())
            os._exit(128 + number)
        raise Stopped(number)


class DeferredStop:
    """A context for work in steps: `should_stop` says that a signal was received.

    Signals are deferred from the first call of `should_stop` on, which is made after a step: before
    it there is no work to save, and they raise Stopped as ever. The first deferred one is recorded
    and said; a second one ends the process at once. `received`: the number of the first one.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _put_back(self._before)

    def should_stop(self) -> bool:
        """Return whether a signal asked for the end; the first call begins to defer signals."""
        if not self._before:
            self._before = _handle_signals(self._record)
        return bool(self.received)

    def stopped(self) -> Stopped:
        """Return the exception that ends the command as the received signal would."""
        stopped = Stopped(self.received)
        stopped.announced = True
        return stopped

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number
        said = "stopping after this step; repeat to end immediately"
        line = f"isobatch: {_described(number)}: {said}\n"
        with suppress(OSError):  # stderr may be closed
            os.write(2, line.encode())


def _handle_signals(handler: Callable[[int, FrameType | None], object]) -> dict[int, Handler]:
    """Set the handler of each signal that is not ignored; returns the handlers before."""
    before: dict[int, Handler] = {}
    if threading.current_thread() is threading.main_thread():
        for name in DESCRIPTIONS:
            number = getattr(signal, name)
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    return before


def _put_back(before: dict[int, Handler]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _described(number: int) -> str:
    return DESCRIPTIONS[signal.Signals(number).name]


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False

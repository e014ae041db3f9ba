"""The standard streams as they may be: closed, full, without a reader, in another encoding.

Invariant: no state of a stream ends in a traceback. Output that cannot be written is an error, one
line and its exit code; a reader of stdout that ends early (`| head`) ends the command, exit code 0,
but neither hides a verdict nor keeps files from being written (`printing`);
messages on stderr are dropped where nothing takes them. JSON stays JSON in every encoding: a
character that the encoding lacks is written as \\uXXXX, and off a terminal every character is,
unless the encoding is UTF-8.
"""

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from isobatch.errors import OptionError, TableError

_ESCAPE = "isobatch.escape"


class ReaderGone(SystemExit):
    """The reader of stdout has what it wanted; of a BrokenPipeError, click makes exit code 1."""

    def __init__(self) -> None:
        super().__init__(0)


@contextmanager
def printing() -> Iterator[None]:
    """Print to stdout, after which there is more to do: files to write, a verdict to exit with.

    A reader that has left ends the printing alone. Flushes, since a short text would otherwise be
    written at the end of the process, whose exit code that reader would change.
    """
    with suppress(ReaderGone):
        yield
        sys.stdout.flush()


class _Output(io.FileIO):
    """stdout: a failure to write is an error of ours, and the rest of the output is dropped."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            self._drop()
            raise ReaderGone from None
        except OSError as error:
            self._drop()
            raise TableError(f"stdout: cannot be written: {error.strerror}") from error

    def _drop(self) -> None:
        """Let the flush at the end of the process write into nothing."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)


class _Messages(io.FileIO):
    """stderr: a message that cannot be written is dropped, for there is no place to say so."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Closed:
    """stdin or stdout of a process that was started without it, as by `<&-` and `>&-`."""

    encoding = "utf-8"

    def __init__(self, error: OptionError | TableError) -> None:
        self._error = error

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        """Do nothing: nothing was written."""

    @property
    def buffer(self) -> NoReturn:
        raise self._error

    def write(self, text: str) -> NoReturn:
        raise self._error

    def read(self, size: int = -1) -> NoReturn:
        raise self._error


@contextmanager
def checked_streams() -> Iterator[None]:
    """Replace the streams of the process; streams that a caller of `main` has set stay."""
    before = sys.stdin, sys.stdout, sys.stderr
    if None in before:
        _fill_descriptors()
    nothing = None
    codecs.register_error(_ESCAPE, _escaped)
    if sys.stdin is None:
        sys.stdin = cast("TextIO", _Closed(OptionError("stdin is closed. Specify files or texts")))
    if sys.stdout is None:
        error = TableError("stdout: cannot be written: it is closed. Redirect it, e.g. > FILE")
        sys.stdout = cast("TextIO", _Closed(error))
    elif _is_file(sys.stdout, sys.__stdout__):
        sys.stdout = _reopened(sys.stdout, _Output)
    if sys.stderr is None:
        sys.stderr = nothing = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    elif _is_file(sys.stderr, sys.__stderr__):
        sys.stderr = _reopened(sys.stderr, _Messages)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before
        if nothing is not None:
            nothing.close()


def _fill_descriptors() -> None:
    """Open the missing ones of 0, 1 and 2: the next file would get the number, and the output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _is_file(stream: TextIO, original: TextIO | None) -> bool:
    """Whether this is the process's own stream, and not a console of Windows."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED the buffer is the file itself
    return stream is original and type(raw) is io.FileIO


def _reopened(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    """Wrap the descriptor of `stream` again, with the same settings."""
    is_terminal = stream.isatty()
    encoding = stream.encoding
    if kind is _Output and not is_terminal and codecs.lookup(encoding).name != "utf-8":
        encoding = "ascii"
    immediate = is_terminal or kind is _Messages or getattr(stream, "write_through", False)
    raw = kind(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=_ESCAPE, line_buffering=immediate
    )


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end

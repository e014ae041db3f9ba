"""The command line: one file per command; the only room that prints.

Options have environment variables here; others are read where they count: ISOBATCH_INSTRUCTION_SET
by the choice of compiled kernels, oneDNN's by the check of torch's settings.

Data goes to stdout, everything else to stderr. Exit codes: 0 success, also if the reader of stdout
ends early; 1 unexpected error, or an audit found a fault, 2 invalid usage or option, 3 invalid
text, 4 unusable checkpoint, 5 no batch-invariant kernel, 6 unreadable input file, or an output that
cannot be written, 7 a job that cannot start or resume, 8 a system that cannot be audited, 9 an
output that is not reproduced, 10 an output that cannot be verified, 11 training that cannot
continue, 129 hangup, 130 interrupted, 143 terminated.
"""

import atexit
import gc
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, TextIO

from isobatch.cli.standard_streams import checked_streams
from isobatch.cli.stop_signals import Stopped, StopSignals
from isobatch.errors import (
    EXIT_CODES,
    IsobatchError,
    IsobatchWarning,
    OptionError,
    TableError,
    exit_code,
    is_out_of_memory,
)

if TYPE_CHECKING:
    import typer

    app: typer.Typer

__all__ = ["app", "main"]

SPIN_COUNT = "5000"
"""Iterations that an idle OpenMP thread spins before it sleeps; libgomp's default 300,000 is 4 ms.

While another process is busy, spinning threads take the CPU from the threads that they wait for:
one text took 280 ms instead of 2.4. With 5,000 it takes 3 to 6 ms, and 2.4 on an idle machine.
"""

GC_THRESHOLD = 50_000
"""Objects between two garbage collections, instead of 700 (Python 3.11) or 2,000: each collection
of the oldest generation walks through all of torch, 80 ms, while a model is loaded."""


def __getattr__(name: str) -> object:
    """Import all commands when `app` is needed: `main` handles signals before that."""
    if name != "app":
        raise AttributeError(f"module 'isobatch.cli' has no attribute {name!r}")
    from isobatch.cli.commands import NAMES, make_app

    return make_app(NAMES)


def main() -> None:
    """Run the command line, and end the process with its exit code.

    An error that is foreseen, a signal and a failing stream are one line on stderr.
    """
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)  # else the last collections walk through all of torch: 0.5 s
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    with StopSignals() as signals, checked_streams():
        code = _run_command(signals)
    sys.exit(code)


def _run_command(signals: StopSignals) -> str | int | None:
    """Run the command and return its exit code, or the message of a SystemExit."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                _check_current_folder()
                from isobatch.cli.commands import make_app, needed_commands

                make_app(needed_commands(sys.argv[1:]))()
            finally:
                sys.stdout.flush()
    except SystemExit as ended:
        if isinstance(ended, Stopped) and not ended.announced:
            _say(ended.description)
        return ended.code
    except IsobatchError as error:
        _say(str(error))
        return exit_code(error)
    except BaseException as error:
        if signals.received:  # libraries replace an exception that a signal raised in their import
            _say(signals.description)
            return 128 + signals.received
        if (described := _describe_failure(error)) is None:
            raise
        _say(described)
        return EXIT_CODES[TableError] if isinstance(error, OSError) else 1
    return 0


def _check_current_folder() -> None:
    """Raise OptionError if the current folder was deleted: MKL would abort the process."""
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd() is the same with another import
    except OSError:
        raise OptionError("the current folder no longer exists. Run: cd /") from None


def _describe_failure(error: BaseException) -> str | None:
    """Describe a failure of the system in a line; None for what may be a fault of this program."""
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    if is_out_of_memory(error):
        return (
            "out of memory. Close other programs, or choose a smaller --max-batch-tokens (train: "
            "--blocks-in-flight 1)"
        )
    return None


def _say(message: str) -> None:
    sys.stderr.write(f"isobatch: {message}\n")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of this package as a line, and any other as Python does."""
    if issubclass(category, IsobatchWarning):
        _say(f"warning: {message}")
    else:
        shown: Any = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(shown)

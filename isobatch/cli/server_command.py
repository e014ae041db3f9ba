"""The command class of `isobatch serve`: its errors may be JSON lines.

Invariant: with --json-output each line that the command writes is a JSON object, those about
invalid options included.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

import typer

from isobatch.cli.environment import CheckedCommand
from isobatch.cli.server_logging import configure_logging
from isobatch.cli.stop_signals import DESCRIPTIONS, Stopped
from isobatch.errors import IsobatchError, exit_code

logger = logging.getLogger("isobatch.serve")

_INVALID_OPTION: Any = typer.BadParameter.__base__
"""click's UsageError, the base of all errors about options, which typer does not export."""

_TRUE = ("1", "true", "t", "yes", "y", "on")


class ServerCommand(CheckedCommand):
    """A command whose --json-output holds for errors in its options too."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Parse the options."""
        as_json = "--json-output" in args or (
            os.environ.get("ISOBATCH_JSON_OUTPUT", "").strip().lower() in _TRUE
        )
        with _reporting(as_json):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _reporting(ctx.params["json_output"]):
            return super().invoke(ctx)


@contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    """Log errors of the block as JSON lines, if wanted, and exit as the command line does."""
    if not as_json:
        yield
        return
    try:
        yield
    except IsobatchError as error:
        _fail(str(error), exit_code(error))
    except Stopped as stopped:
        configure_logging(as_json=True)
        logger.error(stopped.description)
        stopped.announced = True
        raise
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if isinstance(error, _INVALID_OPTION):
            _fail(error.format_message(), error.exit_code)
        configure_logging(as_json=True)
        logger.critical("unexpected error: %s: %s", type(error).__name__, error, exc_info=True)
        sys.exit(1)


def _fail(message: str, status: int) -> NoReturn:
    configure_logging(as_json=True)
    logger.error(message)
    sys.exit(status)


def exit_now() -> NoReturn:
    """End the process with 0 although one of its threads is computing a batch."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # full or closed
            stream.flush()
    os._exit(0)


@contextmanager
def exiting_on_signals() -> Iterator[None]:
    """End the process on SIGINT, SIGTERM and SIGHUP, also as a container's first process.

    That one has no default action: without a handler, `docker stop` would wait in vain. It ends at
    once: an exception would pass through libraries that are being imported, and C++ may abort.
    """

    def exit_now(number: int, frame: FrameType | None) -> None:
        logger.info("stopped by %s before the server was ready", signal.Signals(number).name)
        os._exit(128 + number)

    numbers = [getattr(signal, name) for name in DESCRIPTIONS]
    before = {
        each: signal.signal(each, exit_now)
        for each in numbers
        if signal.getsignal(each) != signal.SIG_IGN  # SIGHUP under nohup
    }
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

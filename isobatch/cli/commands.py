"""All commands, in one typer application; a command's module is imported with the command.

Imports of the other commands would take 0.1 s of every cold start.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module

import typer

from isobatch.cli.environment import LIBRARY, PREFIX, CheckedCommand
from isobatch.cli.help_pages import CommandList
from isobatch.cli.options import show_version

NAMES = (
    "audit", "classify", "convert", "embed", "evaluate", "info", "lesson", "precisions", "quantize",
    "run", "serve", "train", "verify",
)  # fmt: skip

_EXIT_CODES = (
    "Exit codes: 0 success · 1 unexpected error, or audit found a fault · 2 invalid usage · "
    "3 invalid text · 4 unusable checkpoint · 5 no batch-invariant kernel · 6 unreadable file · "
    "7 job cannot start or resume · 8 system cannot be audited, or fails on a text alone · "
    "9 output not reproduced · 10 output cannot be verified · 11 training cannot continue · "
    "129 hangup · 130 interrupted · 143 terminated. A reader that ends early (isobatch … | head) "
    "is a success: 0, where there is no verdict"
)


def needed_commands(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the commands that an application for these arguments needs: one, or all.

    All for help, for a name that does not exist, and where a variable of the environment could be a
    misspelt one of another command.
    """
    named = arguments[0] if arguments else ""
    others = any(name.startswith(PREFIX) and name not in LIBRARY for name in os.environ)
    return (named,) if named in NAMES and not others else NAMES


def make_app(names: Iterable[str]) -> typer.Typer:
    """Build the application with these commands."""
    app = typer.Typer(
        name="isobatch",
        cls=CommandList,
        help="Inference and training of text encoders in which the batch never changes the answer.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog=_EXIT_CODES,
    )
    for name in names:
        function, kind = _load(name)
        app.command(name, cls=kind)(function)
    app.callback()(show_version)
    return app


def _load(name: str) -> tuple[Callable[..., None], type[CheckedCommand]]:
    """Import the module of a command, which has its name: the command's function and class."""
    module = import_module(f"isobatch.cli.{name}")
    function: Callable[..., None] = getattr(module, name)
    kind = CheckedCommand
    if name == "serve":
        from isobatch.cli.server_command import ServerCommand

        kind = ServerCommand
    options = getattr(module, f"{name.title()}Command", None)
    if options is None:
        return function, kind
    from isobatch.cli.option_groups import command_of

    return command_of(options, function), kind

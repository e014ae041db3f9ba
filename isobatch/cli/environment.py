"""Environment variables of a command: one that is set must have a value and the name of an option.

click takes an empty variable as unset, so that `ISOBATCH_API_KEY=` would start an open server.
"""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from typer.core import TyperCommand

from isobatch.cli.help_pages import PlainHelp
from isobatch.errors import OptionError

PREFIX = "ISOBATCH_"
LIBRARY = {"ISOBATCH_INSTRUCTION_SET"}
"""Read by the package itself, not by an option."""
_KUBERNETES = ("ISOBATCH_PORT_", "ISOBATCH_SERVICE_")
"""Kubernetes sets these in each container next to a Service named isobatch."""


class CheckedCommand(PlainHelp, TyperCommand):
    """A command that checks its environment variables before it parses its options."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Check the environment, unless only help is wanted, and parse the options."""
        if not {"--help", "-h"} & {*args}:
            group = {} if parent is None else parent.command.commands
            everywhere = [option for each in group.values() for option in each.params]
            check_environment(_variables(self.params), _variables(everywhere), os.environ)
        return super().make_context(info_name, args, parent, **extra)


def _variables(options: Iterable[Any]) -> set[str]:
    return {str(option.envvar) for option in options if option.envvar}


def check_environment(own: set[str], known: set[str], environment: Mapping[str, str]) -> None:
    """Raise OptionError for an empty variable of a command, and for a misspelt name.

    own: the variables of its options. known: those of all commands.
    """
    known = known | LIBRARY
    for name, value in environment.items():
        if name in own and not value.strip():
            raise OptionError(f"{name} is empty. Give it a value, or remove it: unset {name}")
        if name in own and name == f"{PREFIX}PORT" and value.startswith("tcp://"):
            raise OptionError(
                f"{name} is {value}, which Kubernetes sets for a Service named isobatch. Set "
                "enableServiceLinks: false in the pod's spec, or set it to a number yourself"
            )
        if name.startswith(PREFIX) and name not in known and not name.startswith(_KUBERNETES):
            _check_spelling(name, known)


def _check_spelling(name: str, known: set[str]) -> None:
    words = {each.removeprefix(PREFIX): each for each in known}
    if near := get_close_matches(name.removeprefix(PREFIX), sorted(words), n=1, cutoff=0.75):
        raise OptionError(
            f"{name}: no such variable. Did you mean {words[near[0]]}? Otherwise remove it: "
            f"unset {name}"
        )

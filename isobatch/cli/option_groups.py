"""Commands with many options: a dataclass has them, and their help shows them in groups.

typer reads options from the signature of a function, which is made from the dataclass here; and it
has groups in its coloured help only, which this command line does not use.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

import typer

from isobatch.cli.environment import CheckedCommand

Options = TypeVar("Options")


class GroupedCommand(CheckedCommand):
    """A command that lists its options by their `rich_help_panel`; those without one are last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the groups, in the order of their first options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                panel = getattr(parameter, "rich_help_panel", None)
                name = "Arguments" if is_argument else panel or "Options"
                groups.setdefault(name, []).append(record)
        groups["Options"] = groups.pop("Options", [])
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def command_of(
    kind: type[Options], run: Callable[[typer.Context, Options], None]
) -> Callable[..., None]:
    """Return `run` as a function whose parameters are the fields of the dataclass `kind`.

    Fields are annotated and have defaults, as typer takes them from parameters.
    """

    def command(context: typer.Context, **values: Any) -> None:
        run(context, kind(**values))

    hints = get_type_hints(kind, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
        for field in fields(kind)  # type: ignore[arg-type]
    ]
    context = inspect.Parameter("context", keyword, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {"context": typer.Context, **hints}
    command.__name__, command.__doc__ = run.__name__, run.__doc__
    return command

"""Commands with many options: a dataclass has them.

typer reads options from the signature of a function, which is made from the dataclass here. An
option's `rich_help_panel` is the group in which help shows it (see help_pages).
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

import typer

Options = TypeVar("Options")


def command_of(
    kind: type[Options], run: Callable[[typer.Context, Options], None]
) -> Callable[..., None]:
    """Return `run` as a function whose parameters are the fields of the dataclass `kind`.

    Fields are annotated, as typer takes parameters; one without a default is required.
    """

    def command(context: typer.Context, **values: Any) -> None:
        run(context, kind(**values))

    hints = get_type_hints(kind, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(
            field.name,
            keyword,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)  # type: ignore[arg-type]
    ]
    context = inspect.Parameter("context", keyword, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {"context": typer.Context, **hints}
    command.__name__, command.__doc__ = run.__name__, run.__doc__
    return command

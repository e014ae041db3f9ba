"""Help pages that break between words only, also at the hyphen of an option, and cut nothing off.

typer wraps within option names, and within the names of variables on a narrow terminal; and it
shortens the description of a command in the list of all.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import typer.core

_GAP = 2
_NARROW, _SHORT_FIRST, _LONG_FIRST = 76, 16, 30
"""A page narrower than _NARROW has a first column of at most _SHORT_FIRST characters."""


class PlainHelp:
    """Help for typer's commands and groups; `formatter` is click's."""

    params: list[Any]
    help: str | None
    epilog: str | None

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the description."""
        _write_paragraphs(formatter, textwrap.dedent(self.help or "").strip(), indent=2)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write what follows the options."""
        _write_paragraphs(formatter, self.epilog or "", indent=2)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the groups of options, in the order of their first options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
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
                    _write_definitions(formatter, records)


class CommandList(PlainHelp, typer.core.TyperGroup):
    """All commands, each with the first sentence of its description."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, and then the commands, as typer does."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the name and the first sentence of each command."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            paragraph = (command.help or "").partition("\n\n")[0] if command else ""
            rows.append((name, " ".join(paragraph.split())))
        if rows:
            with formatter.section("Commands"):
                _write_definitions(formatter, rows)


def _write_paragraphs(formatter: Any, text: str, indent: int) -> None:
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            formatter.write_paragraph()
            margin = " " * (formatter.current_indent + indent)
            lines = _lines(" ".join(paragraph.split()), formatter.width - len(margin))
            formatter.write("".join(f"{margin}{line}\n" for line in lines))


def _write_definitions(formatter: Any, rows: Sequence[tuple[str, str]]) -> None:
    """Write terms and their descriptions in two columns; a long term is on a line of its own."""
    margin = " " * formatter.current_indent
    limit = _SHORT_FIRST if formatter.width < _NARROW else _LONG_FIRST
    first = min(max(len(term) for term, _ in rows), limit)
    indent = len(margin) + first + _GAP
    for term, description in rows:
        lines = _lines(description, formatter.width - indent)
        if len(term) > first:
            terms = _lines_of_choices(term, formatter.width - len(margin) - _GAP)
            formatter.write("".join(f"{margin}{line}\n" for line in terms))
        else:
            formatter.write(f"{margin}{term}{' ' * (first - len(term) + _GAP)}{lines.pop(0)}\n")
        formatter.write("".join(f"{' ' * indent}{line}\n" for line in lines))


def _lines_of_choices(term: str, width: int) -> list[str]:
    """Break a term also after the | between its choices, if it must be."""
    if len(term) <= width:
        return [term]
    return [
        line.replace("|\0 ", "|").rstrip("\0") for line in _lines(term.replace("|", "|\0 "), width)
    ]


def _lines(text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, max(width, 10), break_long_words=False, break_on_hyphens=False)
    return wrapped or [""]

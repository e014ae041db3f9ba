"""A command whose help has its options in groups, by the `rich_help_panel` of each.

typer has groups in its coloured help only, which this command line does not use.
"""

from typing import Any

from isobatch.cli.environment import CheckedCommand


class GroupedCommand(CheckedCommand):
    """A command that lists its options group by group; those without a group are last."""

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

"""An extension of griffe: the parameters that a docstring explains become a list.

Docstrings explain a parameter on a line that begins with its name and a colon. Invariant: only
names of the function's own parameters begin an item.
"""

import re
from typing import Any

import griffe


class ParameterLists(griffe.Extension):
    """Applied to each function when the reference is built."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        if func.docstring is not None:
            names = [each.name for each in func.parameters]
            func.docstring.value = list_parameters(func.docstring.value, names)


def list_parameters(docstring: str, names: list[str]) -> str:
    """Return the docstring with an item for each line that begins with one of the names."""
    begins = re.compile(rf"({'|'.join(map(re.escape, names))}): ") if names else None
    lines: list[str] = []
    in_list = False
    for line in docstring.splitlines():
        item = begins.match(line) if begins else None
        if item:
            lines += [*([] if in_list else [""]), f"- `{item[1]}`: {line[item.end() :]}"]
            in_list = True
        elif in_list and re.match(r"Raises |Warns |Returns |$", line):
            lines += ["", line]
            in_list = False
        else:
            lines.append(f"  {line}" if in_list else line)
    return "\n".join(lines)

"""Messages about a pipe: commands that would convert a file become filters before `isobatch`."""

import re
import shlex

STDIN = "stdin"

_PART = r"""(?:'[^']*'|"[^"]*"|[^'";])"""
_TOOLS = r"jq|sed|tr|bzip2|xz|lz4|gzip|zstd|python"
_AS_PARQUET = "use --format parquet, or name it NEW.parquet"
_OPTION_OR = re.compile(r"use --(?:compression|format) \w+, or ")


def without_options(message: str, *, only_lines: bool) -> str:
    """Leave the fix without an option where a message names both; for commands without options.

    only_lines: of such a command that reads lines alone, also from a file with another ending.
    """
    if only_lines:
        message = message.replace(_AS_PARQUET, "write its texts into a file, one per line")
    return _OPTION_OR.sub("", message)


def as_filter(message: str, path: str, reader: str = "isobatch ...") -> str:
    """Name stdin instead of `path`, and filters for `reader` instead of commands that read `path`.

    A command that cannot read a pipe reads FILE, and the message says to save stdin there first.
    """
    name = shlex.quote(path)
    command = re.compile(rf"\b((?:{_TOOLS}) {_PART}*?)(?:< )?{re.escape(name)} > NEW(?:\.\w+)?")

    def piped(found: re.Match[str]) -> str:
        source = "/dev/stdin " if found[1].startswith("python") else ""
        return f"... | {found[1]}{source}| {reader}"

    message = command.sub(piped, message)
    if f" {name}" in message:
        message = message.replace(f" {name}", " FILE") + ", with stdin saved before: ... > FILE"
    return message.replace(path, STDIN)

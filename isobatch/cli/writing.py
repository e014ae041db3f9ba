"""Files that a command writes for the user beside its answers: pages, reports.

It knows nothing of what they say. Invariant: UTF-8, and a file that cannot be written is an error
of Isobatch that names it.
"""

from pathlib import Path

from isobatch.errors import IsobatchError, TableError


def write_file(
    path: Path, content: str, what: str, error_class: type[IsobatchError] = TableError
) -> None:
    """Write `content`, called `what` where it fails, as "page"; then `error_class` is raised."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise error_class(f"{path}: the {what} cannot be written: {error.strerror}") from error

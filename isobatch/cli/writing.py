"""Files that a command writes for the user beside its answers: pages, reports.

It knows nothing of what they say. Invariant: UTF-8, and a file that cannot be written is an error
of Isobatch that names it.
"""

import os
from pathlib import Path

from isobatch.errors import IsobatchError, TableError


def check_writable(path: Path | None) -> None:
    """Before long work: TableError if nothing can be written there, as far as can be told."""
    if path is None:
        return
    if path.is_dir():
        raise TableError(f"{path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise TableError(f"{path}: cannot be written: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise TableError(f"{path}: cannot be written: permission denied")


def write_file(
    path: Path, content: str, what: str, error_class: type[IsobatchError] = TableError
) -> None:
    """Write `content`, called `what` where it fails, as "page"; then `error_class` is raised."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise error_class(f"{path}: the {what} cannot be written: {error.strerror}") from error

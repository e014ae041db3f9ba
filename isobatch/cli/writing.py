"""Output files of commands, such as pages and reports, in UTF-8."""

import os
import shlex
from pathlib import Path

from isobatch.errors import IsobatchError, TableError


def check_writable(path: Path | None, error_class: type[IsobatchError] = TableError) -> None:
    """Raise `error_class` before long work if `path` is certainly not writable."""
    if path is None:
        return
    folder = path.parent
    if path.is_dir():
        raise error_class(f"{path}: is a folder. Use the path of a file")
    if not folder.is_dir():
        raise error_class(
            f"{path}: cannot be written: the folder {folder} does not exist. Create it first: "
            f"mkdir -p {shlex.quote(str(folder))}"
        )
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise error_class(f"{path}: cannot be written: permission denied")


def is_same_file(path: Path, other: Path) -> bool:
    """Return whether both are the same file, by any names: links, and a file yet to be written."""
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def write_file(
    path: Path, content: str, what: str, error_class: type[IsobatchError] = TableError
) -> None:
    """Write `content`; raise `error_class` on failure, which calls the file `what` ("page")."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise error_class(f"{path}: the {what} cannot be written: {error.strerror}") from error

"""Output files of commands, such as pages and reports, in UTF-8."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from isobatch.errors import IsobatchError, OptionError, TableError


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


def refuse_replacing(
    written: Mapping[str, Path | None],
    read: Mapping[str, Path | str | None],
    error_class: type[IsobatchError] = OptionError,
) -> None:
    """Raise `error_class` if a file of an option would replace that of another, by any name.

    Both map options to their files. Devices, as /dev/null, may be named more than once.
    """
    known = {option: Path(path) for option, path in read.items() if path is not None}
    for option, path in written.items():
        if path is None or (path.exists() and not path.is_file()):
            continue
        for other, place in known.items():
            if is_same_file(path, place):
                raise error_class(
                    f"{option} {path}: is also the file of {other}, and would replace it. Use "
                    "another file"
                )
        known[option] = path


def write_file(
    path: Path, content: str, what: str, error_class: type[IsobatchError] = TableError
) -> None:
    """Write `content`; raise `error_class` on failure, which calls the file `what` ("page")."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise error_class(f"{path}: the {what} cannot be written: {error.strerror}") from error

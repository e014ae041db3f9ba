"""Checks of outputs before any work: a job that cannot write its result does not begin."""

import os
import shlex
from pathlib import Path

from isobatch.errors import JobError


def check_output(path: Path) -> Path:
    """Return the file to write: `path`, or the file that it names as a symbolic link.

    JobError if its folder does not exist or is not writable, and for a pipe or device.
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        if target.exists() and not target.is_file():
            raise JobError(
                f"{path}: is not a regular file, but the output is renamed into its place. Write "
                f"to stdout instead: -o - > {path}"
            )
        _check_folder(path, target.parent)
    except (OSError, RuntimeError, ValueError) as error:
        raise JobError(f"{path!s}: cannot be written: {error}. Choose another output") from error
    return target


def check_output_folder(folder: Path) -> None:
    """Check the folder of several outputs, which is created unless it exists; JobError if not."""
    if folder.exists() and not folder.is_dir():
        raise JobError(f"{folder}: is a file, not a folder. Leave out the / at the end")
    _check_folder(folder, folder if folder.is_dir() else folder.parent)


def _check_folder(path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise JobError(
            f"{path}: there is no folder {folder}. Create it first: "
            f"mkdir -p {shlex.quote(str(folder))}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JobError(
            f"{path}: the folder {folder} is not writable. Choose an output in a writable folder"
        )

"""Writing so that a file is there whole or not at all, also after a power cut.

It knows bytes and folders, no jobs. Invariant: under its final name a file is always complete; what
was being written when the process died has another name, which the next run overwrites.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isobatch.errors import JobError

PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Written:
    """Size and digest of a file."""

    bytes: int
    sha256: str


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file, sync it and rename it. JobError if it cannot be done."""
    fill_durably(path, lambda file: file.write(content))


def fill_durably(
    path: Path, fill: Callable[[BinaryIO], object], *, partial: Path | None = None
) -> None:
    """As write_durably; `fill` writes the content into the file that it is given.

    `partial` is the temporary file's name, in the same file system; by default it is a neighbour.
    It is removed if anything fails. An error of `fill` that comes from writing is a JobError too.
    """
    partial = partial or path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # where it cannot be removed either, the first error says more
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.filename is None:  # with a name, reading failed
            raise cannot_write(path, cause) from error
        raise


def append_durably(path: Path, line: bytes) -> None:
    """Append a line and sync it. A torn line, after a power cut, is the reader's to drop."""
    with as_job_errors(path), path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def as_job_errors(path: Path) -> Iterator[None]:
    """Make a JobError of what the operating system refuses."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in `folder` last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def measure(path: Path) -> Written:
    """Size and SHA-256 of a file. JobError if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Written(file.tell(), digest)
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror}") from error


def digest(content: bytes) -> Written:
    """Size and SHA-256 of what a file holds."""
    return Written(len(content), hashlib.sha256(content).hexdigest())


def cannot_write(path: Path, error: OSError) -> JobError:
    """The error for the user: what failed, and that the same command goes on from there."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cure = "free some space and give the same command again: it continues with what is kept"
    elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        cure = "choose an output where you may write"
    else:
        cure = "put it right and give the same command again"
    return JobError(f"{path}: cannot be written: {error.strerror}; {cure}")

"""Atomic, durable file writes (temporary file, fsync, rename).

Invariant: under its final name a file is always complete, also after a power cut. A file that was
being written when the process died has another name, which the next run overwrites.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from isobatch.errors import JobError
from isobatch.tables import FileDigest


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file, sync it and rename it; JobError if that fails."""
    fill_atomically(path, lambda file: file.write(content))


def fill_atomically(
    path: Path, fill: Callable[[BinaryIO], object], *, partial: Path | None = None
) -> None:
    """Let `fill` write a temporary file, sync it and rename it; JobError if that fails.

    `partial` is the temporary file's name, in the same file system; by default it is next to
    `path`. It is removed if anything fails. An error of `fill` that comes from writing is a
    JobError too.
    """
    partial = partial or path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # if it cannot be removed either, the first error says more
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.filename is None:  # with a name, reading failed
            raise write_error(path, cause) from error
        raise


def append_durably(path: Path, line: bytes) -> None:
    """Append a line and sync it. Readers must ignore an incomplete last line."""
    with write_errors(path), path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a JobError about `path`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def sync_folder(folder: Path) -> None:
    """Sync what was created, renamed or removed in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_file(path: Path) -> FileDigest:
    """Compute size and SHA-256 of a file; JobError if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileDigest(file.tell(), digest)
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror}") from error


def write_error(path: Path, error: OSError) -> JobError:
    """Build the JobError that says what failed and how to resume."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "Free some space and run the same command again: it resumes from the saved work"
    elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        fix = "Choose an output in a writable folder"
    else:
        fix = "Fix this and run the same command again"
    return JobError(f"{path}: cannot be written: {error.strerror}. {fix}")

"""A lock on a folder of saved work, so that no two processes write one output.

Invariant: the lock is released when the process ends, however it ends.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isobatch.errors import JobError
from isobatch.jobs.durable import write_error, write_errors


@contextmanager
def exclusive_lock(
    folder: Path, output: Path, writer: str, on_wait: Callable[[], object] | None = None
) -> Iterator[None]:
    """Lock `folder`, which is created, while the output is written.

    writer: names what else may be writing `output`, such as "run". on_wait: called if something
    does, whose end is then awaited. Raises JobError instead without it, and if the file system has
    no locks.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("wb")
    with lock:
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait is None:
                    raise JobError(
                        f"{output}: another {writer} is writing it. Wait for it, or stop it"
                    ) from None
                on_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise write_error(folder / "lock", error) from error
        yield

"""Forks: a process that has computed may fork, and both processes compute on, with all threads.

GNU's OpenMP keeps the threads of a thread that computed. A fork copies the list of them but not the
threads, and the child's first product waits for them forever: gunicorn with preload, Celery,
Airflow and `multiprocessing` fork after loading. So the threads are ended right before a fork, also
those that torch started for something else; each process starts new ones at its next product.
The pool of the library `tokenizers` cannot be ended: a forked child tokenizes in one thread.
Invariant: outside a fork this does nothing, and no fork changes torch's number of threads.
"""

import ctypes
import os
import sys
import threading
from functools import cache
from os import environ
from pathlib import Path
from weakref import WeakSet

import torch

_TOKENIZERS = "TOKENIZERS_PARALLELISM"
_PAUSE_SOFT = 1
"""omp_pause_soft of OpenMP 5.0: threads end, settings such as their number stay."""


LONGEST_WAIT_SECONDS = 10.0
"""For another thread to release a lock; without a limit a fork in a signal handler would hang."""

_locks: WeakSet[threading.Lock] = WeakSet()


@cache
def keep_forks_safe() -> None:
    """Register what must happen at a fork, once in a process; does nothing without `os.fork`."""
    if not hasattr(os, "fork"):
        return
    openmp, forks = _openmp(), _TokenizerForks()
    held: dict[int, list[threading.Lock]] = {}

    def before() -> None:
        acquired = [lock for lock in list(_locks) if lock.acquire(timeout=LONGEST_WAIT_SECONDS)]
        held[threading.get_ident()] = acquired
        if openmp is not None:
            openmp.omp_pause_resource_all(_PAUSE_SOFT)
        forks.before()

    def after_in_parent() -> None:
        forks.after_in_parent()
        for lock in held.pop(threading.get_ident()):
            lock.release()

    def after_in_child() -> None:
        held.clear()
        for lock in list(_locks):
            if lock.locked():  # by this thread, or by one that does not exist here
                lock.release()
        if openmp is None and sys.platform == "linux":
            torch.set_num_threads(1)  # an OpenMP that cannot end its threads
        forks.after_in_child()

    os.register_at_fork(
        before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
    )


def fork_safe_lock() -> threading.Lock:
    """Create a lock that a fork waits for, so that no child inherits what it protects half done.

    Another thread that held it would not exist in the child to release it.
    """
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _openmp() -> ctypes.CDLL | None:
    """Return torch's OpenMP, reached through a library that is linked with it, or None."""
    try:
        openmp = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        openmp.omp_pause_resource_all.restype = ctypes.c_int
    except (OSError, AttributeError):
        return None
    return openmp


class _TokenizerForks:
    """Turns the threads of `tokenizers` off in a child.

    With the value "true" a child would wait for the parent's forever. The variable is
    set before the fork and deleted after it in the parent: versions up to 0.22 print a warning of
    five lines in the fork unless it is set. It is the only switch that the library has, hence the
    one place outside the command line that touches the environment.
    """

    def __init__(self) -> None:
        self._added = False

    def before(self) -> None:
        if "tokenizers" in sys.modules and _TOKENIZERS not in environ:
            environ[_TOKENIZERS] = "false"
            self._added = True

    def after_in_parent(self) -> None:
        if self._added:
            del environ[_TOKENIZERS]
            self._added = False

    def after_in_child(self) -> None:
        self._added = False
        if "tokenizers" in sys.modules:
            environ[_TOKENIZERS] = "false"

"""The door to the libraries of the extra `audit`, and the quiet in which they are called.

It knows nothing of what they are used for. Invariant: a missing library becomes an OptionError with
its cure, and a library's loudness is afterwards what it was before.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

from isobatch.errors import OptionError
from isobatch.extras import needs_extra


def audit_library(name: str) -> ModuleType:
    """The module `name`. OptionError, naming the extra that brings it, if it is not installed."""
    with needs_extra("audit", "this kind of target"):
        return importlib.import_module(name)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No warnings, no log lines and no progress bars of transformers meanwhile."""
    logging = audit_library("transformers.utils.logging")
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Compute with so many threads of torch meanwhile."""
    before = torch.get_num_threads()
    set_torch_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_torch_threads(num_threads: int | None) -> None:
    """torch's number of threads, which is the whole process's; None leaves it."""
    if num_threads is None:
        return
    check_threads(num_threads)
    torch.set_num_threads(num_threads)


def check_threads(num_threads: int | None) -> None:
    """OptionError if there are none."""
    if num_threads is not None and num_threads < 1:
        raise OptionError(f"threads must be at least 1, got {num_threads}")

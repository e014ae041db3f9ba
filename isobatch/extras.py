"""The extras of the package, and what to do where a library of one is missing.

It knows no library by name. Invariant: a missing library becomes an OptionError with its cure.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from isobatch.errors import OptionError


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Surround what needs the libraries of `extra`; OptionError if one of them is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise OptionError(
            f"the library {error.name!r} is not installed, which {purpose} needs: "
            f"pip install isobatch[{extra}]"
        ) from error

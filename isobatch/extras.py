"""Errors for missing libraries that name the extra to install."""

from collections.abc import Iterator
from contextlib import contextmanager

from isobatch.errors import OptionError


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn a missing library in the block into an OptionError that names `extra`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise OptionError(
            f"{purpose}: the library {error.name!r} is not installed. "
            f'Install it: pip install "isobatch[{extra}]"'
        ) from error

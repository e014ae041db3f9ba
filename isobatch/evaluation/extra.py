"""The libraries of the extra `evaluate`, and what to do where one of them is missing.

It knows none of them by name. Invariant: a missing library becomes an OptionError with its cure.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from isobatch.errors import OptionError


@contextmanager
def evaluate_extra() -> Iterator[None]:
    """Surround the imports of the extra; OptionError if one of them fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise OptionError(
            f"the library {error.name!r} is not installed, which evaluation needs: "
            "pip install isobatch[evaluate]"
        ) from error

"""The one door to the optional libraries: pyarrow, msgspec and zstd.

It knows nothing of what they are used for.
Invariant: nothing optional is imported before it is needed; what is missing is named with its cure.
"""

import importlib
import sys
from functools import cache
from types import ModuleType

from isobatch.errors import OptionError

ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def in_one_line(error: Exception) -> str:
    """What a library says of `error`, which may go over several lines."""
    return " ".join(str(error).split())


@cache
def library(name: str) -> ModuleType:
    """The module `name`. OptionError, naming the extra that brings it, if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OptionError(
            f"{name} is needed for this format, but cannot be imported ({error}); install it with: "
            "pip install isobatch[files]"
        ) from error

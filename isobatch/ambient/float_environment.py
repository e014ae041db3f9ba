"""The floating-point environment of a thread: rounding to nearest, subnormal numbers kept.

`torch.set_flush_denormal(True)`, C's `fesetround` and every library that was linked with
-ffast-math, at its import, change it for the whole thread and for the threads that this one starts.
Python's own arithmetic and its conversion of numbers to text are subject to it too.
"""

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from isobatch.errors import OptionError

_ONE, _HALF = 1.0, 0.5
_QUARTER_ULP = 2.0**-54
_SMALLEST_NORMAL = 2.0**-1022
(_SMALLEST,) = struct.unpack("<d", (1).to_bytes(8, "little"))
"""2⁻¹⁰⁷⁴, from its bits: the compiler of Python would compute a power in the caller's environment,
and write a zero into the .pyc file for every later process."""

_LARGEST_FENV = 512
"""Bytes; glibc's fenv_t has 32 on x86-64 and 8 on ARM64."""


def has_default_floats() -> bool:
    """Return whether this thread rounds to the nearest and keeps subnormal numbers, in 0.2 µs."""
    return (
        _ONE + _QUARTER_ULP == _ONE == _ONE - _QUARTER_ULP
        and _SMALLEST_NORMAL * _HALF != 0.0
        and _SMALLEST + _SMALLEST != 0.0
    )


@contextmanager
def default_float_environment() -> Iterator[None]:
    """Run in the default floating-point environment, and put the thread's own back.

    Raises OptionError where it is another and cannot be changed from here.
    """
    if has_default_floats():
        yield
        return
    library = _libm()
    before = ctypes.create_string_buffer(_LARGEST_FENV)
    library.fegetenv(before)
    library.fesetenv(_default_of(library))
    try:
        if not has_default_floats():
            raise _unsuitable()
        yield
    finally:
        library.fesetenv(before)


def _unsuitable() -> OptionError:
    return OptionError(
        "this thread does not round to nearest, or flushes subnormal numbers to zero, which "
        "changes the last digits of results, and Isobatch cannot reset it. "
        "Undo it: torch.set_flush_denormal(False), and fesetround(FE_TONEAREST) in C"
    )


def _default_of(library: ctypes.CDLL) -> object:
    """FE_DFL_ENV: -1 in glibc and musl, a variable on macOS."""
    try:
        return ctypes.byref(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
    except ValueError:
        return ctypes.c_void_p(-1)


@cache
def _libm() -> ctypes.CDLL:
    """C's mathematical library, which Python is usually linked with."""
    for name in (None, "libm.so.6", "libm.so", "libm.dylib"):
        try:
            library = ctypes.CDLL(name)
            library.fegetenv, library.fesetenv  # noqa: B018  # AttributeError without them
        except (OSError, AttributeError):
            continue
        return library
    raise _unsuitable()

"""The benchmark suite: Isobatch and other engines, each in its own process, measured in turn.

`python -m benchmarks` runs it; README.md describes the protocol. The package `isobatch` never
imports this folder, and only `engines/isobatch_engine.py` uses the package's API.
"""


class BenchmarkError(Exception):
    """A file, engine or result that makes the run impossible to continue; says how to fix it."""


class UnsupportedError(BenchmarkError):
    """An engine that this machine does not support in its precision: it is left out."""

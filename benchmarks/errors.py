"""The one error that ends a run: its message says what was wrong and what to do.

It knows no exit codes and prints nothing; the driver does both.
"""


class BenchError(Exception):
    """A run that cannot go on: a file, a peer or an answer is not what it must be."""

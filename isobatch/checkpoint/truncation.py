"""Truncation: cut, reject, or read in windows a text with more tokens than the model reads at once.

Checked in one place, and written as plain values into the records of jobs and runs.
"""

from isobatch.errors import OptionError
from isobatch.types import TRUNCATIONS, TextWindows, Truncation


def check_truncation(truncation: object) -> None:
    """Raise OptionError unless `truncation` is one of TRUNCATIONS or TextWindows."""
    if not isinstance(truncation, TextWindows) and truncation not in TRUNCATIONS:
        raise OptionError(
            "truncation must be 'cut', 'error', 'window' or TextWindows(stride=…, pooling=…), got "
            f"{truncation!r}"
        )


def windows_of(truncation: Truncation) -> TextWindows | None:
    """Return how long texts are read in windows; None where they are not."""
    if truncation == "window":
        return TextWindows()
    return truncation if isinstance(truncation, TextWindows) else None


def truncation_record(truncation: Truncation) -> object:
    """Return `truncation` as a JSON value; two ways to say the same have the same record."""
    windows = windows_of(truncation)
    return truncation if windows is None else {"stride": windows.stride, "pooling": windows.pooling}


def describe_truncation(truncation: Truncation, max_tokens: int, *, of_tokens: bool) -> str:
    """Say what happens to a text of more tokens than the model reads at once.

    of_tokens: the outputs are those of single tokens, which are not pooled.
    """
    windows = windows_of(truncation)
    if windows is None:
        return f"{'cut to' if truncation == 'cut' else 'rejected beyond'} {max_tokens:,} tokens"
    shared = "a quarter" if windows.stride is None else f"{windows.stride:,}"
    pooling = "" if of_tokens else f"; pooling: {windows.pooling}"
    return f"read in windows of {max_tokens:,} tokens, which share {shared}{pooling}"


def read_truncation(record: object) -> Truncation:
    """Return what `truncation_record` recorded; raises OptionError for anything else."""
    if isinstance(record, dict) and record.keys() == {"stride", "pooling"}:
        return TextWindows(**record)
    check_truncation(record)
    return record  # type: ignore[return-value]  # checked

"""Columns of numbers that people gave: similarities, and relevances of texts to queries.

Invariant: a cell is a finite number, missing or an error with its reason, and never guessed.
"""

import math

from isobatch.errors import InputError
from isobatch.evaluation.label_column import LabelOptions
from isobatch.evaluation.labels import is_missing
from isobatch.tables import MISSING


def read_number(cell: object, *, least: float = -math.inf) -> float | str | None:
    """Return the number of a cell, also of a text; None without one, or why it is not one."""
    value = None if cell is MISSING else cell
    if is_missing(value):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # any other type is caught
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        return f"expected a number, got {str(value)[:60]!r}"
    return number if number >= least else f"expected a number of at least {least:g}, got {number:g}"


def checked_number(
    cell: object, place: str, options: LabelOptions, *, least: float = -math.inf
) -> float | str | None:
    """Read a cell; InputError for one that the `options` do not let pass.

    Returned are the number; None for a row that is left out; why a row is an error.
    """
    found = read_number(cell, least=least)
    if found is None and not options.skip_unlabelled:
        raise InputError(
            f"{place}: the number is missing in the column {options.column!r}. Leave such rows out "
            "with --skip-unlabelled"
        )
    if isinstance(found, str) and options.on_bad_label == "stop":
        raise InputError(
            f"{place}: the column {options.column!r}: {found}. Specify another with "
            "--label-column, or count such rows as errors with --on-bad-label row"
        )
    return f"{options.column}: {found}" if isinstance(found, str) else found

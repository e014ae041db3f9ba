"""The labels of a row for zero-shot classification: a list, or a text with JSON or commas.

Invariant: a cell that is not a list of different labels is an error of its row, with the reason.
"""

import json

from isobatch.errors import InputError, OptionError
from isobatch.tables import MISSING, Unreadable, split_at_commas
from isobatch.tasks.candidate_labels import CandidateLabels


def labels_of_row(cell: object, column: str) -> str | InputError:
    """Return the labels in a cell as a JSON list, or the reason why it has none.

    A text is a JSON list if it begins with [, else a line of CSV: a label with a comma is quoted.
    """
    # These reasons are written into output files: the same input must keep giving the same bytes.
    if cell is None:
        return InputError(f"{column} is null")
    if cell is MISSING:
        return InputError(f"has no {column}")
    if isinstance(cell, Unreadable):
        return InputError(f"{column} cannot be read: {cell.reason}")
    labels = _listed(cell) if isinstance(cell, str) else cell
    if not isinstance(labels, list):
        return InputError(f"{column} must be a list of labels, got {str(cell)[:40]}")
    try:
        CandidateLabels(tuple(labels))
    except OptionError as error:
        return InputError(f"{column}: {str(error).removeprefix('labels: ')}")
    return json.dumps(labels, ensure_ascii=False)


def _listed(text: str) -> object:
    try:
        if text.strip().startswith("["):
            return json.loads(text)
        return [label.strip() for label in split_at_commas(text)]
    except (ValueError, RecursionError):
        return None

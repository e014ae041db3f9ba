"""The label column of a table, found by its name where the user names none."""

from collections.abc import Sequence

from isobatch.errors import OptionError
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.tables import Table

LABEL_COLUMN = "label"
USUAL_LABELS = (
    "labels", "class", "category", "target", "sentiment", "topic", "intent", "stars", "rating",
    "score",
)  # fmt: skip
"""Common names of the label column, other than "label"."""
COMMON = (LABEL_COLUMN, *USUAL_LABELS)


def column_names(table: Table) -> tuple[str, ...]:
    """Return the columns of a table; those of JSON objects are found by reading all of them."""
    if table.columns is not None:
        return table.columns
    found: dict[str, None] = {}
    for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
        found |= dict.fromkeys(rows.columns)
    return tuple(found)


def find_label_column(names: Sequence[str], taken: Sequence[str | None]) -> str:
    """Return the column with a common name among those that are not `taken` by another role.

    OptionError if there is none, or more than one without one that is called "label".
    """
    by_name = {name.strip().lower(): name for name in names if name not in taken}
    if LABEL_COLUMN in by_name:
        return by_name[LABEL_COLUMN]
    usual = [by_name[name] for name in USUAL_LABELS if name in by_name]
    if len(usual) == 1:
        return usual[0]
    found = f"it could be {' or '.join(usual)}" if usual else "none has a common name"
    if used := [each for each in taken if each and each.strip().lower() in COMMON]:
        found += f" but {used[0]!r}, which another option names"
    raise OptionError(
        f"cannot find the label column: {found} (it has {', '.join(names) or 'no columns'}). "
        "Choose it with --label-column"
    )

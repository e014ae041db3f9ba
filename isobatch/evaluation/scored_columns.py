"""The columns that `isobatch run` has added to a file, read back as predictions.

Invariant: a row whose cells are not a prediction of one label is an error with its reason.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isobatch.errors import OptionError
from isobatch.tables import MISSING, TableChunk
from isobatch.tasks import Prediction

ADDED = ("label", "score", "truncated", "error")
"""Columns that `run` always adds, by which a prefix is found."""

_OTHER_TASKS = {"entities": "entities", "embedding": "vectors", "score": "scores of pairs"}
"""The column that `run` or `embed` adds for another task, and what it holds."""

NOT_ONE = 1e-3
"""Scores of one row whose sum is further from 1 are not those of a softmax."""


@dataclass(frozen=True, slots=True)
class ScoredColumns:
    """The added columns: their prefix, the labels with a column of scores, and if there are logits.

    names: of all of them, without the prefix.
    """

    prefix: str
    labels: tuple[str, ...]
    names: tuple[str, ...]

    def cells(self, rows: TableChunk) -> Iterator[dict[str, object]]:
        """Yield the added cells of each row, by `names`; those without a value are None."""
        columns = [rows.cells(self.prefix + name) for name in self.names]
        for cells in zip(*columns, strict=True):
            plain = (None if cell is MISSING or cell == "" else cell for cell in cells)
            yield dict(zip(self.names, plain, strict=True))


def find_scored_columns(
    columns: Sequence[str], prefix: str | None, labels: Sequence[str] | None
) -> ScoredColumns:
    """Find what `run` has added to `columns`; OptionError if it has not, or in two ways.

    labels: of the checkpoint; OptionError if the file has scores of others.
    """
    prefixes = [
        name.removesuffix("label")
        for name in columns
        if name.endswith("label")
        and {name.removesuffix("label") + each for each in ADDED} <= {*columns}
    ]
    if prefix is not None and prefix not in prefixes:
        wanted = ", ".join(prefix + name for name in ADDED)
        raise OptionError(f"--prefix {prefix}: the scored file lacks one of the columns {wanted}")
    if not prefixes:
        _refuse_other_tasks(columns)
        raise OptionError(
            f"the scored file has no columns {', '.join(ADDED)}, which `isobatch run` adds (it has "
            f"{', '.join(columns)}). Pass a file that it has written"
        )
    if prefix is None and len(prefixes) > 1:
        raise OptionError(
            f"the scored file has predictions with the prefixes {', '.join(map(repr, prefixes))}. "
            f"Choose one, such as --prefix {prefixes[-1] or prefixes[0]}"
        )
    chosen = prefixes[0] if prefix is None else prefix
    # They are added between these two: an input may have columns of such names too.
    start, stop = columns.index(f"{chosen}score"), columns.index(f"{chosen}truncated")
    between = [name.removeprefix(chosen) for name in columns[start + 1 : stop]]
    found = tuple(each.removeprefix("score_") for each in between if each.startswith("score_"))
    if labels and found and tuple(labels) != found:
        raise OptionError(
            f"the scored file has scores of {', '.join(found)}, but the labels of --model are "
            f"{', '.join(labels)}. Use the checkpoint that the file was scored with"
        )
    marks = ["empty"] if f"{chosen}empty" in columns else []
    return ScoredColumns(chosen, found, (*ADDED, *between, *marks))


def _refuse_other_tasks(columns: Sequence[str]) -> None:
    """Raise OptionError for a file of another task, by the columns that it was given."""
    for name in columns:
        for ending, task in _OTHER_TASKS.items():
            if name.endswith(ending) and name.removesuffix(ending) + "error" in columns:
                raise OptionError(
                    f"the scored file has {task} ({name}), and --scores-from reads the labels of "
                    "texts. Evaluate the checkpoint itself: leave --scores-from out"
                )


def read_prediction(
    cells: Mapping[str, object], labels: Sequence[str], *, ordered: bool
) -> Prediction | str:
    """Read the added cells of a row; or return why they are not a prediction.

    ordered: `labels` are all of the checkpoint's, in the order of its logits.
    """
    label, score = cells["label"], _number(cells["score"])
    if cells["error"] is not None:
        return str(cells["error"])
    if label not in labels:
        return f"its predicted label is {label!r}, not one of {', '.join(labels)}"
    if score is None or not 0 <= score <= 1:
        return f"its score is {cells['score']!r}, not a probability"
    scores = [_number(cells[f"score_{each}"]) for each in labels if f"score_{each}" in cells]
    known = [each for each in scores if each is not None]
    if scores and not abs(math.fsum(known) - 1) <= NOT_ONE:
        return f"the scores of its labels sum to {math.fsum(known):g}, not to 1 as of one label"
    logits = _logits(cells.get("logits"), known, score, labels.index(str(label)), len(labels))
    return Prediction(
        label=str(label),
        score=score,
        logits=tuple(logits) if ordered else (),
        truncated=cells["truncated"] in (True, "true"),
        num_tokens=0,
        scores=dict(zip(labels, known, strict=False)),
    )


def _logits(
    cell: object, scores: Sequence[float], score: float, best: int, num_labels: int
) -> list[float]:
    """Return the logits, else the logarithms of the scores; [] where not every label has one."""
    try:
        values = json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        values = None
    if isinstance(values, list) and len(values) == num_labels:
        logits = [_number(each) for each in values]
        if known := [each for each in logits if each is not None]:
            return known
    if len(scores) != num_labels and num_labels == 2 and score >= 0.5:
        scores = [1 - score, score] if best else [score, 1 - score]
    if len(scores) != num_labels:
        return []
    return [math.log(each) if each > 0 else -math.inf for each in scores]


def _number(cell: object) -> float | None:
    """Return a finite number, or one that is written as a text; else None."""
    if not isinstance(cell, str | int | float):
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

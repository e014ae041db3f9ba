"""OutputReader: convert what a system returns for a batch to Outputs.

Invariant: a number is kept exactly, a column is the same label in every call, and anything that
cannot be read is an AnswerError.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from isobatch.audit.subject import AnswerError, Outputs, RowCountError
from isobatch.drawing.display_text import counted

SAMPLE_TEXTS = (
    "Today is a nice day, and the weather will hold until tomorrow evening.",
    "She read the old book twice because its story never seemed to end.",
    "People in large cities often travel far to work and come home late.",
)
"""Texts that a target is tried with when it is opened; their tokens are the content of pads."""

_READABLE = (
    "expected one row of numbers per text: an array or tensor [texts, labels], a list of lists, "
    "or for each text a list of every label and its score, as pipelines give with top_k=None"
)


class OutputReader:
    """Reader of one system's outputs; the first call fixes the number of columns.

    `labels` are their names, sorted, where the system names them; else None.
    """

    def __init__(self, name: str) -> None:
        self.labels: tuple[str, ...] | None = None
        self._name = name
        self._num_columns: int | None = None

    def __call__(self, value: Any, num_texts: int) -> Outputs:
        """Read the return value for `num_texts` texts."""
        rows = _unwrapped(value)
        if _is_list(rows) and rows and any(_is_labelled(row) for row in rows):
            self._check_rows(len(rows), num_texts)
            rows = [self._row_of_scores(index, row) for index, row in enumerate(rows)]
        outputs = self._array(rows)
        self._check_rows(len(outputs), num_texts)
        if self._num_columns not in (None, outputs.shape[1]):
            numbers = counted(outputs.shape[1], "number")
            raise self._refusal(f"returned {numbers} per text, and {self._num_columns} before")
        self._num_columns = outputs.shape[1]
        return outputs

    def _array(self, rows: Any) -> Outputs:
        try:
            array = np.asarray(_numbers(rows))
        except (TypeError, ValueError, RuntimeError):
            raise self._refusal(f"returned {_described(rows)}; {_READABLE}") from None
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or 0 in array.shape[1:]:
            raise self._refusal(f"returned {_described(rows)}; {_READABLE}")
        return np.atleast_2d(array.astype(np.float64).T).T  # a row of one number each

    def _row_of_scores(self, index: int, row: Any) -> list[float]:
        """Return the scores of one text in the order of `labels`."""
        entries = [row] if isinstance(row, Mapping) else row
        try:
            scores = {str(entry["label"]): float(_numbers(entry["score"])) for entry in entries}
        except (KeyError, TypeError, ValueError):
            raise self._refusal(
                f"returned for text {index}: {_described(row)}; {_READABLE}"
            ) from None
        if len(scores) != len(entries):
            raise self._refusal(f"returned a label twice for text {index}: {_described(row)}")
        if self.labels is None:
            self.labels = tuple(sorted(scores))
        if scores.keys() != set(self.labels):
            raise self._refusal(_other_labels(index, sorted(scores), self.labels))
        return [scores[label] for label in self.labels]

    def _check_rows(self, num_rows: int, num_texts: int) -> None:
        if num_rows != num_texts:
            rows, texts = counted(num_rows, "row"), counted(num_texts, "text")
            raise RowCountError(f"{self._name}: returned {rows} for {texts}; {_READABLE}")

    def _refusal(self, what: str) -> AnswerError:
        return AnswerError(f"{self._name}: {what}")


def look_like_scores(outputs: Outputs) -> bool:
    """Find out whether every row is within [0, 1] and sums to 1, as scores after softmax do."""
    within = ((outputs >= 0) & (outputs <= 1)).all()
    # 1e-3: float16 scores of many labels are rounded so much.
    return bool(within and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _other_labels(index: int, found: Sequence[str], known: Sequence[str]) -> str:
    if len(found) == len(known) == 1:
        return (
            f"returned only the best label of each text, {found[0]!r} for text {index} and "
            f"{known[0]!r} before; request all scores: top_k=None"
        )
    return f"returned the labels {list(found)} for text {index}, and {list(known)} before"


def _unwrapped(value: Any) -> Any:
    """Return the rows inside the containers of models and pipelines."""
    if isinstance(value, Mapping):
        value = value.get("logits", value)
    value = getattr(value, "logits", value)
    return list(value) if isinstance(value, Iterator | tuple) else value


def _numbers(value: Any) -> Any:
    """Convert tensors, Predictions and lists of them to plain arrays and lists."""
    value = getattr(value, "logits", value)
    if hasattr(value, "detach"):
        return value.detach().cpu().double().numpy()  # every narrower float is kept exactly
    return [_numbers(each) for each in value] if _is_list(value) else value


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _is_labelled(row: Any) -> bool:
    """Whether it is {"label", "score"}, or a list that begins with one."""
    return isinstance(row[0] if _is_list(row) and row else row, Mapping)


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} {list(shape)} of {getattr(value, 'dtype', 'no dtype')}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 120 else text[:117] + '...'}"

"""OutputReader: convert what a system returns for a batch to Outputs.

Invariant: a number is kept exactly, a column is the same label in every call, and anything that
cannot be read is an AnswerError.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.output_rows import from_rows
from isobatch.audit.shifts import ENTITY_SIZE
from isobatch.audit.subject import AnswerError, OutputKind, Outputs, RowCountError
from isobatch.drawing.display_text import counted

SAMPLE_TEXTS = (
    "Today is a nice day, and the weather will hold until tomorrow evening.",
    "She read the old book twice because its story never seemed to end.",
    "People in large cities often travel far to work and come home late.",
)
"""Texts that a target is tried with when it is opened; their tokens are the content of pads."""

MANY_NUMBERS = 64
"""Rows of at least this many numbers without names are read as vectors, and not as labels."""

FEWEST_NUMBERS = 8
"""Of a vector that is known by its length of 1."""

_PLACES = 1024.0
_NAMES = 16.0
"""Characters and labels of entities are divided by these, which keeps every bit, so that their
scores are not small next to them."""

_READABLE = (
    "expected one row of numbers per text: an array or tensor [texts, labels], a list of lists, "
    "or for each text a list of every label and its score, as pipelines give with top_k=None; or "
    "for each text an array [tokens, numbers] of its own tokens, or a list of entities with label, "
    "score, start and end"
)


class OutputReader:
    """Reader of one system's outputs; the first call fixes the number of columns.

    `labels` are their names, sorted, where the system names them; else None. reads, token_size: as
    those of a Subject.
    """

    def __init__(self, name: str) -> None:
        self.labels: tuple[str, ...] | None = None
        self.reads: OutputKind = "classes"
        self.token_size = 0
        self._types: dict[str, int] = {}
        self._name = name
        self._num_columns: int | None = None

    def __call__(self, value: Any, num_texts: int) -> Outputs:
        """Read the return value for `num_texts` texts."""
        rows = _unwrapped(value)
        if (entities := _entities_of(rows, num_texts)) is not None:
            return self._entity_rows(entities, num_texts)
        if _is_list(rows) and rows and any(_is_labelled(row) for row in rows):
            self._check_rows(len(rows), num_texts)
            rows = [self._row_of_scores(index, row) for index, row in enumerate(rows)]
        if (tokens := _token_arrays(rows)) is not None:
            return self._token_rows(tokens, num_texts)
        outputs = self._array(rows)
        self._check_kind("numbers" if look_like_vectors(outputs, self.labels) else "classes", 0)
        self._check_rows(len(outputs), num_texts)
        if self._num_columns not in (None, outputs.shape[1]):
            numbers = counted(outputs.shape[1], "number")
            raise self._refusal(f"returned {numbers} per text, and {self._num_columns} before")
        self._num_columns = outputs.shape[1]
        return outputs

    def _check_kind(self, reads: OutputKind, token_size: int) -> None:
        """Fix the kind of outputs in the first call; AnswerError for another one later."""
        if self._num_columns is None:
            self.reads, self.token_size, self._num_columns = reads, token_size, token_size or None
        elif self.token_size != token_size or "entities" in {self.reads, reads} != {reads}:
            raise self._refusal(
                f"returned {_kind(token_size)}, and {_kind(self.token_size)} before; {_READABLE}"
            )

    def _token_rows(self, arrays: Sequence[Outputs], num_texts: int) -> Outputs:
        size = arrays[0].shape[-1]
        self._check_rows(len(arrays), num_texts)
        if any(array.shape[-1] != size for array in arrays):
            raise self._refusal(f"returned tokens with different numbers of numbers; {_READABLE}")
        self._check_kind("numbers" if size >= MANY_NUMBERS else "classes", size)
        return from_rows(arrays)

    def _entity_rows(self, texts: Sequence[Sequence[Any]], num_texts: int) -> Outputs:
        self._check_rows(len(texts), num_texts)
        self._check_kind("entities", ENTITY_SIZE)
        return from_rows([[self._entity(each) for each in text] for text in texts])

    def _entity(self, entity: Any) -> tuple[float, float, float, float]:
        """Return label, start, end and score as numbers of about the same size."""
        try:
            names = (_field(entity, name) for name in ("label", "entity_group", "entity"))
            label = str(next(name for name in names if name is not None))
            numbers = [float(_field(entity, name)) for name in ("start", "end", "score")]
        except (StopIteration, TypeError, ValueError):
            raise self._refusal(f"returned the entity {_described(entity)}; {_READABLE}") from None
        place = self._types.setdefault(label, len(self._types))
        return place / _NAMES, numbers[0] / _PLACES, numbers[1] / _PLACES, numbers[2]

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


def look_like_vectors(outputs: Outputs, labels: Sequence[str] | None) -> bool:
    """Find out whether rows are vectors: many numbers without names, or a length of 1."""
    width = outputs.shape[1]
    if labels is not None or width < FEWEST_NUMBERS:
        return False
    has_length_1 = np.allclose(np.linalg.norm(outputs, axis=1), 1, atol=1e-3)
    return width >= MANY_NUMBERS or bool(has_length_1 and (outputs < 0).any())


def kind_of_outputs(
    found: NDArray[np.float64], labels: Sequence[str] | None
) -> tuple[OutputKind, int]:
    """Return what a model's outputs are, [rows, numbers] or [rows, columns, numbers].

    With it, how many numbers each token has, or 0. labels: those of the configuration, which also
    an encoder without a head has.
    """
    width = found.shape[-1] if found.ndim > 1 else 1
    names = labels if labels is not None and len(labels) == width else None
    rows = found.reshape(-1, width)
    kind: OutputKind = "numbers" if look_like_vectors(rows, names) else "classes"
    return kind, width if found.ndim == 3 else 0


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


def _entities_of(rows: Any, num_texts: int) -> list[Sequence[Any]] | None:
    """Return the entities of each text; None for other outputs."""
    if not _is_list(rows):
        return None
    if num_texts == 1 and rows and _is_entity(rows[0]):
        rows = [rows]  # as pipelines return those of a single text
    texts = [getattr(row, "entities", row) for row in rows]
    if not texts or not all(_is_list(text) for text in texts):
        return None
    every = [entity for text in texts for entity in text]
    return [list(text) for text in texts] if all(map(_is_entity, every)) else None


def _is_entity(value: Any) -> bool:
    return _field(value, "start") is not None and _field(value, "end") is not None


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _token_arrays(rows: Any) -> list[Outputs] | None:
    """Return the numbers of each text's tokens, [tokens, numbers]; None for other outputs."""
    if not _is_list(rows) or not rows:
        return None
    arrays = []
    for row in rows:
        try:
            array = np.asarray(_numbers(row))
        except (TypeError, ValueError, RuntimeError):
            return None
        if array.dtype.kind not in "fiub" or array.ndim < 2 or not array.shape[-1]:
            return None
        arrays.append(array.astype(np.float64).reshape(-1, array.shape[-1]))
    return arrays


def _kind(token_size: int) -> str:
    return (
        f"{counted(token_size, 'number')} for each token" if token_size else "a row for each text"
    )


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

"""The system under audit as the probes see it, and the padded batches that they send to it.

An ability that a subject lacks is None here, and a probe that needs it is reported as not tested.
Invariant: one call of `predict` is one batch of the system's own making, and its rows are in the
order in which the system returned them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isobatch.errors import AuditError

Outputs = NDArray[np.float64]
"""[texts, numbers]: logits where the system returns them, else scores; or a vector; or the numbers
of each token in turn, see isobatch.audit.output_rows. float32 is kept exactly."""

IdArray = NDArray[np.int64]

PaddingSide = Literal["right", "left"]
TargetKind = Literal["isobatch", "transformers", "onnx", "http", "python"]
MixingFault = Literal["batch-statistics", "tensor-wide-scales"]
OutputKind = Literal["classes", "numbers", "entities"]
"""Kinds of outputs: a number for each label, of a text or of each token; a vector, of a text or of
each token; or the entities of a text, each as its label, start, end and score."""


class AnswerError(AuditError):
    """The system refuses these texts, or its response cannot be read.

    It is a result of the audit; any other AuditError, as of a server that is down, ends it.
    """


class RowCountError(AnswerError):
    """The system returned more or fewer rows than texts."""


class FloatFormat(Enum):
    """A floating-point format; its value is the relative rounding unit."""

    FLOAT32 = 2.0**-24
    FLOAT16 = 2.0**-11
    BFLOAT16 = 2.0**-8

    @classmethod
    def named(cls, name: object) -> "FloatFormat | None":
        """Return the format that frameworks and servers call `name`; None for any other name."""
        names = {"float32": cls.FLOAT32, "float16": cls.FLOAT16, "half": cls.FLOAT16}
        return (names | {"bfloat16": cls.BFLOAT16}).get(str(name))


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A padded batch, each array [rows, columns]; an array that is None is not passed on.

    tokens: 1 in the columns of a row's tokens, with any mask; never passed on. By it the
    outputs of a row's own tokens are found.
    """

    input_ids: IdArray
    attention_mask: IdArray | None = None
    position_ids: IdArray | None = None
    tokens: IdArray | None = None


@dataclass(frozen=True, slots=True)
class PaddedModel:
    """A model that takes token ids, so that the probes can choose the padding themselves.

    encode: a text to its ids, with special tokens and truncated as the system truncates it.
    forward: a Rectangle to Outputs; raises what the model raises.
    hidden: the last hidden states [rows, columns, hidden_size] of a Rectangle, if available: they
    tell a fault of the encoder from a fault of the head.
    pad_id: the id of the tokenizer's padding token. filler_ids: ids of ordinary tokens, at least
    two, for the content of pads. padding_side: the side on which the system's tokenizer pads.
    positions_start: id of the first position where position_ids can be passed, else None.
    max_tokens: the model's maximum length; None if it states none.
    tokenizer_limit: the tokenizer's maximum length; None if it has none.
    pad_is_also: names of other special tokens (eos_token, ...) that have the id of the pad.
    counts_pad_ids: whether the family is known to count positions by `input_ids != pad`.
    mixing_fault: the fault of a part that is known to mix the rows of a batch, if there is one.
    num_ids: the number of ids that the model has embeddings for, if known.
    """

    encode: Callable[[str], list[int]]
    forward: Callable[[Rectangle], Outputs]
    pad_id: int
    filler_ids: tuple[int, ...]
    padding_side: PaddingSide = "right"
    hidden: Callable[[Rectangle], NDArray[np.float64]] | None = None
    positions_start: int | None = None
    max_tokens: int | None = None
    tokenizer_limit: int | None = None
    pad_is_also: tuple[str, ...] = ()
    counts_pad_ids: bool = False
    mixing_fault: MixingFault | None = None
    num_ids: int | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """One system under audit.

    predict: at least one text to Outputs, in one batch; an error is a refusal of these texts,
    except an AuditError that is not an AnswerError. gives_scores: the outputs are scores (after
    softmax or sigmoid), not logits. dtype: the float format in which the system is known to
    compute. facts: shown to readers of the report. padded: the same model by token ids.
    with_threads: a context in which the model computes with N threads. lowered: the model in
    "float16" or "bfloat16". in_flight: several calls of `predict` at the same time, as concurrent
    requests to a server. max_texts: the maximum number of texts in one call. reads, token_size:
    the kind of the outputs; token_size is how many numbers each token has, or 0 where an output is
    one of the whole text. truncated: whether the response to a text says that the text was
    truncated. encoded: all numbers that the model reads of a text, for a system of which they can
    be seen.
    """

    name: str
    kind: TargetKind
    predict: Callable[[Sequence[str]], Outputs]
    labels: tuple[str, ...] | None = None
    gives_scores: bool = False
    reads: OutputKind = "classes"
    token_size: int = 0
    dtype: FloatFormat | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    padded: PaddedModel | None = None
    with_threads: Callable[[int], AbstractContextManager[None]] | None = None
    lowered: Callable[[str], PaddedModel] | None = None
    in_flight: Callable[[Sequence[Sequence[str]]], list[Outputs]] | None = None
    max_texts: int | None = None
    truncated: Callable[[str], bool] | None = None
    encoded: Callable[[str], Sequence[int]] | None = None


@dataclass(frozen=True, slots=True)
class Pads:
    """How rows are padded: to `columns`, on `side`, with the ids of `content` in turn."""

    columns: int
    side: PaddingSide
    content: tuple[int, ...]

    def text_columns(self, length: int) -> slice:
        """Return the columns of the tokens of a row with `length` tokens."""
        return slice(0, length) if self.side == "right" else slice(self.columns - length, None)

    def pad_columns(self, length: int) -> list[int]:
        """Return the columns of such a row's pads, the one next to its text first."""
        if self.side == "right":
            return list(range(length, self.columns))
        return list(reversed(range(self.columns - length)))


def pad(rows: Sequence[Sequence[int]], pads: Pads, positions_start: int | None = None) -> Rectangle:
    """Pad rows of token ids; the mask is 1 exactly where a row has a token.

    positions_start: add position_ids that count from it; None leaves them to the model.
    """
    ids = np.empty((len(rows), pads.columns), dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        columns = sorted(pads.pad_columns(len(row)))
        ids[index, columns] = np.resize(np.asarray(pads.content, dtype=np.int64), len(columns))
        ids[index, pads.text_columns(len(row))] = row
        mask[index, pads.text_columns(len(row))] = 1
    positions = None if positions_start is None else positions_by_mask(mask, positions_start)
    return Rectangle(ids, mask, positions, mask)


def without_pads(rows: Sequence[Sequence[int]], positions_start: int | None = None) -> Rectangle:
    """Make a Rectangle of rows of one length, every token masked in."""
    return pad(rows, Pads(len(rows[0]), "right", (0,)), positions_start)


def positions_by_mask(mask: IdArray, start: int) -> IdArray:
    """Count start, start + 1, … over each row's tokens, wherever they are; pads get `start`."""
    return np.where(mask == 1, mask.cumsum(axis=1) - 1 + start, start)

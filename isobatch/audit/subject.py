"""Subject: whatever is audited, as the probes see it: texts in, answers out, and what else it can.

What a subject cannot be asked is None here, and a probe that needs it is reported as not tested.
It computes nothing itself. Invariant: one call of `answer` is one batch of the system's own making,
and its rows stand in the order in which the system gave them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isobatch.errors import AuditError

Answers = NDArray[np.float64]
"""[texts, labels]: logits where the system gives them, else scores; float32 is kept exactly."""

Ids = NDArray[np.int64]

Side = Literal["right", "left"]
Kind = Literal["isobatch", "transformers", "onnx", "http", "python"]


class AnswerError(AuditError):
    """The system answers, but refuses these texts, or answers them in a way that nobody can read.

    It is a result of the audit; any other AuditError, as of a server that is down, ends it.
    """


class RowCountError(AnswerError):
    """There are more or fewer answers than texts."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A padded batch, each array [rows, columns]; what is None is not passed to the model."""

    input_ids: Ids
    attention_mask: Ids | None = None
    position_ids: Ids | None = None


@dataclass(frozen=True, slots=True)
class PaddedModel:
    """A model that can be asked with token ids, so that pads can be put in on purpose.

    encode: a text to its ids, special tokens included, cut as the system cuts it.
    forward: a Rectangle to answers; raises what the model raises.
    hidden: the last hidden states [rows, columns, hidden_size] of a Rectangle, where they are to be
    had: they tell a fault of the encoder from a fault of the head.
    pad_id: what the tokenizer pads with. filler_ids: ids of ordinary tokens, at least two, for
    the content of pads. padding_side: the side on which the system's tokenizer pads.
    positions_start: id of the first position where position_ids may be passed, else None.
    max_tokens: the longest that the model reads; None where it names no end.
    tokenizer_limit: the longest that the tokenizer lets through; None where it has no limit.
    pad_is_also: names of other special tokens (eos_token, ...) that have the id of the pad.
    counts_pad_ids: whether the family is known to count positions by `input_ids != pad`.
    suspicious_parts: parts of the model that are known to mix the rows of a batch, e.g.
    "BatchNorm1d in training mode" or "DynamicQuantizeLinear", each with how many there are.
    """

    encode: Callable[[str], list[int]]
    forward: Callable[[Rectangle], Answers]
    pad_id: int
    filler_ids: tuple[int, ...]
    padding_side: Side = "right"
    hidden: Callable[[Rectangle], NDArray[np.float64]] | None = None
    positions_start: int | None = None
    max_tokens: int | None = None
    tokenizer_limit: int | None = None
    pad_is_also: tuple[str, ...] = ()
    counts_pad_ids: bool = False
    suspicious_parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """One system under audit.

    answer: texts, at least one, to Answers, in one batch; whatever it raises is a refusal of these
    texts, but for an AuditError that is no AnswerError. padded: the same model by token ids.
    with_threads: a context in which the model computes with so many threads. lowered: the model in
    "float16" or "bfloat16". in_flight: several calls of `answer` under way at once, as a server
    has them. max_texts: the most texts that one call takes. gives_scores: the answers are scores
    (after softmax or sigmoid), not logits. facts: what the report says of the system.
    """

    name: str
    kind: Kind
    answer: Callable[[Sequence[str]], Answers]
    labels: tuple[str, ...] | None = None
    gives_scores: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    padded: PaddedModel | None = None
    with_threads: Callable[[int], AbstractContextManager[None]] | None = None
    lowered: Callable[[str], PaddedModel] | None = None
    in_flight: Callable[[Sequence[Sequence[str]]], list[Answers]] | None = None
    max_texts: int | None = None

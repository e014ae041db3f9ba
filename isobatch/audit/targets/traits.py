"""What to know of a torch model before it is probed: how it counts, how far it reads, its parts.

It asks the model itself, with a single row without pads, and reads its configuration; it names no
family. Invariant: nothing here changes the model.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from isobatch.audit.subject import Answers, Ids, Rectangle
from isobatch.audit.targets.torch_model import TorchModel

_POSITIONS_FROM_IDS = "create_position_ids_from_input_ids"
"""What transformers calls it where pads are told from their ids, in a class or beside it."""

_SAME = 1e-4
"""Logits nearer than this share of the largest are the same answer, by other kernels."""

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")


@dataclass(frozen=True, slots=True)
class Counting:
    """How positions are counted: from which id, and whether pads are left out by their ids.

    start: None where position_ids cannot be passed, or mean something that is not understood.
    first: the id of the first position, also where none can be passed.
    by_pad_ids: only for families that are known for it; in any other it is a fault, for a probe.
    """

    start: int | None
    first: int
    by_pad_ids: bool


def read_counting(model: TorchModel, ids: Sequence[int], pad_id: int) -> Counting:
    """Ask the model, with the `ids` of an ordinary text.

    Where it cannot be asked, or answers by chance, its parts are looked at.
    """
    padding_idx = _padding_idx(model.model)
    known = _first_of_buffer(model.model) if padding_idx is None else padding_idx + 1
    unasked = Counting(None, known, padding_idx is not None)
    if not model.names("position_ids"):
        return unasked
    try:
        ids = [each for each in ids if each != padding_idx]  # or its shift hides the start
        if _distance(model, ids, None, None) > _SAME:
            return Counting(known, known, padding_idx is not None)
        start = min({0, known, pad_id + 1}, key=lambda each: _distance(model, ids, None, each))
        if _distance(model, ids, None, start) > _SAME:
            return unasked
        if padding_idx is None:
            return Counting(start, start, False)
        middle = len(ids) // 2
        with_pad = [*ids[:middle], padding_idx, *ids[middle:]]
        return Counting(start, start, _distance(model, with_pad, None, start) > _SAME)
    except Exception:  # noqa: BLE001 - whatever a foreign model raises, it cannot be asked so
        return unasked


def gives_hidden(model: TorchModel, ids: Sequence[int]) -> bool:
    """Whether it gives a hidden state for each column."""
    if not model.takes("output_hidden_states"):
        return False
    try:
        states = model.hidden(_row(ids, None))
    except Exception:  # noqa: BLE001 - as above
        return False
    return states.ndim == 3 and states.shape[:2] == (1, len(ids))


def max_tokens(config: Any, counting: Counting) -> int | None:
    """The longest that the model reads, by its configuration.

    Families that tell pads by their ids count those that stand before the first position, too.
    """
    lengths = [getattr(config, name, None) for name in _LENGTHS]
    length = next((each for each in lengths if isinstance(each, int) and each > 0), None)
    unused = counting.first if counting.by_pad_ids else 0
    return None if length is None else length - unused


def num_ids(model: nn.Module) -> int | None:
    """How many ids the model has embeddings for, if it looks them up."""
    try:
        embeddings = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError, TypeError):
        return None
    count = getattr(embeddings, "num_embeddings", None)
    return count if isinstance(count, int) else None


def suspicious_parts(model: nn.Module) -> dict[str, int]:
    """Parts that mix the rows of a batch, or answer by chance, and how many there are."""
    named = (_suspicion(module) for module in model.modules())
    return dict(Counter(name for name in named if name))


def _suspicion(module: nn.Module) -> str | None:
    kind = type(module).__name__
    if isinstance(module, _BatchNorm) and (module.training or not module.track_running_stats):
        return f"{kind} in training mode"
    if isinstance(module, _DropoutNd) and module.training and module.p > 0:
        return f"{kind} in training mode"
    # One scale for the whole tensor of activations, so that a neighbour's outlier changes it.
    if "quantized.dynamic" in type(module).__module__:
        return f"dynamically quantized {kind}"
    return None


def _padding_idx(model: nn.Module) -> int | None:
    """The id that embeddings of RoBERTa's kind leave out as they count; None for other kinds."""
    for module in model.modules():
        beside = getattr(sys.modules.get(type(module).__module__), _POSITIONS_FROM_IDS, None)
        counts = hasattr(module, _POSITIONS_FROM_IDS) or (
            beside is not None and hasattr(module, "position_embeddings")
        )
        if counts and isinstance(getattr(module, "padding_idx", None), int):
            return int(module.padding_idx)  # type: ignore[arg-type]
    return None


def _first_of_buffer(model: nn.Module) -> int:
    """Where the positions begin that embeddings keep in order; 0 if they keep none."""
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] == "position_ids" and buffer.numel():
            return int(buffer.flatten()[0])
    return 0


def _distance(model: TorchModel, ids: Sequence[int], one: int | None, other: int | None) -> float:
    """How far answers lie apart with positions from `one` and from `other`; None passes none."""
    first, second = _ask(model, ids, one), _ask(model, ids, other)
    scale = max(float(np.abs(first).max()), 1e-12)
    distance = float(np.abs(first - second).max()) / scale
    return distance if distance == distance else float("inf")


def _ask(model: TorchModel, ids: Sequence[int], start: int | None) -> Answers:
    return model.forward(_row(ids, start))


def _row(ids: Sequence[int], start: int | None) -> Rectangle:
    input_ids: Ids = np.array([ids], dtype=np.int64)
    positions = None if start is None else start + np.arange(len(ids), dtype=np.int64)[None]
    return Rectangle(input_ids, np.ones_like(input_ids), positions)

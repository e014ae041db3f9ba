"""A torch classifier called with arrays, and its traits: positions, maximum length, parts.

Traits are measured on the model itself, with a single row without pads, and read from its
configuration. Invariant: nothing here changes the model, and no gradient is kept.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.ao.nn.quantized import dynamic
from torch.nn.modules.batchnorm import _BatchNorm

from isobatch.audit.output_rows import aligned, from_rows
from isobatch.audit.subject import MixingFault, Outputs, Rectangle, without_pads
from isobatch.audit.targets.tokenizer_traits import quiet_transformers
from isobatch.errors import AuditError

_OUTPUTS = ("logits", "sentence_embedding", "last_hidden_state")
"""Where outputs are, in this order; "sentence_embedding" is sentence-transformers'."""

_OPTIONAL = ("attention_mask", "token_type_ids", "position_ids", "output_hidden_states")

_POSITIONS_FROM_IDS = "create_position_ids_from_input_ids"
"""Its name in transformers, in a class or in its module, where pads are recognized by their ids."""

_SAME = 1e-4
"""Logits nearer than this share of the largest are the same output, by other kernels."""

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")


class TorchModel:
    """`model` with forward(input_ids, ...), called with arrays; None is not passed on.

    typed: its tokenizer gives each token of a text the type 0, so that a Rectangle gets them too:
    for some models that differs from passing no types at all.
    """

    def __init__(self, model: nn.Module, *, typed: bool = False) -> None:
        self.model = model
        self.typed = typed
        parameters = inspect.signature(model.forward).parameters
        self._takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        self.named = {name for name in _OPTIONAL if name in parameters}

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        first = next(self.model.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def takes(self, name: str) -> bool:
        """Find out whether forward accepts that name, though it may not read it."""
        return self._takes_any or name in self.named

    def forward(self, rectangle: Rectangle) -> Outputs:
        """Return the logits of a padded batch."""
        output = self._run(rectangle)
        return outputs_of(output, rectangle.tokens)

    def hidden(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """Return the last layer's hidden states: the decoder's, which the head reads, if any."""
        output = self._run(rectangle, output_hidden_states=True)
        states = _field(output, "hidden_states") or _field(output, "decoder_hidden_states")
        if not states:
            raise AuditError("the model returns no hidden states")
        return _doubles(states[-1])

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Any]) -> Any:
        """Return the model's output for tensors by name, without those that it cannot take."""
        on_device = {
            name: value.to(self.device) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
            if name == "input_ids" or self.takes(name)
        }
        with quiet_transformers():
            return self.model(**on_device)

    def _run(self, rectangle: Rectangle, **options: Any) -> Any:
        arrays = {
            "input_ids": rectangle.input_ids,
            "attention_mask": rectangle.attention_mask,
            "position_ids": rectangle.position_ids,
        }
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
            if array is not None
        }
        if self.typed:
            tensors["token_type_ids"] = torch.zeros_like(tensors["input_ids"])
        return self.run(tensors | options)


def outputs_of(output: Any, tokens: NDArray[np.int64] | None = None) -> Outputs:
    """Return [rows, numbers] of a model's output: its logits, vectors, or numbers of tokens.

    tokens: 1 in the columns of each row's own tokens; an output with a row for each column has
    those of its tokens in turn.
    """
    found = main_tensor(output)
    if found.ndim < 3:
        return _doubles(found).reshape(found.shape[0], -1)
    if tokens is None or tokens.shape != found.shape[:2]:
        raise AuditError(
            f"the model returned a tensor {list(found.shape)}, and it is unknown which of its "
            "columns are tokens of the text"
        )
    return from_rows([row[own == 1] for row, own in zip(_doubles(found), tokens, strict=True)])


def main_tensor(output: Any) -> Tensor:
    """Return the logits of an output, or its vectors; a tensor, or the first of a tuple."""
    if isinstance(output, Tensor):
        found: Any = output
    else:
        named = (_field(output, name) for name in _OUTPUTS)
        found = next((each for each in named if each is not None), None)
    if found is None and isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor) or found.ndim not in (1, 2, 3):
        raise AuditError(
            f"the model returned {type(output).__name__} without logits [rows, labels], and without"
            " vectors of texts or tokens. Use a classifier, an encoder or a model of embeddings"
        )
    return found


def gives_vectors(output: Any) -> bool:
    """Find out whether a model's output is one of vectors, by its name."""
    if isinstance(output, Tensor) or _field(output, "logits") is not None:
        return False
    return any(_field(output, name) is not None for name in _OUTPUTS[1:])


def _field(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def _doubles(tensor: Tensor) -> NDArray[np.float64]:
    """Convert exactly: every narrower float has its double."""
    doubles: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return doubles


@dataclass(frozen=True, slots=True)
class PositionCounting:
    """How positions are counted: from which id, and whether pads are left out by their ids.

    start: None where position_ids cannot be passed, or have an unknown meaning. first: the id of
    the first position, also where none can be passed. by_pad_ids: only for families that are known
    for it; in any other it is a fault, for a probe.
    """

    start: int | None
    first: int
    by_pad_ids: bool


def read_counting(model: TorchModel, ids: Sequence[int], pad_id: int) -> PositionCounting:
    """Measure it on the model, with the `ids` of an ordinary text.

    Where it takes no positions, or is random, its parts are inspected.
    """
    padding_idx = _padding_idx(model.model)
    known = _first_of_buffer(model.model) if padding_idx is None else padding_idx + 1
    unmeasured = PositionCounting(None, known, padding_idx is not None)
    if "position_ids" not in model.named:
        return unmeasured
    try:
        ids = [each for each in ids if each != padding_idx]  # or its shift hides the start
        if _distance(model, ids, None, None) > _SAME:
            return PositionCounting(known, known, padding_idx is not None)
        start = min({0, known, pad_id + 1}, key=lambda each: _distance(model, ids, None, each))
        if _distance(model, ids, None, start) > _SAME:
            return unmeasured
        if padding_idx is None:
            return PositionCounting(start, start, False)
        middle = len(ids) // 2
        with_pad = [*ids[:middle], padding_idx, *ids[middle:]]
        return PositionCounting(start, start, _distance(model, with_pad, None, start) > _SAME)
    except Exception:  # noqa: BLE001 - any error of a foreign model: it cannot be measured
        return unmeasured


def gives_hidden(model: TorchModel, ids: Sequence[int]) -> bool:
    """Find out whether it returns a hidden state for each column."""
    if not model.takes("output_hidden_states"):
        return False
    try:
        states = model.hidden(without_pads([ids]))
    except Exception:  # noqa: BLE001 - as above
        return False
    return states.ndim == 3 and states.shape[:2] == (1, len(ids))


def max_tokens(config: Any, counting: PositionCounting) -> int | None:
    """Return the model's maximum length, by its configuration.

    Families that tell pads by their ids also count the ids before the first position.
    """
    lengths = [getattr(config, name, None) for name in _LENGTHS]
    length = next((each for each in lengths if isinstance(each, int) and each > 0), None)
    unused = counting.first if counting.by_pad_ids else 0
    return None if length is None else length - unused


def num_ids(model: nn.Module) -> int | None:
    """Return how many ids the model has embeddings for, if it looks them up."""
    try:
        embeddings = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError, TypeError):
        return None
    count = getattr(embeddings, "num_embeddings", None)
    return count if isinstance(count, int) else None


_DYNAMIC = tuple(each for each in vars(dynamic).values() if isinstance(each, type))


def mixing_fault(model: nn.Module) -> MixingFault | None:
    """Look for a part that mixes the rows of a batch, and return its fault."""
    parts = list(model.modules())
    norms = (each for each in parts if isinstance(each, _BatchNorm))
    if any(norm.training or not norm.track_running_stats for norm in norms):
        return "batch-statistics"
    # One scale for the whole tensor of activations, which an outlier in another text changes.
    return "tensor-wide-scales" if any(isinstance(each, _DYNAMIC) for each in parts) else None


def _padding_idx(model: nn.Module) -> int | None:
    """Return the id that embeddings of RoBERTa's kind leave out as they count; else None."""
    for module in model.modules():
        function = getattr(sys.modules.get(type(module).__module__), _POSITIONS_FROM_IDS, None)
        counts = hasattr(module, _POSITIONS_FROM_IDS) or (
            function is not None and hasattr(module, "position_embeddings")
        )
        if counts and isinstance(getattr(module, "padding_idx", None), int):
            return int(module.padding_idx)  # type: ignore[arg-type]
    return None


def _first_of_buffer(model: nn.Module) -> int:
    """Return where the positions begin that embeddings keep in order; 0 if they keep none."""
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] == "position_ids" and buffer.numel():
            return int(buffer.flatten()[0])
    return 0


def _distance(model: TorchModel, ids: Sequence[int], one: int | None, other: int | None) -> float:
    """Compare outputs with positions from `one` and from `other`; None passes none."""
    first, second = aligned(*(model.forward(without_pads([ids], start)) for start in (one, other)))
    scale = max(float(np.abs(first).max()), 1e-12)
    distance = float(np.abs(first - second).max()) / scale
    return distance if distance == distance else float("inf")

"""TorchModel: a torch classifier that is called with arrays, whatever its forward takes.

It knows forward's signature and the shapes of what comes back; no tokenizer, no checkpoint.
Invariant: what is None is not passed, and no gradient is kept.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isobatch.audit.subject import Answers, Rectangle
from isobatch.audit.targets.libraries import quiet_transformers
from isobatch.errors import AuditError

_OPTIONAL = ("attention_mask", "token_type_ids", "position_ids", "output_hidden_states")


class TorchModel:
    """`model` with forward(input_ids, ...), and its answers as arrays.

    typed: its tokenizer gives each token of a text the type 0, so that a Rectangle gets them too:
    some models read that otherwise than no types at all.
    """

    def __init__(self, model: nn.Module, *, typed: bool = False) -> None:
        self.model = model
        self.typed = typed
        parameters = inspect.signature(model.forward).parameters
        self._swallows = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        self._named = {name for name in _OPTIONAL if name in parameters}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        first = next(self.model.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def names(self, name: str) -> bool:
        """Whether forward has a parameter of that name."""
        return name in self._named

    def takes(self, name: str) -> bool:
        """Whether forward can be called with that name, though it may not read it."""
        return self._swallows or name in self._named

    def forward(self, rectangle: Rectangle) -> Answers:
        """Logits of a padded batch."""
        return logits_of(self._run(rectangle))

    def hidden(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """Hidden states of the last layer: the decoder's, which the head reads, if there is one."""
        output = self._run(rectangle, output_hidden_states=True)
        states = _field(output, "hidden_states") or _field(output, "decoder_hidden_states")
        if not states:
            raise AuditError("the model gives no hidden states")
        return _doubles(states[-1])

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Any]) -> Any:
        """What the model gives back for tensors by name; those that it cannot take are left out."""
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


def logits_of(output: Any) -> Answers:
    """Answers [rows, labels] of an output with logits, a tensor, or a tuple that begins so."""
    logits = output if isinstance(output, Tensor) else _field(output, "logits")
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, Tensor) or logits.ndim not in (1, 2):
        raise AuditError(
            f"the model gave {type(output).__name__} without logits [rows, labels]; "
            "is it a sequence classifier?"
        )
    return _doubles(logits).reshape(logits.shape[0], -1)


def _field(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def _doubles(tensor: Tensor) -> NDArray[np.float64]:
    """Every narrower float has its double; nothing is rounded."""
    doubles: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return doubles

"""Modules under Hugging Face's names, as training scripts see the model.

Invariant: the leaves are the very modules that compute, so that freezing, casting, moving and
loading take effect; a change that would have none, such as another module in place of one, is
rejected.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import is_
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from isobatch.errors import OptionError

_HOOKS = ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook")


class NamedModules(nn.Module):
    """A group of modules under their names in transformers; computed only as part of the model."""

    def forward(self, *_inputs: object, **_options: object) -> Any:
        raise OptionError(
            "a part of the model cannot be called alone. Call the model with "
            "output_hidden_states=True, or load the encoder with AutoModel"
        )


class FusedLinear(NamedModules):
    """Linears that are one in a checkpoint, whose rows are theirs, one after another.

    The state dict has the fused tensors; parameters are named by part: "Wqkv.query.weight".
    """

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__()
        self._parts = tuple(parts)

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """Return the tensors of the parts, fused."""
        held = super().state_dict(*args, **options)
        prefix = options.get("prefix", "")
        for kind in ("weight", "bias"):
            names = [f"{prefix}{part}.{kind}" for part in self._parts]
            if names[0] in held:
                held[f"{prefix}{kind}"] = torch.cat([held.pop(name) for name in names])
        return held

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *others: Any, **options: Any
    ) -> None:
        for kind in ("weight", "bias"):
            if f"{prefix}{kind}" in state_dict:
                whole = state_dict.pop(f"{prefix}{kind}")
                split = whole.chunk(len(self._parts))
                state_dict |= {
                    f"{prefix}{part}.{kind}": rows
                    for part, rows in zip(self._parts, split, strict=True)
                }
        super()._load_from_state_dict(state_dict, prefix, *others, **options)


def add_modules(
    root: nn.Module,
    leaves: Mapping[str, nn.Module],
    fused: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Add `leaves`, by dotted names, to `root`; groups of numbers become lists.

    fused: names of groups that are a FusedLinear, and their parts in the order of rows.
    """
    for name, leaf in leaves.items():
        *groups, last = name.split(".")
        parent = root
        for depth, (group, following) in enumerate(zip(groups, name.split(".")[1:], strict=True)):
            if group not in parent._modules:
                parts = fused.get(".".join(groups[: depth + 1]))
                named = FusedLinear(parts) if parts else NamedModules()
                container = nn.ModuleList() if following.isdigit() else named
                reject_hooks(container)
                parent.add_module(group, container)
            parent = parent.get_submodule(group)
        parent.add_module(last, leaf)


def reject_hooks(module: nn.Module) -> None:
    """Make the registration of hooks that would never be called an OptionError."""
    module.__dict__.update({name: partial(_reject_hook, name) for name in _HOOKS})


def check_unchanged(root: nn.Module, expected: Iterable[nn.Module]) -> None:
    """Raise OptionError unless `root` still consists of the modules that compute its output."""
    listed, found = list(expected), list(root.modules())[1:]
    if len(found) == len(listed) and all(map(is_, found, listed)):
        return
    known = set(map(id, listed))
    other = [name for name, module in root.named_modules() if name and id(module) not in known]
    changed = f"{other[0]!r} is another module" if other else "a module was removed"
    raise OptionError(
        f"the model's modules were changed ({changed}), but its layers are computed as they were "
        "loaded. Use from_pretrained(..., num_labels=N, ignore_mismatched_sizes=True) for another "
        "head; change weights in place"
    )


def _reject_hook(name: str, *_hook: object, **_options: object) -> None:
    raise OptionError(
        f"{name}() on a part of the model: the hook would never be called, as several layers are "
        "computed at once. Use output_hidden_states=True or output_attentions=True"
    )

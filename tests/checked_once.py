"""The invariance checks at load, once in a process for each kind of operation.

Tests load thousands of tiny models of a few hundred kinds, and to check every one took a fifth of
their time. Tests of the checks, or of faults that a check finds, use the fixture `checks_at_load`.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from isobatch.kernels import compiled, selection
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import BlockKernel, BlockWeights, LinearWeights
from isobatch.kernels.linear_kernels import LinearKernel
from isobatch.kernels.selection import BlockCandidate

_OWN = ("compiled", "compiled fp32", "compiled bf16", "compiled int8", "torch int8")
"""Candidates of Isobatch: a test's own may have the same name with another fault."""

_passed: set[Hashable] = set()

_check_any_block = selection._check_block
_check_any_linear = selection.linear_difference
_check_any_attention = selection.attention_difference


@contextmanager
def checked_once() -> Iterator[None]:
    """Skip a check that passed before for the same kind, kernel, instruction set and threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_check_block", _check_block)
        patch.setattr(selection, "linear_difference", _linear_difference)
        patch.setattr(selection, "attention_difference", _attention_difference)
        yield


def unless_passed(key: Hashable, check: Callable[[], str | None]) -> str | None:
    """Return what differs by `check`, or None if it passed before with an equal key."""
    machine = compiled.kernels("fp32").name if compiled.unavailable("fp32") is None else "torch"
    key = (key, machine, torch.get_num_threads())
    if key in _passed:
        return None
    difference = check()
    if difference is None:
        _passed.add(key)
    return difference


def _check_block(
    weights: BlockWeights, candidate: BlockCandidate
) -> tuple[str | None, BlockKernel | None]:
    if candidate.name not in _OWN:
        return _check_any_block(weights, candidate)
    kernels: list[BlockKernel | None] = []

    def check() -> str | None:
        difference, kernel = _check_any_block(weights, candidate)
        kernels.append(kernel)
        return difference

    difference = unless_passed((candidate.name, weights.spec), check)
    return difference, kernels[0] if kernels else candidate.make(weights)


def _is_own(kernel: object) -> bool:
    return type(kernel).__module__.startswith("isobatch.")


def _linear_difference(layer: LinearWeights, kernel: LinearKernel) -> str | None:
    if not _is_own(kernel):
        return _check_any_linear(layer, kernel)
    key = (
        type(kernel),
        (layer.in_features, layer.out_features, layer.activation.name, layer.bias is None),
        layer.device,
    )
    return unless_passed(key, lambda: _check_any_linear(layer, kernel))


def _attention_difference(attention: PackedAttention, device: torch.device) -> str | None:
    if not _is_own(attention):
        return _check_any_attention(attention, device)
    multiply = attention.multiply
    products = tuple(map(type, multiply.args)) if isinstance(multiply, partial) else multiply
    key = (attention.spec, attention.by_sequence, products, device)
    return unless_passed(key, lambda: _check_any_attention(attention, device))

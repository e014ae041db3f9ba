"""Kernel selection at load: for each operation, the first kernel that passes its invariance check.

Candidates are tried on the model's own weights, the fastest first; each kind of operation is
checked once. If none passes, loading fails: a promise that cannot be kept is not made.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.errors import NotInvariantError, PrecisionError
from isobatch.kernels import compiled
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import BlockKernel, BlockWeights, LinearWeights, NormWeights
from isobatch.kernels.embedding_formula import EmbeddingWeights
from isobatch.kernels.int8 import Int8Block
from isobatch.kernels.invariance import (
    BLOCK_LENGTHS,
    FEW_BLOCK_LENGTHS,
    attention_difference,
    block_difference,
    linear_difference,
    norm_difference,
    pool_difference,
    row_counts,
    thread_counts,
)
from isobatch.kernels.layers import LayerwiseBlock, PackedLinear
from isobatch.kernels.linear_kernels import (
    Bf16Kernel,
    CompiledKernel,
    LinearKernel,
    candidate_kernels,
    multiply_by_head,
)
from isobatch.kernels.pooling import HALVING
from isobatch.specification import AttentionSpec, Pool
from isobatch.types import PRECISIONS, Precision


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """The kernel that computes one operation on this machine, and why."""

    operation: str
    kernel: str
    reason: str


NormKernel = Callable[[NormWeights, Tensor], Tensor]
"""(weights, x) → the norm of each row of x."""

EmbeddingKernel = Callable[[EmbeddingWeights, PackedBatch, Tensor | None], Tensor]
"""(weights, batch, words or None) → float32 [tokens, size]."""


class BlockCandidate(NamedTuple):
    """A way to compute a layer."""

    name: str
    unavailable: str | None
    make: Callable[[BlockWeights], BlockKernel]


def supported_precisions(device: torch.device) -> tuple[Precision, ...]:
    """List what this machine can compute; whether it is batch-invariant is checked at load."""
    if device.type != "cpu":
        return ("fp32",)
    has_bf16 = compiled.unavailable("bf16") is None or Bf16Kernel.is_available(device)
    return ("fp32", "bf16", "int8") if has_bf16 else ("fp32", "int8")


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise PrecisionError, with the supported ones, if this machine cannot compute `precision`."""
    supported = supported_precisions(device)
    if precision in supported:
        return
    if precision not in PRECISIONS:
        reason = "unknown name"
    elif device.type != "cpu":
        reason = "implemented for CPUs only"
    else:
        reason = "it needs a CPU with AVX512_BF16 or AMX"
    raise PrecisionError(
        f"precision {precision!r} is not supported on {device}: {reason}. "
        f"Use {' or '.join(supported)}"
    )


class KernelSelector:
    """Selects the kernels of one model and keeps the choices."""

    def __init__(self, device: torch.device, precision: Precision = "fp32") -> None:
        self._device = device
        self._precision = precision
        self._blocks: dict[str, tuple[BlockCandidate | None, KernelChoice]] = {}
        self._linears: dict[str, tuple[LinearKernel, KernelChoice]] = {}
        self._attention: dict[str, PackedAttention] = {}
        self._others: dict[str, KernelChoice] = {}

    @property
    def choices(self) -> tuple[KernelChoice, ...]:
        """The kernels selected so far, with reasons."""
        selected = (*self._blocks.values(), *self._linears.values())
        return (*(choice for _, choice in selected), *self._others.values())

    @torch.no_grad()
    def select_packed_block(self, weights: BlockWeights) -> BlockKernel:
        """Pack a layer for inference, by a kernel for all of it or layer by layer.

        Raises NotInvariantError if no kernel passes.
        """
        operation = weights.spec.name
        if operation not in self._blocks:
            candidates = self.packed_candidates(weights)
            candidate, kernel, choice = _first_invariant(
                operation, weights, candidates, fallback=self._precision != "int8"
            )
            self._blocks[operation] = candidate, choice
            if kernel is not None:
                return kernel
        candidate, _ = self._blocks[operation]
        return self._by_layers(weights) if candidate is None else candidate.make(weights)

    @torch.no_grad()
    def select_trainable_block(self, weights: BlockWeights) -> bool:
        """Return whether the compiled kernel computes this layer from its parameters."""
        operation = weights.spec.name
        if operation not in self._blocks:
            reason = compiled.unavailable("fp32") or compiled.unsupported(weights)
            candidate = BlockCandidate(
                "compiled", reason, lambda weights: partial(compiled.compute_trainable, weights)
            )
            found, _, choice = _first_invariant(operation, weights, [candidate], fallback=True)
            self._blocks[operation] = found, choice
        return self._blocks[operation][0] is not None

    def packed_candidates(self, weights: BlockWeights) -> Iterator[BlockCandidate]:
        """Ways to compute a whole layer, the fastest first."""
        precision = self._precision
        unavailable = compiled.unavailable(precision) or compiled.unsupported(weights)
        pack = partial(compiled.PackedBlock, precision=precision)
        yield BlockCandidate(f"compiled {precision}", unavailable, pack)
        if precision == "int8":
            attention, cross = self.attention_kernels(weights)
            make = partial(Int8Block, attention=attention, cross=cross)
            yield BlockCandidate("torch int8", None, make)

    def _by_layers(self, weights: BlockWeights) -> LayerwiseBlock:
        linears = {
            name: PackedLinear(layer, self.select_linear(layer, self._precision))
            for name, layer in weights.linears.items()
        }
        norms = {
            name: partial(self.select_norm(norm), norm) for name, norm in weights.norms.items()
        }
        attention, cross = self.attention_kernels(weights)
        return LayerwiseBlock(weights.spec, linears, norms, attention, cross)

    def attention_kernels(
        self, weights: BlockWeights
    ) -> tuple[PackedAttention, PackedAttention | None]:
        """Select the kernels of a layer's attention and of its cross-attention."""
        spec = weights.spec
        cross = None if spec.cross is None else self.select_attention(spec.cross)
        return self.select_attention(spec.attention), cross

    @torch.no_grad()
    def select_linear(self, layer: LinearWeights, precision: Precision = "fp32") -> LinearKernel:
        """Select the kernel of one linear layer. Raises NotInvariantError if none passes."""
        kind = "" if precision == "fp32" else f" {precision}"
        sizes = f"{layer.in_features}→{layer.out_features}"
        operation = f"linear {sizes} {layer.activation.name}{kind}"
        if operation not in self._linears:
            self._linears[operation] = _first_invariant_linear(operation, layer, precision)
        return self._linears[operation][0]

    @torch.no_grad()
    def select_attention(self, spec: AttentionSpec) -> PackedAttention:
        """Select how segments are computed. Raises NotInvariantError if neither way passes."""
        operation = f"attention {spec.name}"
        if operation not in self._attention:
            attention, choice = _first_invariant_attention(operation, spec, self._device)
            self._attention[operation], self._others[operation] = attention, choice
        return self._attention[operation]

    @torch.no_grad()
    def select_embeddings(self, weights: EmbeddingWeights) -> EmbeddingKernel:
        """Select how the rows of tokens are added and normalized; NotInvariantError if neither is.

        The compiled kernel is not checked with these weights: it sees one token at a time.
        """
        operation = f"embeddings {weights.size}"
        if CompiledKernel.is_available(self._device):
            reason = "computes each token by itself"
            self._others[operation] = KernelChoice(operation, CompiledKernel.name, reason)
            return compiled.embed
        self._others[operation] = (
            KernelChoice(operation, "torch", "looks each token up")
            if weights.norm is None
            else _checked_norm(operation, weights.norm)
        )
        return EmbeddingWeights.__call__

    @torch.no_grad()
    def select_pool(self, pool: Pool, hidden_size: int) -> None:
        """Check a pool of all rows. Raises NotInvariantError if it does not pass."""
        operation = f"pool {pool} {hidden_size}"
        if operation not in self._others:
            if difference := pool_difference(pool, hidden_size, self._device):
                raise _not_invariant(operation, [f"halving rejected ({difference})"])
            reason = f"same bits alone and in a batch, {_tried(self._device)}"
            self._others[operation] = KernelChoice(operation, HALVING, reason)

    @torch.no_grad()
    def select_norm(self, norm: NormWeights) -> NormKernel:
        """Select the kernel of a norm. Raises NotInvariantError if none passes.

        The compiled kernel is not checked: it sees one row at a time.
        """
        operation = f"{'RMS' if norm.kind == 'rms' else 'layer'} norm {norm.weight.shape[0]}"
        if CompiledKernel.is_available(self._device):
            reason = "computes each row by itself"
            self._others[operation] = KernelChoice(operation, CompiledKernel.name, reason)
            return compiled.normalize
        if operation not in self._others:
            self._others[operation] = _checked_norm(operation, norm)
        return NormWeights.__call__


def _first_invariant(
    operation: str,
    weights: BlockWeights,
    candidates: Iterator[BlockCandidate] | Sequence[BlockCandidate],
    *,
    fallback: bool,
) -> tuple[BlockCandidate | None, BlockKernel | None, KernelChoice]:
    """Return the first candidate that passes, with its kernel; None for layer by layer.

    Raises NotInvariantError if none passes and there is no fallback.
    """
    rejected: list[str] = []
    for candidate in candidates:
        difference, kernel = candidate.unavailable, None
        if difference is None:
            difference, kernel = _check_block(weights, candidate)
        if difference is None:
            passed = f"same bits alone and in a batch, {_tried(weights.device)}"
            choice = KernelChoice(operation, candidate.name, "; ".join([*rejected, passed]))
            return candidate, kernel, choice
        rejected.append(f"{candidate.name} rejected ({difference})")
    if not fallback:
        raise _not_invariant(operation, rejected)
    return None, None, KernelChoice(operation, "layer by layer", "; ".join(rejected))


def _check_block(
    weights: BlockWeights, candidate: BlockCandidate
) -> tuple[str | None, BlockKernel | None]:
    kernel = candidate.make(weights)
    is_slow = candidate.name.startswith("compiled") and compiled.kernels("fp32").name == "reference"
    lengths = FEW_BLOCK_LENGTHS if is_slow else BLOCK_LENGTHS
    return block_difference(kernel, weights.spec, lengths), kernel


def _first_invariant_linear(
    operation: str, layer: LinearWeights, precision: Precision
) -> tuple[LinearKernel, KernelChoice]:
    rejected: list[str] = []
    for kernel in candidate_kernels(layer.device, precision):
        difference = linear_difference(layer, kernel)
        if difference is None:
            passed = f"same bits in {_rows_tried(layer.device)} rows, {_tried(layer.device)}"
            choice = KernelChoice(operation, kernel.name, "; ".join([*rejected, passed]))
            return kernel, choice
        rejected.append(f"{kernel.name} rejected ({difference})")
    raise _not_invariant(operation, rejected)


def _first_invariant_attention(
    operation: str, spec: AttentionSpec, device: torch.device
) -> tuple[PackedAttention, KernelChoice]:
    rejected: list[str] = []
    for name, attention in _attention_candidates(spec, device):
        difference = attention_difference(attention, device)
        if difference is None:
            passed = f"same bits alone and in a batch, {_tried(device)}"
            return attention, KernelChoice(operation, name, "; ".join([*rejected, passed]))
        rejected.append(f"{name} rejected ({difference})")
    raise _not_invariant(operation, rejected)


def _attention_candidates(
    spec: AttentionSpec, device: torch.device
) -> Iterator[tuple[str, PackedAttention]]:
    ways = ((False, "segments of equal length"), (True, "sequence by sequence"))
    if spec.distances is None:
        yield from ((name, PackedAttention(spec, by_sequence)) for by_sequence, name in ways)
        return
    for kernel in candidate_kernels(device, "fp32"):
        multiply = partial(multiply_by_head, kernel)
        for by_sequence, name in ways:
            attention = PackedAttention(spec, by_sequence, multiply)
            yield f"{name}, {kernel.name} products of distances", attention


def _checked_norm(operation: str, norm: NormWeights) -> KernelChoice:
    if difference := norm_difference(norm):
        raise _not_invariant(operation, [f"torch rejected ({difference})"])
    return KernelChoice(operation, "torch", f"same bits in {_rows_tried(norm.weight.device)} rows")


def _tried(device: torch.device) -> str:
    if device.type != "cpu":
        return f"on {device}"
    return f"{_listed(thread_counts(device))} threads"


def _rows_tried(device: torch.device) -> str:
    return _listed(row_counts(device))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _not_invariant(operation: str, rejected: Sequence[str]) -> NotInvariantError:
    return NotInvariantError(
        f"{operation}: no kernel on this machine gives the same bits in every batch: "
        + "; ".join(rejected)
        + ". Please report this with the output of `isobatch info`"
    )

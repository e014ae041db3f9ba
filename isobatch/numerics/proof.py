"""The check at load: for each operation of a model, find the first kernel that keeps a row's bits.

Each candidate computes the same random rows at several numbers of rows, in several places, with one
thread, two and all, from a packed and from a plain weight; every row must come out bit-equal. If
no candidate passes, loading fails: a promise that cannot be kept is not made. Of a model it knows
only its Linear, PackedAttention and LayerNorm modules.
"""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from isobatch.core import Precision, Run
from isobatch.numerics.activations import IDENTITY
from isobatch.numerics.attention import PackedAttention
from isobatch.numerics.block_proof import MakeBlock, needs_twin, settle_block
from isobatch.numerics.blocks import BlockKernel, BlockLayers
from isobatch.numerics.int8 import Int8Block
from isobatch.numerics.kernels import Kernel, candidate_kernels
from isobatch.numerics.linear import Linear
from isobatch.numerics.trial import (
    Choice,
    inference,
    not_invariant,
    numbers,
    random_rows,
    thread_counts,
    threads,
    threads_tried,
)

ALL_ROWS = 257
NUM_ROWS = (1, 2, 5, 17, 40)
LENGTHS = (1, 2, 5, 15, 17, 33, 130)
_COMPANY = 3

_TOGETHER, _SPLIT = "runs of equal length", "sequence by sequence"


class KernelSettler:
    """Chooses kernels module by module, and tries each kind of operation only once."""

    def __init__(self, device: torch.device, precision: Precision = "fp32") -> None:
        self._device = device
        self._precision = precision
        self._blocks: dict[str, tuple[MakeBlock | None, Choice]] = {}
        self._linears: dict[str, tuple[Kernel, Choice]] = {}
        self._others: dict[str, Choice] = {}

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What was chosen so far, and why."""
        blocks = (choice for _, choice in self._blocks.values())
        linears = (choice for _, choice in self._linears.values())
        return (*blocks, *linears, *self._others.values())

    @torch.no_grad()
    def settle_block(self, layers: BlockLayers, *, packed: bool) -> BlockKernel | None:
        """The kernel of a whole block, or None: then each of its layers has one of its own.

        The layers must hold their weights. `packed`: the kernel keeps a copy in its own layout.
        """
        name = _block_name(layers)
        if name not in self._blocks:
            if self._precision == "int8" and needs_twin(layers):
                self.settle(layers.attend)  # first, because the twin is checked with it
            self._blocks[name] = settle_block(layers, name, self._precision, packed=packed)
        make, _ = self._blocks[name]
        if make is not None:
            kernel = make(layers)
            if isinstance(kernel, Int8Block):
                self.settle(layers.attend)
            return kernel
        for module in layers:
            self.settle(module, self._precision)
        return None

    @torch.no_grad()
    def settle(self, module: nn.Module, precision: Precision = "fp32") -> None:
        """Choose the kernel of a Linear, PackedAttention or LayerNorm; other modules have none.

        The module must hold its weight, plain and not packed. Thread counts are changed while it
        runs and restored. NotInvariantError if no kernel passes.
        """
        if isinstance(module, Linear):
            kind = "" if precision == "fp32" else f" {precision}"
            sizes = f"{module.in_features}→{module.out_features}"
            name = f"linear {sizes} {module.activation.name}{kind}"
            if name not in self._linears:
                self._linears[name] = _settle_linear(name, module, precision)
            module.kernel = self._linears[name][0]
        elif isinstance(module, PackedAttention):
            name = f"attention {module.num_heads}×{module.head_dim}"
            if name not in self._others:
                self._others[name] = _settle_attention(name, module, self._device)
            module.split_runs = self._others[name].kernel == _SPLIT
        elif isinstance(module, nn.LayerNorm):
            name = f"layer norm {module.normalized_shape[0]}"
            if name not in self._others:
                self._others[name] = _settle_norm(name, module)


def _block_name(layers: BlockLayers) -> str:
    attend, up = layers.attend, layers.up
    sizes = f"{up.in_features}→{up.out_features}"
    return f"block {sizes} {up.activation.name}, {attend.num_heads}×{attend.head_dim}"


def _settle_linear(operation: str, layer: Linear, precision: Precision) -> tuple[Kernel, Choice]:
    device, refusals = layer.weight.device, list[str]()
    for kernel in candidate_kernels(device, precision):
        fault = _linear_fault(layer, kernel)
        if fault is None:
            proof = f"same bits in {numbers((*NUM_ROWS, ALL_ROWS))} rows, {threads_tried(device)}"
            return kernel, Choice(operation, kernel.name, "; ".join([*refusals, proof]))
        refusals.append(f"{kernel.name} refused ({fault})")
    raise not_invariant(operation, refusals)


def _linear_fault(layer: Linear, kernel: Kernel) -> str | None:
    """Where the kernel breaks the promise for this layer's own weights, or None."""
    x = random_rows(ALL_ROWS, layer.in_features, layer.weight.device)
    residual = random_rows(ALL_ROWS, layer.out_features, layer.weight.device)
    weights = {"packed": kernel.prepack(layer.weight), "plain": layer.weight.detach()}
    for join in (None, residual) if layer.activation is IDENTITY else (None,):

        def compute(rows: slice, weight: Tensor, join: Tensor | None = join) -> Tensor:
            part = None if join is None else join[rows]
            return kernel.linear(x[rows], weight, layer.bias, layer.activation, part)

        reference = compute(slice(None), weights["packed"])
        for num_threads, (kind, weight) in product(thread_counts(x.device), weights.items()):
            counts = (*NUM_ROWS, ALL_ROWS) if kind == "packed" else (2, ALL_ROWS)
            with threads(num_threads):
                if fault := _row_fault(lambda rows, w=weight: compute(rows, w), reference, counts):  # type: ignore[misc]
                    return f"{fault}, {kind} weight, threads: {num_threads}"
    return None


def _row_fault(
    compute: Callable[[slice], Tensor], reference: Tensor, counts: Sequence[int]
) -> str | None:
    """Compute some rows of `reference` again, fewer at a time; say which came out otherwise."""
    for position, count in enumerate(counts):
        first = min(7 * position, len(reference) - count)
        rows = slice(first, first + count)
        if not torch.equal(compute(rows), reference[rows]):
            return f"a row's bits are others in {count} rows than in {len(reference)}"
    return None


def _settle_norm(operation: str, norm: nn.LayerNorm) -> Choice:
    x = random_rows(ALL_ROWS, norm.normalized_shape[0], norm.weight.device)
    reference = norm(x)
    for num_threads in thread_counts(x.device):
        with threads(num_threads):
            if fault := _row_fault(lambda rows: norm(x[rows]), reference, (*NUM_ROWS, ALL_ROWS)):
                raise not_invariant(operation, [f"torch refused ({fault})"])
    return Choice(operation, "torch", f"same bits in {numbers(NUM_ROWS)} rows")


def _settle_attention(operation: str, attention: PackedAttention, device: torch.device) -> Choice:
    refusals: list[str] = []
    for name in (_TOGETHER, _SPLIT):
        attention.split_runs = name == _SPLIT
        with inference(attention):
            fault = _attention_fault(attention, device)
        if fault is None:
            proof = f"same bits alone and in company, {threads_tried(device)}"
            return Choice(operation, name, "; ".join([*refusals, proof]))
        refusals.append(f"{name} refused ({fault})")
    raise not_invariant(operation, refusals)


def _attention_fault(attention: PackedAttention, device: torch.device) -> str | None:
    for length, first_only in product(LENGTHS, (False, True)):
        together = Run(0, 0, _COMPANY, length)
        size = attention.num_heads * attention.head_dim
        query, key, value = (
            random_rows(_COMPANY * length, size, device, part) for part in range(3)
        )
        if first_only:
            query = query[::length].contiguous()
        reference = attention(query, key, value, (together,), first_only=first_only)
        for num_threads, run in product(thread_counts(device), (together, *together.split())):
            rows = run.sequences if first_only else run.tokens
            parts = query[rows], key[run.tokens], value[run.tokens]
            run_alone = Run(0, 0, run.num_sequences, length)
            with threads(num_threads):
                result = attention(*parts, (run_alone,), first_only=first_only)
            if not torch.equal(result, reference[rows]):
                return (
                    f"bits change at length {length}, {run.num_sequences} of {_COMPANY} sequences, "
                    f"threads: {num_threads}"
                )
    return None

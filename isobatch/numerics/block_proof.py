"""The check at load of whole blocks: which way of computing one keeps every sequence's bits.

Candidates are tried on a block's own weights, the fastest first: sequences of several lengths
together and each alone, with one thread, two and all. int8 products are also compared with exact
integers, because some processors add them in 16 bits and saturate without a word. Of a model it
knows only the layers of one block.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isobatch.core import PRECISIONS, Precision, Run
from isobatch.errors import PrecisionError
from isobatch.numerics import compiled
from isobatch.numerics.blocks import BlockKernel, BlockLayers
from isobatch.numerics.int8 import Int8Block, Int8Product
from isobatch.numerics.kernels import Bf16Kernel, OneDnnKernel
from isobatch.numerics.linear import Linear
from isobatch.numerics.rows import QuantisedWeight, quantise_rows, quantised_weight
from isobatch.numerics.trial import (
    Choice,
    inference,
    not_invariant,
    random_rows,
    thread_counts,
    threads,
    threads_tried,
)

LENGTHS = (130, 40, 17, 5, 5, 5, 2, 1)
"""Sequences of the check: more rows than the compiled kernels take at a time, and equal lengths."""

MakeBlock = Callable[[BlockLayers], BlockKernel]
Multiply = Callable[[Linear, Tensor], Tensor]


class Candidate(NamedTuple):
    """A way to compute a block. `multiply` is one of its int8 products, to be checked."""

    name: str
    why_not: str | None
    make: MakeBlock
    multiply: Multiply | None = None
    bits: int = 8


def check_precision(precision: Precision, device: torch.device) -> None:
    """PrecisionError if this machine cannot compute `precision`, naming those that it can."""
    offered = offered_precisions(device)
    if precision not in offered:
        raise PrecisionError(
            f"precision {precision!r} is not to be had on {device}: "
            f"{_what_lacks(precision, device)}; use {' or '.join(offered)}"
        )


def offered_precisions(device: torch.device) -> tuple[Precision, ...]:
    """What this machine can compute; whether it keeps the promise is found out at load."""
    offered: list[Precision] = ["fp32"]
    if device.type == "cpu":
        if compiled.why_not("bf16") is None or Bf16Kernel.is_available(device):
            offered.append("bf16")
        if compiled.why_not("int8") is None or OneDnnKernel.is_available(device):
            offered.append("int8")
    return tuple(offered)


def has_exact_int8() -> bool:
    """Whether int8 weights of 8 bits are multiplied exactly here, so that 7 need not do."""
    if compiled.why_not("int8") is None:
        return True
    if not OneDnnKernel.is_available(torch.device("cpu")):
        return False
    layer = Linear(256, 8)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    return _product_fault(layer, partial(_multiply_torch, bits=8), 8) is None


def _what_lacks(precision: Precision, device: torch.device) -> str:
    if precision not in PRECISIONS:
        return "there is none of this name"
    if device.type != "cpu":
        return "it is implemented for CPUs only"
    needs = {"bf16": "a processor with AVX512_BF16 or AMX", "int8": "a torch with oneDNN"}
    return f"it needs {needs[precision]}"


def settle_block(
    layers: BlockLayers, operation: str, precision: Precision, *, packed: bool
) -> tuple[MakeBlock | None, Choice]:
    """The first candidate that passes and why; None for layer by layer, where that is a way.

    NotInvariantError if nothing is left.
    """
    refusals: list[str] = []
    for candidate in candidate_blocks(layers, precision, packed=packed):
        fault = candidate.why_not or _fault(layers, candidate)
        if fault is None:
            reason = "; ".join([*refusals, _proof(candidate, layers.up.weight.device)])
            return candidate.make, Choice(operation, candidate.name, reason)
        refusals.append(f"{candidate.name} refused ({fault})")
    if precision == "int8":
        raise not_invariant(operation, refusals)
    return None, Choice(operation, "layer by layer", "; ".join(refusals))


def candidate_blocks(
    layers: BlockLayers, precision: Precision, *, packed: bool
) -> Iterator[Candidate]:
    """Ways to compute a block, the fastest first."""
    why_not = compiled.why_not(precision) or compiled.why_not_block(layers)
    if not packed:
        yield Candidate("compiled", why_not, compiled.PlainBlock)
        return
    pack = partial(compiled.PackedBlock, precision=precision)
    if precision != "int8":
        yield Candidate(f"compiled {precision}", why_not, pack)
        return
    yield Candidate("compiled int8", why_not, pack, _multiply_compiled)
    no_onednn = None if OneDnnKernel.is_available(torch.device("cpu")) else "torch lacks oneDNN"
    for bits in (8, 7):
        yield Candidate(
            f"torch int8, weights of {bits} bits",
            no_onednn,
            partial(Int8Block, bits=bits),
            partial(_multiply_torch, bits=bits),
            bits,
        )


def needs_twin(layers: BlockLayers) -> bool:
    """Whether int8 is computed by torch here, with the block's own attention."""
    return bool(compiled.why_not("int8") or compiled.why_not_block(layers))


def _multiply_compiled(layer: Linear, x: Tensor) -> Tensor:
    return compiled.multiply(compiled.PackedProduct(layer, "int8"), "int8", x)


def _multiply_torch(layer: Linear, x: Tensor, bits: int) -> Tensor:
    weight = quantised_weight(layer.weight, layer.quantised, bits)
    product: Tensor = Int8Product(weight, layer.bias.detach())(quantise_rows(x))
    return product


def _fault(layers: BlockLayers, candidate: Candidate) -> str | None:
    """Where the candidate breaks the promise on these layers, or None."""
    with inference(layers.attend):
        if candidate.multiply is not None:
            for layer in layers.linears:
                if fault := _product_fault(layer, candidate.multiply, candidate.bits):
                    return fault
        kernel = candidate.make(layers)
        faults = (_block_fault(kernel, layers.up.in_features, first) for first in (False, True))
        return next((fault for fault in faults if fault is not None), None)


def _product_fault(layer: Linear, multiply: Multiply, bits: int) -> str | None:
    """Compare int8 products with exact integers, on rows that make the largest sums, too."""
    weight = quantised_weight(layer.weight, layer.quantised, bits)
    largest_sums = weight.values[:8].sign().to(torch.float32)
    x = torch.cat([random_rows(8, layer.in_features, largest_sums.device), largest_sums])
    exact = exact_product(weight, layer.bias.detach(), x)
    if not torch.equal(multiply(layer, x), exact):
        worst = (multiply(layer, x) - exact).abs().max() / exact.abs().max()
        sizes = f"{layer.in_features}→{layer.out_features}"
        return (
            f"product {sizes} is not exact, off by up to {worst:.1%} of the largest: it saturates"
        )
    return None


def exact_product(weight: QuantisedWeight, bias: Tensor, x: Tensor) -> Tensor:
    """The int8 product by float64, in which all its integers are exact."""
    stored = quantise_rows(x)
    sums = (stored.values.double() - 128) @ weight.values.double().T
    return sums.to(torch.float32) * weight.scale * stored.scale + bias


def _block_fault(kernel: BlockKernel, hidden_size: int, first_only: bool) -> str | None:
    hidden = random_rows(sum(LENGTHS), hidden_size, torch.device("cpu"))
    together = _compute(kernel, hidden, LENGTHS, first_only)
    for num_threads in thread_counts(hidden.device):
        with threads(num_threads):
            if not torch.equal(_compute(kernel, hidden, LENGTHS, first_only), together):
                return f"bits change with {num_threads} threads"
            parts = torch.split(hidden, list(LENGTHS))
            alone = [_compute(kernel, part, (len(part),), first_only) for part in parts]
            if not torch.equal(torch.cat(alone), together):
                return f"a sequence's bits are others alone, threads: {num_threads}"
    return None


def _compute(
    kernel: BlockKernel, hidden: Tensor, lengths: Sequence[int], first_only: bool
) -> Tensor:
    borders = torch.tensor([0, *lengths]).cumsum(0)
    return kernel(hidden, borders, list(_runs(lengths)), first_only=first_only)


def _runs(lengths: Sequence[int]) -> Iterator[Run]:
    """Neighbours of one length are one run, as in every batch."""
    sequence = token = 0
    for length, same in groupby(lengths):
        count = len(list(same))
        yield Run(sequence, token, count, length)
        sequence, token = sequence + count, token + count * length


def _proof(candidate: Candidate, device: torch.device) -> str:
    exact = "int8 products exact; " if candidate.multiply is not None else ""
    return f"{exact}same bits alone and in company, {threads_tried(device)}"

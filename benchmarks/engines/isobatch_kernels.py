"""Isobatch's kernels by themselves: the instruction sets that run here; rates of their operations.

Only this file calls the kernels below the public API. A rate is that of the best of several
windows, as that of the peak it is compared with: see `roof.cpp`.
"""

import ctypes
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.engines.isobatch_engine import IsobatchEngine
from benchmarks.peak_share import BLOCK, PRODUCTS
from isobatch.batching.packed import pack
from isobatch.kernels.compiled import PackedWeight
from isobatch.kernels.compiled.variants import TORCH, kernels, variant_statuses
from isobatch.model import EncoderModel
from isobatch.types import PRECISIONS, Encoding, Precision, Rows

_WINDOW_SECONDS = 0.001
_NO_ACTIVATION = 0


def instruction_sets() -> list[str]:
    """List the variants that were built and run here, the fastest first, then torch's kernels."""
    return [*(each.name for each in variant_statuses() if each.problem is None), TORCH]


def set_threads(threads: int) -> None:
    """Set the number of threads of the kernels, which read it at each call."""
    torch.set_num_threads(threads)


def rates(engine: IsobatchEngine, seconds: float) -> dict[str, Any]:
    """Measure products and a block in the engine's precision; `seconds` for each."""
    precision = engine.classifier.precision
    return {
        "products": {
            shape: 2e-9 * rows * size_in * size_out / best_seconds(call, seconds)
            for shape, (rows, size_in, size_out) in PRODUCTS.items()
            for call in [_product(precision, rows, size_in, size_out)]
        },
        "block_seconds": _block_seconds(engine, seconds),
    }


def _product(precision: Precision, rows: int, size_in: int, size_out: int) -> Callable[[], object]:
    """Return a call of the compiled product, in memory that is allocated once."""
    weight = PackedWeight(_normal(size_out, size_in), precision)
    bias, x, y = _normal(size_out), _normal(rows, size_in), torch.empty(rows, size_out)
    structure = weight.structure(bias)
    module = kernels(precision).module
    arguments = (PRECISIONS.index(precision), ctypes.addressof(structure), _NO_ACTIVATION)
    tensors = (x.data_ptr(), 0, y.data_ptr())
    threads = torch.get_num_threads()
    kept = (weight, bias, x, y, structure)  # the addresses are theirs

    def call(_kept: object = kept) -> None:
        module.forward_linear(*arguments, *tensors, rows, threads)

    return call


@torch.inference_mode()
def _block_seconds(engine: IsobatchEngine, seconds: float) -> float:
    """Time the model's first block on texts of equal length, all rows of them."""
    model = engine.classifier._model
    assert isinstance(model, EncoderModel)  # the engine "native"
    encoding = Encoding([1] * BLOCK.length, [0] * BLOCK.length)
    batch = pack([encoding] * BLOCK.texts, model.config.encoder.positions)
    hidden = _normal(BLOCK.texts * BLOCK.length, BLOCK.hidden)
    block = model.blocks[0]
    return best_seconds(lambda: block(hidden, batch, Rows.ALL), seconds)


def best_seconds(call: Callable[[], object], seconds: float) -> float:
    """Time a call repeatedly for the given time; return the mean of the best window."""
    call()
    began = time.perf_counter()
    call()
    repeats = max(1, round(_WINDOW_SECONDS / (time.perf_counter() - began)))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))

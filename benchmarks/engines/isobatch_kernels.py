"""Isobatch's kernels by themselves: the instruction sets that run here; rates of their operations.

Only this file calls the kernels below the public API. A rate is that of the best of several
windows, as that of the peak it is compared with: see `roof.cpp`.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.engines.isobatch_engine import IsobatchEngine
from benchmarks.peak_share import BLOCK
from isobatch.batching.packed import pack
from isobatch.types import Encoding, Rows

_WINDOW_SECONDS = 0.01


def instruction_sets() -> list[str]:
    """List the instruction sets that were built and run here, the fastest first."""
    return ["torch"]


def rates(engine: IsobatchEngine, seconds: float) -> dict[str, Any]:
    """Measure products and a block of the engine's model; `seconds` for each."""
    return {
        "products": {},
        "block_seconds": _block_seconds(engine, seconds),
    }


@torch.inference_mode()
def _block_seconds(engine: IsobatchEngine, seconds: float) -> float:
    """Time the model's first block on texts of equal length, all rows of them."""
    model = engine.classifier._model
    encoding = Encoding([1] * BLOCK.length, [0] * BLOCK.length)
    batch = pack([encoding] * BLOCK.texts, model.config.encoder.positions)
    hidden = _normal(BLOCK.texts * BLOCK.length, BLOCK.hidden)
    block = model.blocks[0]
    return best_seconds(lambda: block(hidden, batch, Rows.ALL), seconds)


def best_seconds(call: Callable[[], object], seconds: float) -> float:
    """Time a call repeatedly for so many seconds; return the best window's mean."""
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

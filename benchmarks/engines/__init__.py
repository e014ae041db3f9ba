"""The engines as data: what each is called, what it needs, and how it takes its batches.

An engine's module is imported only in its own worker process, never here. It offers
`load(setup) -> Engine` and, where it `converts`, `prepare(checkpoint, out)`. Invariant: an engine's
logits come back in the caller's order, one float32 row a text.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.errors import BenchError

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EngineSpec:
    """One row of the table. `batch_sizes` are tried on the job before the run; the fastest stays.

    An empty `batch_sizes` means that the engine plans its own batches.
    """

    name: str
    label: str
    module: str
    packages: tuple[str, ...]
    by_length: bool = True
    batch_sizes: tuple[int, ...] = ()
    converts: bool = False


@dataclass(frozen=True)
class Setup:
    """What an engine is told when it loads; `prepared` is the folder its `prepare` wrote."""

    checkpoint: Path
    prepared: Path
    threads: int
    batch_size: int
    by_length: bool


class Engine(Protocol):
    """A loaded engine."""

    @property
    def settings(self) -> str:
        """How it was set up, for the result file."""

    @property
    def details(self) -> dict[str, Any]:
        """What it says of its own graph; empty where there is nothing to say."""

    def logits(self, texts: Sequence[str]) -> Logits:
        """Tokenise and classify: [len(texts), num_labels]."""


# Sorted and padded engines gain from small batches on a short job of mixed lengths: 126 texts took
# ONNX Runtime 1.7 s in eights and 3.7 s in batches of 32, most of the difference being pads.
# CTranslate2 drops the pads inside its linears and is at its best at 16 to 32.
_PADDED_SIZES = (4, 8, 16, 32)

ENGINES: tuple[EngineSpec, ...] = (
    EngineSpec("isobatch", "Isobatch", "isobatch_engine", ("isobatch", "torch", "tokenizers")),
    EngineSpec(
        name="transformers-arrival",
        label="transformers, arrival order",
        module="transformers_engine",
        packages=("transformers", "torch"),
        by_length=False,
        batch_sizes=(32,),
    ),
    EngineSpec(
        name="transformers-sorted",
        label="transformers, sorted",
        module="transformers_engine",
        packages=("transformers", "torch"),
        batch_sizes=(32,),
    ),
    EngineSpec(
        name="onnxruntime",
        label="ONNX Runtime, fused, sorted",
        module="onnxruntime_engine",
        packages=("onnxruntime", "onnx", "torch", "transformers"),
        batch_sizes=_PADDED_SIZES,
        converts=True,
    ),
    EngineSpec(
        name="openvino",
        label="OpenVINO, sorted",
        module="openvino_engine",
        packages=("openvino", "torch", "transformers"),
        batch_sizes=_PADDED_SIZES,
        converts=True,
    ),
    EngineSpec(
        name="ctranslate2",
        label="CTranslate2, sorted",
        module="ctranslate2_engine",
        packages=("ctranslate2", "torch", "transformers"),
        batch_sizes=(8, 16, 32, 64),
        converts=True,
    ),
)


def find_engine(name: str) -> EngineSpec:
    """Return the engine of that name; BenchError lists the names there are."""
    for spec in ENGINES:
        if spec.name == name:
            return spec
    raise BenchError(f"no engine {name!r}; there are {', '.join(spec.name for spec in ENGINES)}")


def engine_module(spec: EngineSpec) -> ModuleType:
    """Import an engine's module, and with it the peer library."""
    return importlib.import_module(f"{__name__}.{spec.module}")


def peer(name: str) -> ModuleType:
    """Import a peer library, which only the `bench` extra installs."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise BenchError(
            f"{name} is not installed: pip install 'isobatch[bench]', or leave its engine out of "
            "--engines"
        ) from error

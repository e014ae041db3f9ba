"""The registry of engines: names, packages, precisions, batch sizes.

An engine's module is imported only in its own worker process, never here. It has
`load(setup) -> BenchmarkEngine` and, if it names a `conversion`,
`prepare(checkpoint, out, precision)`. Invariant: an engine returns logits in the caller's order,
one float32 row a text.
"""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks import BenchmarkError
from benchmarks.schema import Precision

Logits = npt.NDArray[np.float32]

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
OURS: dict[Precision, str] = {
    "fp32": "isobatch",
    "bf16": "isobatch-bf16",
    "int8": "isobatch-int8",
}
"""Isobatch's engine in each precision: the baseline of the others in that precision."""

PEERS: dict[Precision, tuple[str, ...]] = {
    "fp32": ("onnxruntime", "openvino", "ctranslate2"),
    "bf16": ("openvino-bf16",),
    "int8": ("onnxruntime-int8", "ctranslate2-int8"),
}
"""The engines of which the best counts; the others have no bf16 on a CPU."""


@dataclass(frozen=True)
class EngineSpec:
    """One row of the table.

    `batch_sizes` are timed on the workload before the run and the fastest is used; empty: the
    engine plans its own batches. `conversion` names the converted checkpoint that it loads, which
    engines may share; empty: the original checkpoint.
    """

    name: str
    label: str
    module: str
    packages: tuple[str, ...]
    precision: Precision = "fp32"
    by_length: bool = True
    batch_sizes: tuple[int, ...] = ()
    conversion: str = ""


@dataclass(frozen=True)
class EngineSetup:
    """Settings for loading an engine; `prepared` is the output folder of its `prepare`."""

    checkpoint: Path
    prepared: Path
    threads: int
    batch_size: int
    by_length: bool
    precision: Precision


class BenchmarkEngine(Protocol):
    """A loaded engine."""

    @property
    def settings(self) -> str:
        """Return a description of its settings for the result file."""

    @property
    def details(self) -> dict[str, Any]:
        """Return statistics of its graph; may be empty."""

    def logits(self, texts: Sequence[str]) -> Logits:
        """Tokenize and classify: [len(texts), num_labels]."""


class StreamingEngine(BenchmarkEngine, Protocol):
    """A loaded engine that takes an unbounded iterable of texts: only Isobatch."""

    def stream(self, texts: Iterable[str]) -> Iterator[int]:
        """Classify texts as they arrive; yield the number of tokens of each."""


# Sorted and padded engines gain from small batches on a short job of mixed lengths: 126 texts took
# ONNX Runtime 1.7 s in eights and 3.7 s in batches of 32, most of the difference being pads.
# CTranslate2 drops the pads inside its linears and is fastest at 16 to 32.
_PADDED_SIZES = (1, 2, 4, 8, 16, 32)
_PACKED_SIZES = (8, 16, 32, 64)


def _isobatch(precision: Precision) -> EngineSpec:
    return EngineSpec(
        name=OURS[precision],
        label="Isobatch",
        module="isobatch_engine",
        packages=("isobatch", "torch", "tokenizers"),
        precision=precision,
    )


ENGINES: tuple[EngineSpec, ...] = (
    _isobatch("fp32"),
    _isobatch("bf16"),
    _isobatch("int8"),
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
        conversion="onnxruntime",
    ),
    EngineSpec(
        name="onnxruntime-int8",
        label="ONNX Runtime, fused, sorted",
        module="onnxruntime_engine",
        packages=("onnxruntime", "onnx", "torch", "transformers"),
        precision="int8",
        batch_sizes=_PADDED_SIZES,
        conversion="onnxruntime-int8",
    ),
    EngineSpec(
        name="openvino",
        label="OpenVINO, sorted",
        module="openvino_engine",
        packages=("openvino", "torch", "transformers"),
        batch_sizes=_PADDED_SIZES,
        conversion="openvino",
    ),
    EngineSpec(
        name="openvino-bf16",
        label="OpenVINO, sorted",
        module="openvino_engine",
        packages=("openvino", "torch", "transformers"),
        precision="bf16",
        batch_sizes=_PADDED_SIZES,
        conversion="openvino",  # the file stays fp32; bf16 is requested at compilation
    ),
    EngineSpec(
        name="ctranslate2",
        label="CTranslate2, sorted",
        module="ctranslate2_engine",
        packages=("ctranslate2", "torch", "transformers"),
        batch_sizes=_PACKED_SIZES,
        conversion="ctranslate2",
    ),
    EngineSpec(
        name="ctranslate2-int8",
        label="CTranslate2, sorted",
        module="ctranslate2_engine",
        packages=("ctranslate2", "torch", "transformers"),
        precision="int8",
        batch_sizes=_PACKED_SIZES,
        conversion="ctranslate2-int8",
    ),
)


def find_engine(name: str) -> EngineSpec:
    """Return the engine of that name."""
    for spec in ENGINES:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in ENGINES)
    raise BenchmarkError(f"unknown engine {name!r}. Available: {known}")


def engine_module(spec: EngineSpec) -> ModuleType:
    """Import an engine's module and its library."""
    return importlib.import_module(f"{__name__}.{spec.module}")


def peer(name: str) -> ModuleType:
    """Import a library that only the `bench` extra installs."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            f"{name} is not installed. Run pip install 'isobatch[bench]', or leave its engine out "
            "of --engines"
        ) from error

"""CTranslate2, fastest settings: no pads in the encoder's linears, head in NumPy, sorted.

CTranslate2 converts DistilBERT's encoder only and leaves task heads to the caller: a
pre-classifier, a ReLU and a classifier on the first token, read from the checkpoint. In int8 its
linears are quantized and the rest stays fp32 (`int8_float32`). Its default backend is the fastest
one on an AMD processor: with CT2_USE_MKL=1 the int8 workload took 8.0 s, without 1.7 s.
"""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from benchmarks import UnsupportedError
from benchmarks.engines import EngineSetup, Logits, peer
from benchmarks.engines.padded_batches import Int64, PaddedEngine
from benchmarks.schema import Precision

_COMPUTE_TYPES: dict[Precision, str] = {"fp32": "float32", "int8": "int8_float32"}


def prepare(checkpoint: Path, out: Path, precision: Precision) -> None:
    """Write the converted encoder; an fp16 file stays fp16 on disk and is widened at load.

    In int8 the file is quantized, so that the fp32 weights do not count in the measured memory.
    """
    converters = peer("ctranslate2.converters")
    converters.TransformersConverter(str(checkpoint)).convert(
        str(out), force=True, quantization="int8_float32" if precision == "int8" else None
    )


class DistilBertHead:
    """DistilBERT's classification head, [rows, dim] to [rows, num_labels]."""

    def __init__(self, checkpoint: Path) -> None:
        with safe_open(checkpoint / "model.safetensors", framework="numpy") as tensors:
            names = ("pre_classifier", "classifier")
            self._weights = [
                (
                    np.ascontiguousarray(tensors.get_tensor(f"{name}.weight").T, np.float32),
                    tensors.get_tensor(f"{name}.bias").astype(np.float32),
                )
                for name in names
            ]

    def __call__(self, first_token: Logits) -> Logits:
        """Return the logits."""
        (pre_weight, pre_bias), (weight, bias) = self._weights
        hidden = np.maximum(first_token @ pre_weight + pre_bias, 0)
        logits: Logits = hidden @ weight + bias
        return logits


class CTranslate2Encoder(PaddedEngine):
    """`ctranslate2.Encoder` and the head."""

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._ctranslate2 = peer("ctranslate2")
        self._encoder = self._ctranslate2.Encoder(
            str(setup.prepared),
            device="cpu",
            compute_type=_COMPUTE_TYPES[setup.precision],
            inter_threads=1,
            intra_threads=setup.threads,
        )
        if self._encoder.compute_type != _COMPUTE_TYPES[setup.precision]:
            raise UnsupportedError(
                f"CTranslate2: unsupported precision on this machine (got "
                f"{self._encoder.compute_type}, expected {_COMPUTE_TYPES[setup.precision]})"
            )
        self._head = DistilBertHead(setup.checkpoint)
        self.settings = (
            f"Encoder, compute_type {self._encoder.compute_type}, head in NumPy, intra_threads "
            f"{setup.threads}, batch {setup.batch_size}, sorted by length"
        )
        self.details: dict[str, Any] = {}

    def forward(self, ids: Int64, mask: Int64) -> Logits:
        """Classify one padded batch; the encoder drops the pads for its linears."""
        view = self._ctranslate2.StorageView.from_array
        lengths = mask.sum(axis=1).astype(np.int32)
        output = self._encoder.forward_batch(view(ids.astype(np.int32)), view(lengths))
        return self._head(np.asarray(output.last_hidden_state)[:, 0])


def load(setup: EngineSetup) -> CTranslate2Encoder:
    """Load the converted encoder and the head."""
    return CTranslate2Encoder(setup)

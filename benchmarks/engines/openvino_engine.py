"""OpenVINO, fastest settings: converted from torch with SDPA, dynamic shapes, sorted by length.

The LATENCY hint (one stream, all threads) was faster than THROUGHPUT (a stream per thread) in bulk
as well: 1.5 against 1.8 s in batches of 8 with an asynchronous queue, 9.3 against 18 ms on one
text. In bf16 it was 1.4 against 2.8 s, 7.1 against 14 ms.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import UnsupportedError
from benchmarks.engines import EngineSetup, Logits, peer
from benchmarks.engines.padded_batches import Int64, PaddedEngine
from benchmarks.schema import Precision

_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


def prepare(checkpoint: Path, out: Path, _precision: Precision) -> None:
    """Write model.xml and model.bin, weights in fp32: bf16 is requested at compilation."""
    from benchmarks.engines.tracing import example_inputs, traceable_model

    write_model(traceable_model(checkpoint, "sdpa"), example_inputs(), out)


def write_model(model: Any, inputs: Mapping[str, Any], out: Path) -> None:
    """Convert a module that takes `inputs` by position, with any numbers of rows and tokens."""
    openvino = peer("openvino")
    converted = openvino.convert_model(
        model, example_input=dict(inputs), input=[(name, [-1, -1]) for name in inputs]
    )
    openvino.save_model(converted, out / "model.xml", compress_to_fp16=False)


def compile_model(prepared: Path, threads: int, hint: str) -> Any:
    """Compile the converted model; `hint` is the precision of its products."""
    core = peer("openvino").Core()
    return core.compile_model(
        core.read_model(prepared / "model.xml"),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
        },
    )


class OpenVinoEngine(PaddedEngine):
    """A compiled model and one synchronous inference request."""

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        hint = _HINTS[setup.precision]
        compiled = compile_model(setup.prepared, setup.threads, hint)
        chosen = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if chosen != hint:
            raise UnsupportedError(
                f"OpenVINO: unsupported precision on this machine (got {chosen}, expected {hint})"
            )
        self._request = compiled.create_infer_request()
        self.settings = (
            f"{hint}, PERFORMANCE_HINT LATENCY, dynamic shapes, "
            f"INFERENCE_NUM_THREADS {setup.threads}, batch {setup.batch_size}, sorted by length"
        )
        self.details: dict[str, Any] = {"runtime_operators": _operators(compiled)}

    def forward(self, ids: Int64, mask: Int64) -> Logits:
        """Classify one padded batch."""
        logits: Logits = self._request.infer({"input_ids": ids, "attention_mask": mask})[0]
        return logits


def _operators(compiled: Any) -> dict[str, int]:
    """Count the operators of the compiled graph; a `Subgraph` is a fused one (attention)."""
    described = [operator.get_rt_info() for operator in compiled.get_runtime_model().get_ops()]
    kinds = [
        f"{info['layerType'].value} {info['runtimePrecision'].value}"
        for info in described
        if str(info["layerType"].value) != "Const"
    ]
    return dict(Counter(kinds).most_common())


def load(setup: EngineSetup) -> OpenVinoEngine:
    """Load and compile the converted model."""
    return OpenVinoEngine(setup)

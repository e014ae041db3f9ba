"""ONNX Runtime, fastest settings: exported, fused by its own optimizer, sorted by length.

The TorchScript exporter with eager attention gives the graph that the optimizer recognizes: every
attention, bias-GELU and skip-layer-norm is fused. The dynamo exporter, and SDPA, leave the
attention unfused (torch 2.13, ONNX Runtime 1.32). In int8 that graph is quantized dynamically,
attention included. Invariant: a graph that is not fully fused, or quantized, is rejected.

Weights are QInt8, one scale per tensor: the fastest option of quantize_dynamic, though within
noise: 1.00 s for the workload and 3.8 ms a text in batches of 8; a scale per column 1.06 and 4.4,
embeddings quantized too 1.02 and 3.8. QUInt8 took 1.9 s, and MatMulNBits with 8 bits 1.7 s. A scale
per column is more accurate, and was a tenth slower on the bundled model.

Without VNNI its products of 8-bit weights saturate, so the weights have 7 bits (`reduce_range`, as
its documentation says): 24 texts on one core of AVX2 took 0.61 s, with 8 bits 0.62 s and another
answer, with QUInt8, which does not saturate, 0.72 s; statically quantized (QDQ) 0.68 s.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.engines import EngineSetup, Logits, peer
from benchmarks.engines.padded_batches import Int64, PaddedEngine, read_config
from benchmarks.schema import Precision
from benchmarks.system_info import cpu_flags

_SATURATES = "avx2" in cpu_flags() and not any("vnni" in flag for flag in cpu_flags())
_OPSET = 17
_FLOAT = 1  # onnx.TensorProto.FLOAT
_FUSED = "fused graph (TorchScript export, optimize_model bert)"
_GRAPHS: dict[Precision, str] = {
    "fp32": f"fp32, {_FUSED}",
    "int8": f"int8, {_FUSED}, quantize_dynamic of MatMul and Attention, QInt8 a tensor, "
    f"weights of {7 if _SATURATES else 8} bits",
}


def prepare(checkpoint: Path, out: Path, precision: Precision) -> None:
    """Write model.onnx, and operators.json: the count of each fused or quantized operator."""
    from benchmarks.engines.tracing import example_inputs, traceable_model

    config = read_config(checkpoint)
    model = traceable_model(checkpoint, "eager")
    write_graph(model, example_inputs(), "logits", out, precision, config)


def write_graph(
    model: Any,
    inputs: Mapping[str, Any],
    output: str,
    out: Path,
    precision: Precision,
    config: Mapping[str, int],
) -> None:
    """Write the fused graph of a module that takes `inputs` by position, and its operators.

    config: `n_heads`, `dim` and `n_layers`.
    """
    plain, fused, graph = out / "plain.onnx", out / "fused.onnx", out / "model.onnx"
    _export(model, inputs, output, plain)
    operators = _fuse(plain, fused, config)
    plain.unlink()
    if precision == "int8":
        operators = _quantize(fused, graph, config)
        fused.unlink()
    else:
        fused.rename(graph)
    (out / "operators.json").write_text(json.dumps(operators, indent=1), encoding="utf-8")


def _fuse(plain: Path, fused: Path, config: Mapping[str, int]) -> dict[str, int]:
    optimized = peer("onnxruntime.transformers.optimizer").optimize_model(
        str(plain),
        model_type="bert",
        num_heads=config["n_heads"],
        hidden_size=config["dim"],
        opt_level=0,  # the session below does the rest; its own fusions here would hide patterns
    )
    counts = optimized.get_fused_operator_statistics()
    operators = {name: count for name, count in counts.items() if count}
    if not optimized.is_fully_optimized() or operators.get("Attention") != config["n_layers"]:
        raise BenchmarkError(f"ONNX Runtime: the graph is not fully fused: {operators}")
    optimized.save_model_to_file(str(fused))
    return operators


def _quantize(fused: Path, model: Path, config: Mapping[str, int]) -> dict[str, int]:
    quantization = peer("onnxruntime.quantization")
    quantization.quantize_dynamic(
        fused,
        model,
        op_types_to_quantize=["MatMul", "Attention"],
        weight_type=quantization.QuantType.QInt8,
        per_channel=False,
        reduce_range=_SATURATES,
        # Shape inference does not support the fused operators: their outputs are floats.
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": _FLOAT},
    )
    nodes = peer("onnx").load(model, load_external_data=False).graph.node
    operators = dict(Counter(str(node.op_type) for node in nodes).most_common())
    layers = config["n_layers"]
    if operators.get("QAttention") != layers or operators.get("MatMulInteger", 0) < 3 * layers:
        raise BenchmarkError(f"ONNX Runtime: the graph is not fully quantized: {operators}")
    return operators


def _export(model: Any, inputs: Mapping[str, Any], output: str, path: Path) -> None:
    import torch

    torch.onnx.export(
        model,
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=[output],
        dynamic_axes={name: {0: "rows", 1: "length"} for name in inputs} | {output: {0: "rows"}},
        opset_version=_OPSET,
        dynamo=False,
    )


def open_session(prepared: Path, threads: int) -> Any:
    """Open the prepared graph with all optimizations of the session."""
    onnxruntime = peer("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(
        str(prepared / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


class OnnxRuntimeEngine(PaddedEngine):
    """An InferenceSession over the prepared graph with all optimizations of the session."""

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._session = open_session(setup.prepared, setup.threads)
        self.settings = (
            f"{_GRAPHS[setup.precision]}, ORT_ENABLE_ALL, "
            f"intra_op_num_threads {setup.threads}, batch {setup.batch_size}, sorted by length"
        )
        operators = (setup.prepared / "operators.json").read_text(encoding="utf-8")
        self.details: dict[str, Any] = {"operators": json.loads(operators)}

    def forward(self, ids: Int64, mask: Int64) -> Logits:
        """Classify one padded batch."""
        logits: Logits = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return logits


def load(setup: EngineSetup) -> OnnxRuntimeEngine:
    """Load the prepared graph."""
    return OnnxRuntimeEngine(setup)

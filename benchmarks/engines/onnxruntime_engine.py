"""ONNX Runtime at its best: exported, fused by its own optimiser, sorted by length.

The TorchScript exporter with eager attention gives the graph that the optimiser knows: every
attention, bias-GELU and skip-layer-norm is fused. The dynamo exporter, and SDPA, leave the
attention in pieces (torch 2.13, ONNX Runtime 1.32). Invariant: a graph that is not fully fused is
refused.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engines import Logits, Setup, peer
from benchmarks.engines.padding import Int64, PaddedBatches, read_config
from benchmarks.errors import BenchError

_OPSET = 17


def prepare(checkpoint: Path, out: Path) -> None:
    """Write model.onnx, fused, and fused.json: how often each fusion happened."""
    plain = out / "plain.onnx"
    _export(checkpoint, plain)
    config = read_config(checkpoint)
    optimised = peer("onnxruntime.transformers.optimizer").optimize_model(
        str(plain),
        model_type="bert",
        num_heads=config["n_heads"],
        hidden_size=config["dim"],
        opt_level=0,  # the session below does the rest; its own fusions here would hide patterns
    )
    counts = optimised.get_fused_operator_statistics()
    fused = {name: count for name, count in counts.items() if count}
    if not optimised.is_fully_optimized() or fused.get("Attention") != config["n_layers"]:
        raise BenchError(f"ONNX Runtime's optimiser did not fuse the whole graph: {fused}")
    optimised.save_model_to_file(str(out / "model.onnx"))
    (out / "fused.json").write_text(json.dumps(fused, indent=1), encoding="utf-8")
    plain.unlink()


def _export(checkpoint: Path, path: Path) -> None:
    import torch

    from benchmarks.engines.tracing import example_inputs, traceable_model

    inputs = example_inputs()
    torch.onnx.export(
        traceable_model(checkpoint, "eager"),
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "length"} for name in inputs} | {"logits": {0: "rows"}},
        opset_version=_OPSET,
        dynamo=False,
    )


class OnnxRuntimeEngine:
    """An InferenceSession over the fused graph, all of the session's own optimisations on."""

    def __init__(self, setup: Setup) -> None:
        onnxruntime = peer("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(
            str(setup.prepared / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._batches = PaddedBatches(setup)
        self.settings = (
            "fp32, fused graph (TorchScript export, optimize_model bert), ORT_ENABLE_ALL, "
            f"intra_op_num_threads {setup.threads}, batch {setup.batch_size}, sorted by length"
        )
        fused = (setup.prepared / "fused.json").read_text(encoding="utf-8")
        self.details: dict[str, Any] = {"fused_operators": json.loads(fused)}

    def logits(self, texts: Sequence[str]) -> Logits:
        """Classify in padded batches."""
        return self._batches.run(texts, self._forward)

    def _forward(self, ids: Int64, mask: Int64) -> Logits:
        logits: Logits = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return logits


def load(setup: Setup) -> OnnxRuntimeEngine:
    """Load the fused graph."""
    return OnnxRuntimeEngine(setup)

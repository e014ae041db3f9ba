"""ONNX Runtime and OpenVINO on embeddings and reranking, as the other benchmarks run them.

Their graphs end with the last hidden state, or with the logit. Mean pooling over the mask, and
vectors of length 1, are computed in NumPy.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from benchmarks.engines.padded_batches import Int64, batch_rows, pad, restore_order
from benchmarks.schema import Precision
from benchmarks.tasks.task_checkpoints import MAX_TOKENS
from benchmarks.tasks.task_sides import OutputRow, TaskSetup
from benchmarks.tasks.task_workloads import Item, Question, TaskName

_INPUTS = {
    "bert": ("input_ids", "attention_mask", "token_type_ids"),
    "distilbert": ("input_ids", "attention_mask"),
}
Floats = NDArray[np.float32]


def prepare(task: TaskName, checkpoint: Path, out: Path, conversion: str) -> None:
    """Write the graph. conversion: onnxruntime, onnxruntime-int8 or openvino."""
    from benchmarks.engines import onnxruntime_engine, openvino_engine

    config = _read_config(checkpoint)
    names = _INPUTS[config["model_type"]]
    inputs = dict(zip(names, _example(), strict=False))
    if conversion == "openvino":
        openvino_engine.write_model(_traceable(task, checkpoint, "sdpa"), inputs, out)
        return
    sizes = {
        "n_heads": config.get("n_heads") or config["num_attention_heads"],
        "dim": config.get("dim") or config["hidden_size"],
        "n_layers": config.get("n_layers") or config["num_hidden_layers"],
    }
    precision: Precision = "int8" if conversion == "onnxruntime-int8" else "fp32"
    model = _traceable(task, checkpoint, "eager")
    onnxruntime_engine.write_graph(model, inputs, "output", out, precision, sizes)


def _example() -> tuple[Any, Any, Any]:
    """Return ids, mask and types of two rows of unequal length."""
    from benchmarks.engines.tracing import example_inputs

    inputs = example_inputs()
    types = inputs["attention_mask"] * 0
    types[:, 4:] = 1
    return inputs["input_ids"], inputs["attention_mask"], types


def _traceable(task: TaskName, checkpoint: Path, attention: str) -> Any:
    """Load the model in fp32; it takes the inputs by position and returns one tensor."""
    import torch
    import transformers

    reranks = task == "reranking"
    kind: Any = (
        transformers.AutoModelForSequenceClassification if reranks else transformers.AutoModel
    )
    loaded = kind.from_pretrained(checkpoint, attn_implementation=attention, dtype=torch.float32)

    class OneOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = loaded

        # The converters read the names of the inputs from the signature.
        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            token_type_ids: torch.Tensor | None = None,
        ) -> torch.Tensor:
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            found = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
            output: torch.Tensor = found.logits if reranks else found.last_hidden_state
            return output

    return OneOutput().eval()


class ExportedTask:
    """A session or compiled model; padded batches, sorted by length."""

    def __init__(self, setup: TaskSetup) -> None:
        config = _read_config(setup.checkpoint)
        self._names = _INPUTS[config["model_type"]]
        self._reranks = setup.task == "reranking"
        self._tokenizer = Tokenizer.from_file(str(setup.checkpoint / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._infer = _open(setup)

    def run(self, items: Sequence[Item], batch_size: int) -> list[OutputRow]:
        """Compute all texts in one pass, or all candidates of a query in one."""
        if not self._reranks:
            return self._rows(list(items), batch_size)
        rows = []
        for query, texts in cast("Sequence[Question]", items):
            rows += self._rows([(query, text) for text in texts], batch_size)
        return rows

    def _rows(self, texts: list[Any], batch_size: int) -> list[OutputRow]:
        encodings = self._tokenizer.encode_batch_fast(texts)
        batches = batch_rows([len(each) for each in encodings], batch_size, by_length=True)
        outputs = [self._forward([encodings[row] for row in rows]) for rows in batches]
        return list(restore_order(batches, outputs).astype(np.float64))

    def _forward(self, encodings: Sequence[Encoding]) -> Floats:
        ids, mask = pad([each.ids for each in encodings])
        types, _ = pad([each.type_ids for each in encodings])
        output = self._infer(dict(zip(self._names, (ids, mask, types), strict=False)))
        return output if self._reranks else mean_of_length_one(output, mask)


def mean_of_length_one(hidden: Floats, mask: Int64) -> Floats:
    """Pool [rows, tokens, size] over the real tokens, and give each vector the length 1."""
    weights = mask.astype(np.float32)
    sums = np.einsum("rts,rt->rs", hidden, weights, optimize=True)
    means = sums / weights.sum(axis=1, keepdims=True)
    vectors: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
    return vectors


def _open(setup: TaskSetup) -> Callable[[Mapping[str, Int64]], Floats]:
    """Return the forward pass of the converted checkpoint."""
    from benchmarks.engines import onnxruntime_engine, openvino_engine

    if (setup.prepared / "model.onnx").exists():
        session = onnxruntime_engine.open_session(setup.prepared, setup.threads)
        return lambda inputs: session.run(None, inputs)[0]
    compiled = openvino_engine.compile_model(setup.prepared, setup.threads, "f32")
    request = compiled.create_infer_request()
    return lambda inputs: request.infer(dict(inputs))[0]


def _read_config(checkpoint: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return config


def load(setup: TaskSetup) -> ExportedTask:
    """Load the converted checkpoint."""
    return ExportedTask(setup)

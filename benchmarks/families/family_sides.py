"""The sides of a family's benchmark: packed batches, and padded ones by transformers and OpenVINO.

Each computes the same token ids with the same random weights, and returns logits in their order.
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor

from benchmarks import UnsupportedError
from benchmarks.engines import openvino_engine
from benchmarks.engines.padded_batches import batch_rows, pad, restore_order
from benchmarks.engines.tracing import LogitsModel
from benchmarks.families.shapes import Shape
from isobatch.batching.packed import pack
from isobatch.batching.plan import MAX_BATCH_TOKENS, plan_batches
from isobatch.model import EncoderModel
from isobatch.types import Encoding

Rows = Sequence[Sequence[int]]
Packed = Callable[[Rows], Tensor]
Forward = Callable[[Tensor, Tensor], Tensor]
"""Token ids and attention mask, both [texts, longest], to logits."""

CONVERSION_ERROR = 1e-3
"""Of logits of size 1: a graph that is further from its model was not converted faithfully."""

_END = 2


def random_model(shape: Shape, *, quick: bool) -> transformers.PreTrainedModel:
    """Make transformers' model with its own random initialization, from a seed."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(shape.model_type, **shape.configuration(quick=quick))
    model: transformers.PreTrainedModel
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    return model


def random_rows(count: int) -> list[list[int]]:
    """Draw token ids: three of four texts have 5 to 40 tokens, the others up to 128."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index in range(count):
        longest = 128 if index % 4 == 3 else 40
        length = int(torch.randint(5, longest + 1, (1,), generator=generator))
        ids = torch.randint(10, 2_000, (length - 1,), generator=generator)
        rows.append([*ids.tolist(), _END])
    return rows


def packed_by(model: EncoderModel) -> Packed:
    """Return Isobatch's side: texts to logits, in one packed batch."""
    positions = model.config.encoder.positions

    def compute(rows: Rows) -> Tensor:
        encodings = [Encoding(list(row), [0] * len(row)) for row in rows]
        logits: Tensor = model(pack(encodings, positions))
        return logits

    return compute


def planned(compute: Packed, rows: Rows) -> Tensor:
    """Compute packed batches as a pipeline plans them, in the order of the rows."""
    batches = plan_batches([len(row) for row in rows], MAX_BATCH_TOKENS)
    outputs = [compute([rows[index] for index in batch]).numpy() for batch in batches]
    return torch.from_numpy(restore_order(batches, outputs))


def padded(forward: Forward, rows: Rows, batch_size: int, pad_token_id: int) -> Tensor:
    """Compute padded batches of texts sorted by length, in the order of the rows."""
    batches = batch_rows([len(row) for row in rows], batch_size, by_length=True)
    outputs = []
    for batch in batches:
        ids, mask = pad([rows[index] for index in batch], pad_token_id)
        outputs.append(forward(torch.from_numpy(ids), torch.from_numpy(mask)).numpy())
    return torch.from_numpy(restore_order(batches, outputs))


def transformers_forward(model: transformers.PreTrainedModel) -> Forward:
    """Return the forward pass of the model."""

    def forward(ids: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
        return logits

    return forward


def openvino_forward(model: transformers.PreTrainedModel, threads: int) -> Forward:
    """Convert the model for OpenVINO, in fp32 and with dynamic shapes.

    Raises:
        UnsupportedError: OpenVINO is not installed, or cannot convert or compile the model.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The warnings of tracing are answered by the comparison of the logits.
        warnings.simplefilter("ignore")
        try:
            openvino_engine.write_model(LogitsModel(model), _example(), Path(folder))
            compiled = openvino_engine.compile_model(Path(folder), threads, "f32")
        except Exception as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise UnsupportedError(f"OpenVINO: {type(error).__name__}: {reason}") from error
    request = compiled.create_infer_request()

    def forward(ids: Tensor, mask: Tensor) -> Tensor:
        inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        return torch.from_numpy(np.array(request.infer(inputs)[0]))

    return forward


def _example() -> dict[str, Tensor]:
    """Return two texts of unequal length with an end token each, as BART needs them."""
    ids, mask = torch.arange(1000, 1018).view(2, 9), torch.ones(2, 9, dtype=torch.long)
    ids[0, 8] = ids[1, 5] = _END
    ids[1, 6:] = mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}

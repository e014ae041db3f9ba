"""Validation: the logits of held-out texts, by the batch-invariant forward of inference.

Invariant: the numbers do not depend on how the texts are batched, nor on when they are computed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch.ambient import isolated
from isobatch.batching.packed import pack
from isobatch.batching.plan import MAX_BATCH_TOKENS, plan_batches
from isobatch.model import EncoderModel
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.target_scale import TargetScale
from isobatch.training.steps.validation_metrics import compute_metrics


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Logits, float32 [texts, outputs], and every metric of the task."""

    logits: NDArray[np.float32]
    metrics: dict[str, float]


@torch.inference_mode()
def validate(
    model: EncoderModel,
    examples: Examples,
    task: str,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    scale: TargetScale | None = None,
) -> ValidationResult:
    """Compute the logits of `examples` in eval mode, and leave the model in training mode.

    scale: of a regression whose head gives standardized numbers.
    """
    model.eval()
    try:
        with isolated():
            logits = _logits(model, examples, max_batch_tokens)
    finally:
        model.train()
    if scale is not None:
        logits = scale.restored(logits)
    return ValidationResult(logits, compute_metrics(task, examples.targets, logits))


def _logits(model: EncoderModel, examples: Examples, max_batch_tokens: int) -> NDArray[np.float32]:
    logits = np.empty_like(examples.targets)
    for batch in plan_batches(examples.lengths, max_batch_tokens):
        encodings = [examples.encodings[index] for index in batch]
        logits[list(batch)] = model(pack(encodings, model.config.encoder.positions)).numpy()
    return logits

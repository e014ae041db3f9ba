"""The transformers model as a plain function of ids and mask, ready to be exported.

It knows torch and transformers, and no export format. It runs only in a preparing process, so that
neither library counts in a peer's memory.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification


class LogitsOnly(nn.Module):
    """Takes ids and mask by position and returns the bare logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return [rows, num_labels]."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def traceable_model(checkpoint: Path, attention: str) -> LogitsOnly:
    """Load the checkpoint in fp32, whatever its file holds, with the attention named."""
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, attn_implementation=attention, dtype=torch.float32
    )
    return LogitsOnly(model.eval()).eval()


def example_inputs() -> dict[str, Tensor]:
    """Return two rows of unequal length, so that a tracer sees the mask at work."""
    ids = torch.arange(1000, 1018).view(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}

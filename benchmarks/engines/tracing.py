"""The transformers model as a function of ids and mask, for exporters.

It runs only in conversion processes, so torch and transformers do not count in an engine's memory.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification


class LogitsModel(nn.Module):
    """A model that takes ids and mask by position and returns only the logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return [rows, num_labels]."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def traceable_model(checkpoint: Path, attention: str) -> LogitsModel:
    """Load the checkpoint in fp32, regardless of its file's dtype, with the named attention."""
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, attn_implementation=attention, dtype=torch.float32
    )
    return LogitsModel(model.eval()).eval()


def example_inputs() -> dict[str, Tensor]:
    """Return two rows of unequal length, so that the mask takes part in the trace."""
    ids = torch.arange(1000, 1018).view(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}

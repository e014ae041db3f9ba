"""Training steps of a small model in plain PyTorch: sound, and each with one fault."""

import zlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MicroBatches = list[tuple[list[str], list[int]]]


def token_ids(text: str) -> list[int]:
    return [1, *(2 + zlib.crc32(word.encode()) % 90 for word in text.split())]


class SmallModel(nn.Module):
    """Embeddings, a layer that mixes tokens of a text, a mean over its tokens, and a head."""

    def __init__(
        self, *, masked: bool = True, dropout: float = 0.0, batch_norm: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.masked = masked
        self.embedding = nn.Embedding(100, 12)
        self.hidden = nn.Linear(12, 12)
        self.norm = nn.BatchNorm1d(12) if batch_norm else nn.LayerNorm(12)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(12, 2)

    def forward(self, texts: Sequence[str]) -> Tensor:
        rows = [token_ids(text) for text in texts]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1.0] * len(row) + [0.0] * (width - len(row)) for row in rows])
        if not self.masked:
            mask = torch.ones_like(mask)
        hidden = torch.tanh(self.hidden(self.embedding(ids)))
        pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        logits: Tensor = self.head(self.dropout(self.norm(pooled)))
        return logits


class LoopStep:
    """A loop over micro-batches that divides once, by the number of texts of the step."""

    def __init__(self, fault: str = "", model: SmallModel | None = None) -> None:
        self.fault = fault
        self.model = (model or SmallModel()).train()

    def __call__(self, micro_batches: MicroBatches) -> dict[str, Any]:
        number = sum(len(texts) for texts, _ in micro_batches)
        if self.fault != "kept":
            self.model.zero_grad(set_to_none=False)
        for texts, labels in micro_batches:
            if self.fault == "lost":
                self.model.zero_grad()
            losses = F.cross_entropy(self.model(texts), torch.tensor(labels), reduction="none")
            self.loss(losses, number, len(micro_batches)).backward()
        if self.fault == "clipped":
            nn.utils.clip_grad_norm_(self.model.parameters(), 1e-3)
        return {name: each.grad for name, each in self.model.named_parameters()}

    def loss(self, losses: Tensor, number: int, parts: int) -> Tensor:
        divisors = {
            "summed": 1.0,
            "multiplied": len(losses),
            "mean-of-means": len(losses) * parts,
            "divided-twice": number * parts,
            "fixed": 32.0,
        }
        return losses.sum() / divisors.get(self.fault, number)


def whole(step: LoopStep) -> Any:
    """The same step on whole batches only."""

    def train(texts: list[str], labels: list[int]) -> dict[str, Any]:
        return step([(texts, labels)])

    return train

"""A tiny classifier in plain torch, sound or with one fault planted, and ways to call it.

The sound one: token and position embeddings, two blocks of attention with a mask, mean over the
mask, a linear head. Each fault is one line that somebody might write.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizer_folders import write_wordpiece_folder
from torch import Tensor, nn

VOCAB, HIDDEN, POSITIONS, HEADS = 400, 32, 256, 4

Predict = Callable[[Sequence[str]], NDArray[np.float64]]


class Planted(nn.Module):
    """`fault` is a name below, or "" for none; `head` is "mean", "first", "last" or "column".

    `gives` is "classes", "vectors" of length 1, or "tokens": the classes of each token.
    """

    def __init__(
        self, fault: str = "", head: str = "mean", seed: int = 0, gives: str = "classes"
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.fault, self.head, self.gives = fault, head, gives
        self.words = nn.Embedding(VOCAB, HIDDEN)
        self.places = nn.Embedding(POSITIONS, HIDDEN)
        self.blocks = nn.ModuleList(Block(fault) for _ in range(2))
        self.norm = nn.BatchNorm1d(HIDDEN) if fault == "batch norm" else nn.LayerNorm(HIDDEN)
        self.output = nn.Linear(HIDDEN, 3)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.6 if parameter.shape[0] == VOCAB else 0.3)
        self.eval()
        if fault == "batch norm":
            self.norm.train()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> dict[str, Any]:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if position_ids is None:
            position_ids = self.positions(input_ids)
        hidden = self.words(input_ids) + self.places(position_ids)
        for block in self.blocks:
            hidden = block(hidden, self.seen(mask))
        states = {"hidden_states": (hidden,) if output_hidden_states else None}
        if self.gives == "tokens":
            return {"logits": self.output(self.norm(hidden)), **states}
        pooled = self.normed(self.pooled(hidden, mask))
        if self.gives == "vectors":
            return {"sentence_embedding": nn.functional.normalize(pooled), **states}
        return {"logits": self.output(pooled), **states}

    def positions(self, input_ids: Tensor) -> Tensor:
        if self.fault == "padding id taken for position":
            return ((input_ids != 0).cumsum(1) - 1).clamp(min=0)
        return torch.arange(input_ids.shape[1]).expand_as(input_ids)

    def seen(self, mask: Tensor) -> Tensor:
        """Which columns attention reads."""
        if self.fault == "mask dropped":
            return torch.ones_like(mask).bool()
        if self.fault == "mask inverted":
            return ~mask.bool() | mask.bool().all(1, keepdim=True)
        if self.fault == "mask one too many":
            return (mask + torch.roll(mask, 1, 1) > 0) if mask.shape[1] > 1 else mask.bool()
        if self.fault == "mask one too few":
            return (mask * torch.roll(mask, -1, 1) > 0) | mask.bool().all(1, keepdim=True)
        return mask.bool()

    def pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.head == "first":
            return hidden[:, 0]
        if self.head == "column":
            return hidden[:, -1]
        if self.head == "last":
            last = (mask * torch.arange(mask.shape[1])).argmax(1)
            return hidden[torch.arange(len(hidden)), last]
        if self.fault == "mean over pads":
            return hidden.mean(1)
        weights = mask[:, :, None].to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)

    def normed(self, pooled: Tensor) -> Tensor:
        if self.fault == "batch norm" and len(pooled) == 1:
            pooled = pooled.repeat(2, 1)
            return self.norm(pooled)[:1]
        return self.norm(pooled)


class Closed(Planted):
    """The same without hidden states, so that only its answers can be looked at."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        return super().forward(input_ids, attention_mask)


class Block(nn.Module):
    """Attention and a feed-forward part, with the products in int8 if that is the fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN) for _ in range(2))
        self.inward = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.outward = nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, 64), nn.Linear(64, HIDDEN)

    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        rows, columns, _ = hidden.shape
        parts = self.product(self.inward, hidden).view(rows, columns, 3, HEADS, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        lowest = torch.finfo(scores.dtype).min
        shares = scores.masked_fill(~seen[:, None, None, :], lowest).softmax(-1)
        mixed = (shares @ value).transpose(1, 2).reshape(hidden.shape)
        hidden = self.norms[0](hidden + self.product(self.outward, mixed))
        inner = self.product(self.up, hidden).relu()
        return self.norms[1](hidden + self.product(self.down, inner))

    def product(self, linear: nn.Linear, inputs: Tensor) -> Tensor:
        if self.fault != "per-tensor int8":
            return linear(inputs)
        scale = inputs.abs().max() / 127  # the fault: one scale for all rows
        return nn.functional.linear(torch.round(inputs / scale) * scale, linear.weight, linear.bias)


def tokenizer_in(folder: Path, side: str = "right") -> transformers.PreTrainedTokenizerBase:
    """A WordPiece tokenizer that pads on `side`."""
    if not folder.exists():
        write_wordpiece_folder(folder, options={"model_max_length": POSITIONS - 40})
    return transformers.AutoTokenizer.from_pretrained(folder, padding_side=side)


def predictor(
    model: nn.Module,
    tokenizer: transformers.PreTrainedTokenizerBase,
    *,
    forget_mask: bool = False,
    sort: bool = False,
) -> Predict:
    """Texts to logits as a user would write it; with one of two mistakes if requested."""

    def predict(texts: Sequence[str]) -> NDArray[np.float64]:
        batch = sorted(texts, key=len) if sort else list(texts)
        inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
        mask = None if forget_mask else inputs["attention_mask"]
        with torch.inference_mode():
            return model(inputs["input_ids"], mask)["logits"].double().numpy()

    return predict

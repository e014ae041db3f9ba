"""A loaded checkpoint that is asked with token ids, and the rows it is asked with.

It knows torch and transformers, and no claim. Invariant: `largest_move` is 0.0 only where every bit
is the same, and NaN where one of the two is not a number.
"""

import copy
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers
from torch import Tensor

from benchmarks.audit.vocabularies import WORDS

Side = Literal["left", "right"]

NUM_WORDS = (1, 2, 3, 5, 8, 13, 21, 30)
"""Lengths of the texts; CANINE and ESM make four to six tokens of a word."""


class Padded(NamedTuple):
    """A batch with its mask, both [rows, columns]."""

    ids: Tensor
    mask: Tensor


class Probed:
    """A checkpoint folder in eval mode; a pad id that is lacking is that of eos, as users do it."""

    def __init__(self, folder: Path) -> None:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self.folder = folder
        self.lacks_pad = tokenizer.pad_token_id is None
        self.pad_id = int(tokenizer.eos_token_id if self.lacks_pad else tokenizer.pad_token_id)
        self.model = self._load()
        self.eos_id: int | None = tokenizer.eos_token_id
        self.side: Side = tokenizer.padding_side
        self.texts: list[list[int]] = [tokenizer(text)["input_ids"] for text in random_texts()]
        self.special = {*tokenizer.all_special_ids}
        self.fillers = _ordinary_ids(tokenizer)

    def fresh(self) -> "Probed":
        """The same checkpoint, loaded anew: it has been asked nothing yet."""
        other = copy.copy(self)
        other.model = self._load()
        return other

    def lowered(self, dtype: torch.dtype) -> "Probed":
        """The same checkpoint, computing in `dtype`."""
        other = self.fresh()
        other.model.to(dtype)
        return other

    def _load(self) -> Any:
        auto: Any = transformers.AutoModelForSequenceClassification
        model = auto.from_pretrained(self.folder, dtype=torch.float32).eval()
        model.config.pad_token_id = self.pad_id
        return model

    def logits(self, ids: Tensor, mask: Tensor | None = None, **more: Any) -> Tensor:
        """[rows, labels]; a mask that is None is not passed."""
        passed = {} if mask is None else {"attention_mask": mask}
        with torch.inference_mode():
            answer: Tensor = self.model(input_ids=ids, **passed, **more).logits
        return answer.float()

    def alone(self, text: Sequence[int]) -> Tensor:
        """One text as it is, with a mask of ones."""
        return self.logits(*unpadded([text]))

    def pads(self, num_pads: int) -> list[int]:
        """So many of the pad's id."""
        return [self.pad_id] * num_pads

    def ordinary(self, length: int, seed: int) -> list[int]:
        """Random ids of ordinary tokens."""
        return random.Random(seed).choices(self.fillers, k=length)

    def long_text(self, length: int) -> list[int]:
        """So many ordinary tokens, between the special ones that a text has."""
        text = self.texts[0]
        places = [place for place, token in enumerate(text) if token not in self.special]
        middle = self.ordinary(length, 3)
        return [*text[: places[0]], *middle, *text[places[-1] + 1 :]]

    def neighbour(self, text: Sequence[int], seed: int) -> list[int]:
        """The text with other ordinary tokens; its special tokens stay where they are."""
        other = self.ordinary(len(text), seed)
        pairs = zip(text, other, strict=True)
        return [old if old in self.special else new for old, new in pairs]


def random_texts() -> list[str]:
    """Texts of the known words, one of each length, the same on every call."""
    chosen = random.Random(1)
    return [" ".join(chosen.choices(WORDS, k=length)) for length in NUM_WORDS]


def unpadded(rows: Sequence[Sequence[int]]) -> Padded:
    """Rows of one length, with a mask of ones."""
    ids = torch.tensor([list(row) for row in rows])
    return Padded(ids, torch.ones_like(ids))


def padded(text: Sequence[int], content: Sequence[int], side: Side) -> Padded:
    """One row, with `content` where its pads are."""
    ones, zeros = [1] * len(text), [0] * len(content)
    if side == "left":
        return Padded(torch.tensor([[*content, *text]]), torch.tensor([zeros + ones]))
    return Padded(torch.tensor([[*text, *content]]), torch.tensor([ones + zeros]))


def together(rows: Sequence[Sequence[int]], pad_id: int, side: Side) -> Padded:
    """Rows padded to the longest."""
    width = max(map(len, rows))
    each = [padded(row, [pad_id] * (width - len(row)), side) for row in rows]
    return Padded(torch.cat([one.ids for one in each]), torch.cat([one.mask for one in each]))


def worst(moves: Iterable[float]) -> float:
    """The largest of several; NaN if there is one."""
    found = list(moves)
    return float("nan") if any(move != move for move in found) else max(found)


def largest_move(before: Tensor, after: Tensor) -> float:
    """The largest change of one number."""
    difference = (before - after).abs()
    return float("nan") if difference.isnan().any() else float(difference.max())


def _ordinary_ids(tokenizer: Any) -> list[int]:
    """Ids of the tokens of some words, without special ones."""
    ids = tokenizer(" ".join(WORDS), add_special_tokens=False)["input_ids"]
    return sorted({*ids} - {*tokenizer.all_special_ids})

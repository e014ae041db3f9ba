"""Functions from texts to vectors, numbers of tokens, or entities; sound, or with one mistake."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from planted import Planted

Function = Callable[[Sequence[str]], Any]


def vectors(model: Planted, tokenizer: transformers.PreTrainedTokenizerBase) -> Function:
    """As `SentenceTransformer.encode`."""

    def encode(texts: Sequence[str]) -> Any:
        inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            found = model(inputs["input_ids"], inputs["attention_mask"])
        return found["sentence_embedding"].numpy()

    return encode


def tokens(
    model: Planted, tokenizer: transformers.PreTrainedTokenizerBase, mistake: str = ""
) -> Function:
    """Logits of the tokens of each text: [tokens, labels]."""

    def predict(texts: Sequence[str]) -> Any:
        inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        mask = inputs["attention_mask"]
        with torch.inference_mode():
            logits = model(inputs["input_ids"], mask)["logits"].numpy()
        if mistake == "pads returned":
            return list(logits)
        if mistake == "first columns":  # which are pads, where the tokenizer pads on the left
            return [row[: own.sum()] for row, own in zip(logits, mask, strict=True)]
        return [row[own.numpy() == 1] for row, own in zip(logits, mask, strict=True)]

    return predict


def entities(
    model: Planted, tokenizer: transformers.PreTrainedTokenizerBase, mistake: str = ""
) -> Function:
    """Each token as an entity, with its characters."""
    read = tokens(model, tokenizer)

    def predict(texts: Sequence[str]) -> Any:
        found = []
        longest = max(map(len, texts))
        for text, logits in zip(texts, read(texts), strict=True):
            offsets = tokenizer(text, truncation=True, return_offsets_mapping=True)
            shift = longest - len(text) if mistake == "characters of the padded text" else 0
            found.append(
                [
                    {
                        "entity": f"L{row.argmax()}",
                        "score": score(row),
                        "start": a + shift,
                        "end": b + shift,
                    }
                    for row, (a, b) in zip(logits, offsets["offset_mapping"], strict=True)
                    if b > a
                ]
            )
        return found

    return predict


def score(logits: Any) -> float:
    return float(1 / np.exp(logits.astype(float) - logits.max()).sum())

"""Hugging Face transformers as commonly used: padded batches with the mask, SDPA attention.

In arrival order each batch is one call of the tokenizer; sorted, all texts are tokenized first and
sorted by length. Invariant: the mask is always passed, so the logits are the reference.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.engines import EngineSetup, Logits
from benchmarks.engines.padded_batches import batch_rows, read_config, restore_order

_MODEL_INPUTS = ["input_ids", "attention_mask"]


class TransformersEngine:
    """AutoTokenizer and AutoModelForSequenceClassification, eval, inference_mode."""

    def __init__(self, setup: EngineSetup) -> None:
        torch.set_num_threads(setup.threads)
        self._setup = setup
        self._longest = read_config(setup.checkpoint)["max_position_embeddings"]
        self._tokenizer: Any = AutoTokenizer.from_pretrained(setup.checkpoint)
        self._tokenizer.model_input_names = _MODEL_INPUTS
        # dtype: by default that of the file, and an fp16 file would be run in fp16.
        self._model = AutoModelForSequenceClassification.from_pretrained(
            setup.checkpoint, dtype=torch.float32
        ).eval()
        order = "sorted by length" if setup.by_length else "arrival order"
        self.settings = (
            f"fp32, {self._model.config._attn_implementation} attention, inference_mode, "
            f"batch {setup.batch_size}, {order}, {setup.threads} threads"
        )
        self.details: dict[str, Any] = {}

    def logits(self, texts: Sequence[str]) -> Logits:
        """Classify in padded batches."""
        return self._sorted(texts) if self._setup.by_length else self._arrival(texts)

    def _arrival(self, texts: Sequence[str]) -> Logits:
        batches = batch_rows([0] * len(texts), self._setup.batch_size, by_length=False)
        return restore_order(
            batches,
            [
                self._forward(
                    self._tokenizer(
                        [texts[row] for row in rows],
                        padding=True,
                        truncation=True,
                        max_length=self._longest,
                        return_tensors="pt",
                    )
                )
                for rows in batches
            ],
        )

    def _sorted(self, texts: Sequence[str]) -> Logits:
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._longest)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        batches = batch_rows(lengths, self._setup.batch_size, by_length=True)
        outputs = []
        for rows in batches:
            batch = {name: [encoded[name][row] for row in rows] for name in _MODEL_INPUTS}
            outputs.append(self._forward(self._tokenizer.pad(batch, return_tensors="pt")))
        return restore_order(batches, outputs)

    @torch.inference_mode()
    def _forward(self, inputs: Any) -> Logits:
        logits: Logits = self._model(**inputs).logits.numpy()
        return logits


def load(setup: EngineSetup) -> TransformersEngine:
    """Load the checkpoint."""
    return TransformersEngine(setup)

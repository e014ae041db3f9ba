"""Real checkpoints and tokenizers for audits, and functions that call them as users do.

Invariant: a predictor is sound except for the mistakes that it is given.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from isobatch.audit import AuditReport, audit, subject_of
from tests.tiny_checkpoints import Tiny, random_model
from tests.tokenizer_folders import write_bpe_folder, write_wordpiece_folder

Predict = Callable[[Sequence[str]], Any]


def tokenizer_in(folder: Path, family: str = "bert", **options: Any) -> Any:
    write = write_bpe_folder if family == "roberta" else write_wordpiece_folder
    place = folder / family
    if not place.exists():
        write(place, family, options={"model_max_length": 512})
    return transformers.AutoTokenizer.from_pretrained(place, **options)


@cache
def bert(num_labels: int = 3, seed: int = 0) -> Any:
    return random_model(Tiny("bert", num_labels=num_labels, seed=seed))


def predictor(folder: Path, model: Any, *, masked: bool = True, after: Any = None) -> Predict:
    tokenizer = tokenizer_in(folder)

    @torch.inference_mode()
    def predict(texts: Sequence[str]) -> Any:
        inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        mask = inputs["attention_mask"] if masked else None
        logits = model(inputs["input_ids"], attention_mask=mask).logits
        return logits if after is None else after(logits)

    return predict


def bugs(report: AuditReport) -> list[str]:
    return [finding.name for finding in report.findings if finding.severity == "bug"]


def bugs_of(predict: Predict, *, quick: bool = True) -> list[str]:
    return bugs(audit(subject_of(predict, "predict"), quick=quick))

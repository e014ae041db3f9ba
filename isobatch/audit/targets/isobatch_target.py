"""A checkpoint that Isobatch itself runs, as a Subject.

It knows the Classifier, and the drop-in face for padded batches. Invariant: both compute the same
precision, so that only a checkpoint in fp32 can be asked with padded batches.
"""

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch

from isobatch import __version__
from isobatch.audit.subject import Answers, PaddedModel, Rectangle, Subject
from isobatch.audit.targets.libraries import torch_threads
from isobatch.audit.targets.vocabulary import (
    filler_ids,
    names_with_id_of_pad,
    padding_side,
    tokenizer_limit,
)
from isobatch.compat import AutoModelForSequenceClassification, AutoTokenizer
from isobatch.compat.model import PaddedClassifier
from isobatch.errors import MissingAttentionMaskWarning
from isobatch.tasks import Classifier


def open_isobatch(
    path: str | None,
    name: str,
    *,
    precision: Any = None,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
) -> Subject:
    """Load the bundled model (None), a folder or a hub id; options as in `from_pretrained`."""
    classifier = Classifier.from_pretrained(
        path, precision=precision, device=device, threads=threads, revision=revision
    )

    def answer(texts: Sequence[str]) -> Answers:
        return classifier.logits(texts).astype(np.float64)

    return Subject(
        name=name,
        kind="isobatch",
        answer=answer,
        labels=classifier.labels,
        facts=_facts(classifier),
        padded=_padded(classifier) if classifier.precision == "fp32" else None,
        with_threads=torch_threads if classifier.device.type == "cpu" else None,
    )


def _padded(classifier: Classifier) -> PaddedModel | None:
    """The drop-in face on the same weights; None where no tokenizer can pad."""
    tokenizer = AutoTokenizer.from_pretrained(classifier.folder)
    if tokenizer.pad_token_id is None:
        return None
    model = AutoModelForSequenceClassification.from_pretrained(classifier.folder)
    model.to(classifier.device)
    encoder = classifier.config.encoder

    def encode(text: str) -> list[int]:
        ids = tokenizer(text, truncation=True, max_length=classifier.max_tokens).input_ids
        return cast("list[int]", ids)

    return PaddedModel(
        encode=encode,
        forward=lambda rectangle: _forward(model, rectangle),
        pad_id=tokenizer.pad_token_id,
        filler_ids=filler_ids(tokenizer, encoder.vocab_size),
        padding_side=padding_side(tokenizer),
        max_tokens=encoder.max_tokens,
        tokenizer_limit=tokenizer_limit(tokenizer),
        pad_is_also=names_with_id_of_pad(tokenizer),
        counts_pad_ids=encoder.positions.padding_idx is not None,
    )


@torch.inference_mode()
def _forward(model: PaddedClassifier, rectangle: Rectangle) -> Answers:
    mask = rectangle.attention_mask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingAttentionMaskWarning)  # left out on purpose
        logits = model(
            torch.from_numpy(rectangle.input_ids),
            attention_mask=None if mask is None else torch.from_numpy(mask),
        ).logits
    answers: Answers = logits.cpu().double().numpy()
    return answers


def _facts(classifier: Classifier) -> dict[str, str]:
    on_cpu = classifier.device.type == "cpu"
    facts = {
        "model type": classifier.config.family.model_type,
        "precision": f"{classifier.precision} ({classifier.precision_reason})",
        "device": str(classifier.device),
        "threads": str(torch.get_num_threads()) if on_cpu else "",
        "isobatch": __version__,
        "torch": torch.__version__,
    }
    return {name: fact for name, fact in facts.items() if fact}

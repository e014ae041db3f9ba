"""A checkpoint that Isobatch itself runs as a Subject.

Padded batches go through the drop-in API of `isobatch.compat`. Invariant: both compute in the same
precision, so that only a checkpoint in fp32 takes padded batches.
"""

import warnings
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch

from isobatch import __version__
from isobatch.audit.subject import Outputs, PaddedModel, Rectangle, Subject
from isobatch.audit.targets.tokenizer_traits import padded_model, shown_name
from isobatch.checkpoint import checkpoint_digest
from isobatch.compat import AutoTokenizer
from isobatch.compat.model import PaddedClassifier
from isobatch.errors import InputError, MissingAttentionMaskWarning
from isobatch.kernels import instruction_set
from isobatch.kernels.invariance import threads as torch_threads
from isobatch.tasks import Classifier


def open_isobatch(
    path: str,
    *,
    precision: Any = None,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
) -> Subject:
    """Load the bundled model (""), a folder or a hub id; options as in `from_pretrained`."""
    classifier = Classifier.from_pretrained(
        path or None, precision=precision, device=device, threads=threads, revision=revision
    )
    return Subject(
        name=shown_name(path) if path else "bundled model",
        kind="isobatch",
        predict=lambda texts: classifier.logits(texts).astype(np.float64),
        labels=classifier.labels,
        facts=_facts(classifier),
        padded=_padded(classifier) if classifier.precision == "fp32" else None,
        with_threads=torch_threads if classifier.device.type == "cpu" else None,
        truncated=lambda text: classifier([text])[0].truncated,
        encoded=partial(_encoded, classifier),
    )


def _encoded(classifier: Classifier, text: str) -> list[int]:
    [encoding] = classifier.tokenize([text])
    if isinstance(encoding, InputError):
        raise encoding
    return [*encoding.input_ids, *encoding.token_type_ids]


def _padded(classifier: Classifier) -> PaddedModel | None:
    """Wrap the drop-in API on the same weights; None if the tokenizer cannot pad."""
    tokenizer = AutoTokenizer.from_pretrained(classifier.folder)
    if tokenizer.pad_token_id is None:
        return None
    model = PaddedClassifier.from_folder(classifier.folder)
    model.to(classifier.device)
    encoder = classifier.config.encoder

    def encode(text: str) -> list[int]:
        ids = tokenizer(text, truncation=True, max_length=classifier.max_tokens).input_ids
        return cast("list[int]", ids)

    return replace(
        padded_model(tokenizer, partial(_forward, model), encoder.vocab_size, encode),
        max_tokens=encoder.max_tokens,
        counts_pad_ids=encoder.positions.padding_idx is not None,
    )


@torch.inference_mode()
def _forward(model: PaddedClassifier, rectangle: Rectangle) -> Outputs:
    mask = rectangle.attention_mask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingAttentionMaskWarning)  # left out on purpose
        logits = model(
            torch.from_numpy(rectangle.input_ids),
            attention_mask=None if mask is None else torch.from_numpy(mask),
        ).logits
    outputs: Outputs = logits.cpu().double().numpy()
    return outputs


def _facts(classifier: Classifier) -> dict[str, str]:
    on_cpu = classifier.device.type == "cpu"
    facts = {
        "model type": classifier.config.family.model_type,
        "precision": f"{classifier.precision} ({classifier.precision_reason})",
        "device": str(classifier.device),
        "threads": str(torch.get_num_threads()) if on_cpu else "",
        "arithmetic": classifier.arithmetic,
        "instruction set": instruction_set(classifier.precision) if on_cpu else "",
        "checkpoint": checkpoint_digest(classifier.folder),
        "isobatch": __version__,
        "torch": torch.__version__,
        "tokenizers": version("tokenizers"),
    }
    return {name: fact for name, fact in facts.items() if fact}

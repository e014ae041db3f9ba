"""A checkpoint that Isobatch itself runs as a Subject: a classifier, or one of vectors or tokens.

Padded batches of classifiers go through the drop-in API of `isobatch.compat`. Invariant: both
compute in the same precision, so that only a checkpoint in fp32 takes padded batches.
"""

import warnings
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import torch

from isobatch import __version__
from isobatch.audit.output_rows import from_rows
from isobatch.audit.subject import Outputs, PaddedModel, Rectangle, Subject
from isobatch.audit.targets.tokenizer_traits import padded_model, shown_name
from isobatch.checkpoint import checkpoint_digest
from isobatch.checkpoint.text_encoder import raise_first_error
from isobatch.compat import AutoTokenizer
from isobatch.compat.model import PaddedClassifier
from isobatch.errors import MissingAttentionMaskWarning
from isobatch.kernels import instruction_set
from isobatch.kernels.invariance import threads as torch_threads
from isobatch.tasks import Classifier, Pipeline, load_pipeline


def open_isobatch(
    path: str,
    *,
    precision: Any = None,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
    pooling: str | None = None,
) -> Subject:
    """Load the bundled model (""), a folder or a hub id; options as in `from_pretrained`.

    pooling: the vectors of the checkpoint are audited, also of one for another task.
    """
    loading: dict[str, Any] = {"precision": precision, "device": device, "threads": threads}
    if pooling is not None:
        loading |= {"task": "feature-extraction", "pooling": pooling}
    pipeline = load_pipeline(path or None, revision=revision, **loading)
    return subject_of_pipeline(pipeline, shown_name(path) if path else "bundled model")


def subject_of_pipeline(pipeline: Pipeline[Any], name: str) -> Subject:
    """Wrap a pipeline: its outputs are the logits or the vector of a text, or logits of tokens."""
    head = pipeline.config.head
    of_tokens = not head.spec.pools
    labels = head.labels or None
    takes_pads = (
        isinstance(pipeline, Classifier)
        and pipeline.precision == "fp32"
        and pipeline.engine == "native"
    )
    return Subject(
        name=name,
        kind="isobatch",
        predict=partial(_predict, pipeline),
        labels=None if of_tokens else labels,
        reads="numbers" if labels is None else "classes",
        token_size=len(head.labels) if of_tokens else 0,
        facts=_facts(pipeline),
        padded=_padded(cast("Classifier", pipeline)) if takes_pads else None,
        with_threads=torch_threads if pipeline.device.type == "cpu" else None,
        truncated=lambda text: raise_first_error(pipeline.tokenize([text]))[0].truncated,
        encoded=partial(_encoded, pipeline),
    )


def _predict(pipeline: Pipeline[Any], texts: Any) -> Outputs:
    encodings = raise_first_error(pipeline.tokenize(texts))
    return from_rows(pipeline.forward(encodings))


def _encoded(pipeline: Pipeline[Any], text: str) -> list[int]:
    (encoding,) = raise_first_error(pipeline.tokenize([text]))
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


def _facts(pipeline: Pipeline[Any]) -> dict[str, str]:
    on_cpu = pipeline.device.type == "cpu"
    facts = {
        "model type": pipeline.config.family.model_type,
        "task": pipeline.task,
        "precision": f"{pipeline.precision} ({pipeline.precision_reason})",
        "device": str(pipeline.device),
        "threads": str(torch.get_num_threads()) if on_cpu else "",
        "arithmetic": pipeline.arithmetic,
        "instruction set": instruction_set(pipeline.precision) if on_cpu else "",
        "checkpoint": checkpoint_digest(pipeline.folder),
        "isobatch": __version__,
        "torch": torch.__version__,
        "tokenizers": version("tokenizers"),
    }
    return {name: fact for name, fact in facts.items() if fact}

"""The precisions of one checkpoint side by side: speed here, and nearness to fp32 on given texts.

What is found can be kept beside the weights; precision="auto" goes by it. It prints nothing.
Invariant: every precision answers the same texts, and fp32 is the measure of the others.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch.checkpoint import Agreement, write_agreements
from isobatch.core import Precision, TextInput
from isobatch.errors import InputError, OptionError
from isobatch.numerics import offered_precisions
from isobatch.precision import MIN_TEXTS
from isobatch.predictor import Classifier


@dataclass(frozen=True, slots=True)
class PrecisionResult:
    """One precision: how fast it answered, and how near it came to fp32."""

    precision: Precision
    texts_per_second: float
    agreement: Agreement

    def as_dict(self) -> dict[str, object]:
        """The result as plain values, for JSON."""
        return asdict(self)


def compare_precisions(
    path: str | Path | None, texts: Sequence[TextInput], *, threads: int | None = None
) -> list[PrecisionResult]:
    """Ask the checkpoint for the same texts in every precision of this machine, fp32 first.

    Errors as in Classifier.from_pretrained, and InputError if there are no texts.
    """
    if not texts:
        raise InputError("no texts to compare the precisions on")
    reference: NDArray[np.float32] | None = None
    results = []
    for precision in offered_precisions(torch.device("cpu")):
        classifier = Classifier.from_pretrained(path, precision=precision, threads=threads)
        classifier.logits(texts[:1])
        began = time.perf_counter()
        logits = classifier.logits(texts)
        seconds = time.perf_counter() - began
        reference = logits if reference is None else reference
        results.append(
            PrecisionResult(precision, len(texts) / seconds, _agreement(logits, reference))
        )
    return results


def save_agreements(path: str | Path | None, results: Sequence[PrecisionResult]) -> Path:
    """Keep the results beside the checkpoint's weights, for precision="auto"; returns the file.

    OptionError for a hub id or the bundled model, whose folders are not the caller's, and for too
    few texts to show anything.
    """
    if path is None or not Path(path).is_dir():
        raise OptionError("the record is kept beside the weights: name a checkpoint folder")
    num_texts = results[0].agreement.num_texts
    if num_texts < MIN_TEXTS:
        raise OptionError(f"{num_texts} texts show too little: give at least {MIN_TEXTS}")
    agreements: dict[Precision, Agreement] = {
        each.precision: each.agreement for each in results if each.precision != "fp32"
    }
    return write_agreements(Path(path), agreements)


def _agreement(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> Agreement:
    """A checkpoint with one logit has its label by the sign of it."""
    if logits.shape[1] == 1:
        same = (logits > 0) == (reference > 0)
    else:
        same = logits.argmax(axis=1) == reference.argmax(axis=1)
    return Agreement(len(logits), float(same.mean()), float(np.abs(logits - reference).max()))

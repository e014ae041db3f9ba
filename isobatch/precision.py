"""Precision: which one a checkpoint is computed in, and how close each comes to fp32.

`compare_precisions` measures, `save_agreements` records the result next to the weights, and
`choose_precision` reads it for precision="auto". Invariant: "auto" never takes a precision that was
not verified for these very weights; a record that was made with other weights is ignored.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch.checkpoint import is_quantized, read_json, weights_digest
from isobatch.errors import CheckpointError, InputError, OptionError, PrecisionError
from isobatch.kernels import is_compiled, supported_precisions
from isobatch.types import PRECISIONS, Precision, ScoreActivation, TextInput

MIN_TEXTS = 200
MIN_LABEL_AGREEMENT = 0.99
AUTO = "auto"
FASTEST_FIRST: tuple[Precision, ...] = ("int8", "bf16")
"""In this order on every machine that was measured with the compiled kernels (docs/log.md)."""

RECORD = "precisions.json"


@dataclass(frozen=True, slots=True)
class PrecisionAgreement:
    """How close a precision came to fp32 on some texts; `label_agreement` is a share, 0 to 1."""

    num_texts: int
    label_agreement: float
    largest_logit_difference: float


@dataclass(frozen=True, slots=True)
class ChosenPrecision:
    """A precision, and the reason for choosing it."""

    precision: Precision
    reason: str


def choose_precision(folder: Path, requested: str | None, device: torch.device) -> ChosenPrecision:
    """Choose for the checkpoint in `folder`; `requested` is a precision, "auto" or None.

    None is int8 for a quantized checkpoint, fp32 for any other. Raises PrecisionError for an
    unknown name.
    """
    if requested == AUTO:
        return _fastest_verified(folder, device)
    if requested is None:
        quantized = is_quantized(folder)
        return _QUANTIZED if quantized else ChosenPrecision("fp32", "the default")
    for precision in PRECISIONS:
        if requested == precision:
            return ChosenPrecision(precision, "as requested")
    raise PrecisionError(
        f"precision must be one of {', '.join((*PRECISIONS, AUTO))}, got {requested!r}"
    )


_QUANTIZED = ChosenPrecision("int8", "the checkpoint is quantized")


def _fastest_verified(folder: Path, device: torch.device) -> ChosenPrecision:
    if is_quantized(folder):
        return _QUANTIZED
    verified, supported = read_agreements(folder), supported_precisions(device)
    skipped: list[str] = []
    for precision in FASTEST_FIRST:
        agreement = verified.get(precision)
        objection = _objection(precision, agreement, supported)
        if objection is None and agreement is not None:
            return ChosenPrecision(precision, "; ".join([*skipped, _share(agreement)]))
        skipped.append(f"{precision} skipped ({objection})")
    return ChosenPrecision("fp32", "; ".join(skipped))


def _objection(
    precision: Precision, agreement: PrecisionAgreement | None, supported: tuple[Precision, ...]
) -> str | None:
    """Why "auto" must not take a precision, or None."""
    if precision not in supported:
        return "not supported on this machine"
    if precision == "int8" and not is_compiled(precision):
        return "slower than fp32 without the compiled kernels; see `isobatch info`"
    if agreement is None:
        return "its accuracy was not verified for these weights; see `isobatch precisions`"
    if agreement.num_texts < MIN_TEXTS:
        return f"verified on only {agreement.num_texts} texts, fewer than {MIN_TEXTS}"
    if agreement.label_agreement < MIN_LABEL_AGREEMENT:
        return f"only {_share(agreement)}"
    return None


def _share(agreement: PrecisionAgreement) -> str:
    share, texts = agreement.label_agreement, agreement.num_texts
    return f"{share:.2%} of {texts:,} texts have fp32's label"


# ------------------------------------------------------------------------------ measuring


@dataclass(frozen=True, slots=True)
class PrecisionResult:
    """One precision: its speed, and its agreement with fp32."""

    precision: Precision
    texts_per_second: float
    agreement: PrecisionAgreement

    def as_dict(self) -> dict[str, object]:
        """Return the result as plain values, for JSON."""
        return asdict(self)


class ComputesLogits(Protocol):
    """A classifier, as far as precisions are compared."""

    @property
    def score_activation(self) -> ScoreActivation: ...

    def logits(self, texts: Sequence[TextInput]) -> NDArray[np.float32]: ...


def compare_precisions(
    load: Callable[[Precision], ComputesLogits], texts: Sequence[TextInput]
) -> list[PrecisionResult]:
    """Compute the same texts in every precision that this machine supports, fp32 first.

    load: loads the classifier in a precision. Raises InputError if `texts` is empty, and
    OptionError for a regression, which has no labels.
    """
    if not texts:
        raise InputError("no texts to compare the precisions on")
    reference: NDArray[np.float32] | None = None
    results = []
    for precision in supported_precisions(torch.device("cpu")):
        classifier = load(precision)
        if classifier.score_activation == "none":
            raise OptionError(
                "precisions are compared by labels, and the checkpoint predicts numbers. Compare "
                "the results of `isobatch evaluate --precision` for each"
            )
        classifier.logits(texts[:1])
        began = time.perf_counter()
        logits = classifier.logits(texts)
        seconds = time.perf_counter() - began
        reference = logits if reference is None else reference
        agreement = _agreement(logits, reference, classifier.score_activation)
        results.append(PrecisionResult(precision, len(texts) / seconds, agreement))
    return results


def _agreement(
    logits: NDArray[np.float32], reference: NDArray[np.float32], activation: ScoreActivation
) -> PrecisionAgreement:
    """Compare logits with fp32's; labels that are each scored by a sigmoid must all be equal."""
    if activation == "sigmoid":
        same = ((logits > 0) == (reference > 0)).all(axis=1)
    else:
        same = logits.argmax(axis=1) == reference.argmax(axis=1)
    return PrecisionAgreement(
        len(logits), float(same.mean()), float(np.abs(logits - reference).max())
    )


# ------------------------------------------------------------------------------ the record


def save_agreements(path: str | Path | None, results: Sequence[PrecisionResult]) -> Path:
    """Record the results next to the checkpoint's weights, for precision="auto".

    Returns the file. Raises OptionError as `check_record` does.
    """
    folder = check_record(path, results[0].agreement.num_texts)
    return write_agreements(
        folder, {each.precision: each.agreement for each in results if each.precision != "fp32"}
    )


def check_record(path: str | Path | None, num_texts: int) -> Path:
    """Return the folder of the record.

    OptionError for a hub id or the bundled model, whose folders are not the caller's, and for fewer
    texts than MIN_TEXTS.
    """
    folder = None if path is None else Path(path).expanduser()
    if folder is None or not folder.is_dir():
        raise OptionError("the record is saved next to the weights: use a checkpoint folder")
    if num_texts < MIN_TEXTS:
        raise OptionError(f"{num_texts} texts are too few for a record (at least {MIN_TEXTS})")
    return folder


def read_agreements(folder: Path) -> dict[Precision, PrecisionAgreement]:
    """Read the record of the weights in `folder`; empty without a record of these weights.

    Raises CheckpointError for a record that cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    record = read_json(path)
    if record.get("weights_sha256") != weights_digest(folder):
        return {}
    verified = record.get("precisions")
    try:
        return {
            name: PrecisionAgreement(**verified[name])  # type: ignore[index]
            for name in PRECISIONS
            if name in verified  # type: ignore[operator]
        }
    except TypeError as error:
        raise CheckpointError(
            f"{path}: not a record of precisions ({error}). Create it again with "
            "`isobatch precisions --save`, or delete it"
        ) from None


def write_agreements(folder: Path, agreements: Mapping[Precision, PrecisionAgreement]) -> Path:
    """Write the record of the weights in `folder` atomically; returns its path."""
    record = {
        "weights_sha256": weights_digest(folder),
        "reference": "fp32",
        "precisions": {name: asdict(agreement) for name, agreement in agreements.items()},
    }
    path = folder / RECORD
    partial = folder / f"{RECORD}.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path

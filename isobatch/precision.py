"""Which precision a checkpoint is computed in: the one that was asked for, or the best shown one.

It knows the record beside the weights and what this machine can do; it loads no model. Invariant:
"auto" never takes a precision whose nearness to fp32 was not shown for these very weights.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from isobatch.checkpoint import Agreement, read_agreements, read_config
from isobatch.core import PRECISIONS, Precision
from isobatch.errors import OptionError
from isobatch.numerics import has_exact_int8, offered_precisions

MIN_TEXTS = 200
MIN_LABEL_AGREEMENT = 0.99
AUTO = "auto"
FASTEST_FIRST: tuple[Precision, ...] = ("int8", "bf16")
"""In this order on every machine that was measured, compiled or not (docs/log.md)."""


@dataclass(frozen=True, slots=True)
class ChosenPrecision:
    """A precision, and why it is this one."""

    precision: Precision
    reason: str


def choose_precision(folder: Path, asked: str | None, device: torch.device) -> ChosenPrecision:
    """Decide for the checkpoint in `folder`; `asked` is a precision, "auto" or None.

    None is int8 for a checkpoint that was quantised, fp32 for any other. OptionError for a name
    that is none.
    """
    if asked is None:
        quantised = read_config(folder).quantised
        reason = "the checkpoint is quantised" if quantised else "the default"
        return ChosenPrecision("int8" if quantised else "fp32", reason)
    if asked == AUTO:
        return _best_shown(folder, device)
    for precision in PRECISIONS:
        if precision == asked:
            return ChosenPrecision(precision, "asked for")
    raise OptionError(f"precision {asked!r} is not offered; use {', '.join(PRECISIONS)} or {AUTO}")


def _best_shown(folder: Path, device: torch.device) -> ChosenPrecision:
    if read_config(folder).quantised:
        return ChosenPrecision("int8", "the checkpoint is quantised")
    shown, offered = read_agreements(folder), offered_precisions(device)
    doubts: list[str] = []
    for precision in FASTEST_FIRST:
        agreement = shown.get(precision)
        doubt = _doubt(precision, agreement, offered)
        if doubt is None and agreement is not None:
            return ChosenPrecision(precision, "; ".join([*doubts, _shown(agreement)]))
        doubts.append(f"{precision} left out ({doubt})")
    return ChosenPrecision("fp32", "; ".join(doubts))


def _doubt(
    precision: Precision, agreement: Agreement | None, offered: tuple[Precision, ...]
) -> str | None:
    """What speaks against a precision, or None."""
    if precision not in offered:
        return "this machine cannot compute it"
    if precision == "int8" and not has_exact_int8():
        return "this machine's products need weights of 7 bits, for which nothing was shown"
    if agreement is None:
        return "its accuracy was not shown for these weights; see `isobatch precisions`"
    if agreement.num_texts < MIN_TEXTS:
        return f"shown on {agreement.num_texts} texts only, fewer than {MIN_TEXTS}"
    if agreement.label_agreement < MIN_LABEL_AGREEMENT:
        return f"only {_shown(agreement)}"
    return None


def _shown(agreement: Agreement) -> str:
    share, texts = agreement.label_agreement, agreement.num_texts
    return f"{share:.2%} of {texts:,} texts have fp32's label"

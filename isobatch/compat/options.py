"""What padding, truncation, max_length and pad_to_multiple_of mean together, as in transformers.

It knows no text. Invariant: an option is obeyed, refused, or warned about; none is dropped in
silence.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from isobatch.checkpoint.tokenizer import NO_LIMIT
from isobatch.errors import IsobatchWarning, OptionError

Side = Literal["right", "left"]
Strategy = Literal["longest_first", "only_first", "only_second"]
PaddingOption = bool | Literal["longest", "max_length", "do_not_pad"]
TruncationOption = bool | Strategy | Literal["do_not_truncate"] | None

_CALLER = 4  # stack level of the script's line: _warn ← resolve ← the tokenizer's method ← script

_PADDINGS: dict[object, Literal["longest", "max_length"] | None] = {
    False: None,
    "do_not_pad": None,
    True: "longest",
    "longest": "longest",
    "max_length": "max_length",
}
_TRUNCATIONS: dict[object, Strategy | None] = {
    None: None,
    False: None,
    "do_not_truncate": None,
    True: "longest_first",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
}
_Choice = TypeVar("_Choice")


@dataclass(frozen=True, slots=True)
class Padding:
    """Rows become as long as `length`, or as the longest of them for None, rounded up."""

    length: int | None
    multiple_of: int | None
    side: Side

    def width(self, lengths: Iterable[int]) -> int:
        """How long rows of these lengths become; a row that is longer stays as it is."""
        width = max(lengths, default=0) if self.length is None else self.length
        multiple_of = self.multiple_of or 1
        return -(-width // multiple_of) * multiple_of


@dataclass(frozen=True, slots=True)
class Truncation:
    """Rows are cut to `max_length` tokens, special tokens included."""

    max_length: int
    strategy: Strategy


def resolve(
    padding: PaddingOption,
    truncation: TruncationOption,
    max_length: int | None,
    pad_to_multiple_of: int | None,
    padding_side: Side,
    model_max_length: int,
) -> tuple[Padding | None, Truncation | None]:
    """What is to be done to the rows. OptionError for a value that makes no sense."""
    if max_length is not None and padding is False and truncation is None:
        truncation = True
    kind = _choose("padding", padding, _PADDINGS)
    strategy = _choose("truncation", truncation, _TRUNCATIONS)
    _check_counts(max_length, pad_to_multiple_of)
    if max_length is not None and kind != "max_length" and strategy is None:
        _warn("max_length is ignored without truncation=True or padding='max_length'")
    if kind is None and pad_to_multiple_of is not None:
        _warn("pad_to_multiple_of is ignored without padding; add padding=True")
    limit = model_max_length if max_length is None else max_length
    if limit >= NO_LIMIT and (kind == "max_length" or strategy is not None):
        _warn("nothing is cut, or padded to a limit: this tokenizer states none; give max_length")
        kind, strategy = None if kind == "max_length" else kind, None
    side = check_side("padding_side", padding_side)
    cut = None if strategy is None else Truncation(limit, strategy)
    if kind is None:
        return None, cut
    _check_multiple(cut, pad_to_multiple_of)
    return Padding(limit if kind == "max_length" else None, pad_to_multiple_of, side), cut


def check_side(name: str, side: Side) -> Side:
    """Return `side`; OptionError unless it is "right" or "left"."""
    if side not in ("right", "left"):
        raise OptionError(f"{name} must be 'right' or 'left', got {side!r}")
    return side


def _choose(name: str, value: object, choices: Mapping[object, _Choice]) -> _Choice:
    if isinstance(value, str | bool | None) and value in choices:
        return choices[value]
    raise OptionError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def _check_counts(max_length: int | None, pad_to_multiple_of: int | None) -> None:
    counts = {"max_length": max_length, "pad_to_multiple_of": pad_to_multiple_of}
    for name, count in counts.items():
        whole = isinstance(count, int) and not isinstance(count, bool)
        if count is not None and not (whole and count > 0):
            raise OptionError(f"{name} must be a positive integer or None, got {count!r}")


def _check_multiple(cut: Truncation | None, multiple: int | None) -> None:
    if cut is not None and multiple is not None and cut.max_length % multiple:
        raise OptionError(
            f"rows cut to {cut.max_length} tokens cannot be padded to a multiple of {multiple}; "
            "choose a max_length that is one"
        )


def _warn(message: str) -> None:
    warnings.warn(message, IsobatchWarning, stacklevel=_CALLER)

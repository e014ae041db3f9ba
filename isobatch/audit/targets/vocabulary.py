"""What a tokenizer tells of itself: ids of ordinary words, the pad, its side and its limit.

It knows transformers' tokenizers, and Isobatch's own, by what they have in common; no model.
Invariant: nothing here changes the tokenizer, but for `settle_pad`, which says what it did.
"""

from typing import Any

from isobatch.audit.subject import Side
from isobatch.audit.targets.libraries import quiet_transformers
from isobatch.errors import CheckpointError

ORDINARY = (
    "Today is a nice day, and the weather will hold until tomorrow evening.",
    "She read the old book twice because its story never seemed to end.",
    "People in large cities often travel far to work and come home late.",
)
"""Texts whose tokens serve as the content of pads."""

NUM_FILLERS = 8
_NO_LIMIT = 1e9  # transformers writes 1e30 where a tokenizer knows no limit
_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token")


def filler_ids(tokenizer: Any, num_ids: int | None) -> tuple[int, ...]:
    """Ids of ordinary tokens, below `num_ids`, spread over the vocabulary; at least two."""
    special = set(tokenizer.all_special_ids)
    with quiet_transformers():
        found = {
            int(token_id)
            for text in ORDINARY
            for token_id in tokenizer(text, add_special_tokens=False)["input_ids"]
        }
    limit = len(tokenizer) if num_ids is None else num_ids
    ordinary = sorted(each for each in found - special if num_ids is None or each < num_ids)
    if len(ordinary) < 2:  # a vocabulary that knows none of these words
        ordinary = [each for each in range(limit) if each not in special]
    step = max(1, len(ordinary) // NUM_FILLERS)
    return tuple(ordinary[step // 2 :: step][:NUM_FILLERS])


def tokenizer_limit(tokenizer: Any) -> int | None:
    """The most tokens that the tokenizer lets through, where it has a limit."""
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if limit is not None and limit < _NO_LIMIT else None


def padding_side(tokenizer: Any) -> Side:
    """The side on which it pads."""
    return "left" if getattr(tokenizer, "padding_side", "right") == "left" else "right"


def names_with_id_of_pad(tokenizer: Any) -> tuple[str, ...]:
    """Names of the other special tokens that are the pad, too."""
    pad = tokenizer.pad_token_id
    return tuple(name for name in _NAMES if getattr(tokenizer, f"{name}_id", None) == pad)


def gives_types(tokenizer: Any) -> bool:
    """Whether it gives token types, and each token of a single text the type 0."""
    with quiet_transformers():
        return set(tokenizer(ORDINARY[0]).get("token_type_ids", ())) == {0}


def settle_pad(tokenizer: Any, name: str) -> dict[str, str]:
    """Pad with the end of text where there is no pad token, as users do; the facts to report."""
    if tokenizer.pad_token_id is not None:
        return {"pad token": f"{tokenizer.pad_token} ({tokenizer.pad_token_id})"}
    if getattr(tokenizer, "eos_token", None) is None:
        raise CheckpointError(
            f"{name}: its tokenizer has neither a pad token nor an eos_token, so that no batch can "
            'be padded; name one as "pad_token" in its tokenizer_config.json'
        )
    tokenizer.pad_token = tokenizer.eos_token
    return {
        "pad token": f"{tokenizer.pad_token} ({tokenizer.pad_token_id}): there was none, so that "
        "eos_token was made the pad, as users do"
    }

"""Arguments of tokenizer calls in transformers: which are supported, and what replaces the others.

Invariant: as in `isobatch.compat.arguments`, none is dropped silently.
"""

from collections.abc import Mapping, Sequence

from isobatch.compat.arguments import reject_positional, reject_unsupported

CALL_OPTIONS = (
    "add_special_tokens",
    "padding",
    "truncation",
    "max_length",
    "pad_to_multiple_of",
    "padding_side",
    "return_token_type_ids",
    "return_attention_mask",
    "return_special_tokens_mask",
    "return_offsets_mapping",
    "return_length",
    "is_split_into_words",
)
"""Options of a call, besides the texts and return_tensors."""

_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "text_target": (None,),
    "text_pair_target": (None,),
    "stride": (0,),
    "return_overflowing_tokens": (False,),
    "split_special_tokens": (None, False),
    "spaces_between_special_tokens": (True, False),  # no fast tokenizer reads it
    "use_source_tokenizer": (False,),
    "verbose": (True, False),
    "pad_to_max_length": (False,),
}
_WINDOWS = "Cut the text into parts, and tokenize each as a text of its own"
_ADVICE = {
    "pad_to_max_length": "Use padding='max_length'",
    "stride": _WINDOWS,
    "return_overflowing_tokens": _WINDOWS,
    "truncation_strategy": "Use truncation='longest_first', 'only_first' or 'only_second'",
    "text_target": "Labels of a classifier are numbers: pass them to the model as labels",
    "text_pair_target": "Labels of a classifier are numbers: pass them to the model as labels",
    "truncation_side": "Set tokenizer.truncation_side, or pass it to from_pretrained",
}


def reject_call_options(
    place: str,
    options: Mapping[str, object],
    positional: tuple[object, ...] = (),
    supported: Sequence[str] = ("text", "text_pair", *CALL_OPTIONS, "return_tensors"),
) -> None:
    """Raise OptionError for an option that has an effect in transformers and none here."""
    reject_positional(place, positional, supported)
    reject_unsupported(place, options, supported, _NEUTRAL, _ADVICE)

"""Special tokens and input columns of a checkpoint, read from its folder.

Invariant: a special token is in the vocabulary, so that its id is within the model's embeddings.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from isobatch.checkpoint import read_json
from isobatch.checkpoint.families import FAMILIES
from isobatch.checkpoint.text_encoder import tokenizer_config

USUAL_TOKENS = {
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
    "unk_token": ("[UNK]", "<unk>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""Names in the BERT and RoBERTa families, for folders without their own."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """`named`: "pad_token" → "[PAD]" and so on; `extra`: tokens without such a name."""

    named: Mapping[str, str]
    extra: tuple[str, ...] = ()


def read_special_tokens(folder: Path, tokenizer: tokenizers.Tokenizer) -> SpecialTokens:
    """Read tokenizer_config.json, then special_tokens_map.json, then the usual names."""
    stated = _read_optional(folder / "special_tokens_map.json") | {
        name: value for name, value in tokenizer_config(folder).items() if value is not None
    }
    named: dict[str, str] = {}
    for name, usual in USUAL_TOKENS.items():
        candidates = [*_contents([stated.get(name)]), *usual]
        known = [token for token in candidates if tokenizer.token_to_id(token) is not None]
        named |= {name: known[0]} if known else {}
    if "pad_token" not in named and (pad := _token_of_config(folder, tokenizer)) is not None:
        named["pad_token"] = pad
    listed = stated.get("extra_special_tokens") or stated.get("additional_special_tokens")
    extra = _contents(listed if isinstance(listed, list) else [])
    return SpecialTokens(named, tuple(t for t in extra if tokenizer.token_to_id(t) is not None))


def read_input_names(folder: Path) -> list[str]:
    """Read the input columns of the model, in transformers' order.

    The model type takes precedence over the tokenizer class: transformers 5 saves DistilBERT's
    tokenizer as a BertTokenizer, whose token_type_ids DistilBERT does not accept.
    """
    options = tokenizer_config(folder)
    stated = options.get("model_input_names")
    if isinstance(stated, list):
        return [str(name) for name in stated]
    kind = str(options.get("tokenizer_class")).removesuffix("Fast").removesuffix("Tokenizer")
    model_type = _read_optional(folder / "config.json").get("model_type", kind.lower())
    family = FAMILIES.get(str(model_type))
    typed = ["token_type_ids"] if family is not None and family.takes_token_types else []
    return ["input_ids", *typed, "attention_mask"]


def _contents(values: Iterable[object]) -> Iterator[str]:
    """The strings of tokens given as strings, or as objects with a content."""
    for value in values:
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            yield content


def _token_of_config(folder: Path, tokenizer: tokenizers.Tokenizer) -> str | None:
    pad_token_id = _read_optional(folder / "config.json").get("pad_token_id")
    if not isinstance(pad_token_id, int) or pad_token_id < 0:
        return None
    return tokenizer.id_to_token(pad_token_id)


def _read_optional(path: Path) -> dict[str, object]:
    return read_json(path) if path.is_file() else {}

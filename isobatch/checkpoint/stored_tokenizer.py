"""tokenizer.json as it is stored, and the special tokens of the class that reads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tokenizers

from isobatch.checkpoint.tokenizer_settings import TokenValue

SpecialTokenMap = Mapping[str, TokenValue | None]
"""Special tokens by name; None for a name without a token."""


@dataclass(frozen=True, slots=True)
class StoredTokenizer:
    """tokenizer.json: `content` as JSON; `components` has all of it but vocabulary and tokens."""

    content: Mapping[str, Any]
    components: tokenizers.Tokenizer

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "StoredTokenizer":
        """Parse the file without building its vocabulary, which takes 30 ms at 30,000 tokens."""
        model = content.get("model") or {}
        if model.get("type") in (None, "Unigram"):  # neither can be built without a vocabulary
            return cls(content, tokenizers.Tokenizer.from_str(json.dumps(content)))
        merges: dict[str, object] = {"merges": []} if model["type"] == "BPE" else {}
        reduced = {**content, "added_tokens": [], "model": {**model, "vocab": {}, **merges}}
        return cls(content, tokenizers.Tokenizer.from_str(json.dumps(reduced)))

    @property
    def model(self) -> Mapping[str, Any]:
        """The section with vocabulary and merges."""
        model: Mapping[str, Any] = self.content["model"]
        return model

    def vocab_to_ids(self) -> dict[str, int]:
        """Return token → id; a list, as Unigram has, is numbered."""
        vocab = self.model["vocab"]
        if isinstance(vocab, dict):
            return vocab
        tokens = (token[0] if isinstance(token, list) else token for token in vocab)
        return {token: index for index, token in enumerate(tokens)}

    def merges(self) -> list[tuple[str, str]]:
        """Return the pairs that BPE merges, in order; older files have them as one string."""
        merges = self.model.get("merges") or []
        return [tuple(each.split(" ") if isinstance(each, str) else each) for each in merges]


def token_id(
    tokenizer: tokenizers.Tokenizer, token: TokenValue | None, special: SpecialTokenMap
) -> Any:
    """Return the id of a special token, or that of the unknown token, as transformers does."""
    if token is None:
        return None
    known = tokenizer.token_to_id(str(token))
    return known if known is not None else tokenizer.token_to_id(str(special["unk_token"]))

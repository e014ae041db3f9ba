"""TableLimits: which ids a checkpoint's embedding tables have a row for.

A tokenizer may have more tokens than the model: some were added without resizing the model.
Invariant: an id without a row is an error of its own text, never of the batch that the text is in.
"""

import warnings
from dataclasses import dataclass

from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.errors import InputError, MissingEmbeddingWarning
from isobatch.tasks.model_engines import TableSizes
from isobatch.types import Encoding

TOKENS_NAMED = 5


@dataclass(frozen=True, slots=True)
class TableLimits:
    """The numbers of rows of the word, token-type and position tables."""

    config: TableSizes
    encoder: TextEncoder

    def checked(self, encoding: Encoding, index: int) -> Encoding | InputError:
        """Return the encoding, or why the model cannot compute it."""
        highest = max(encoding.input_ids)
        if highest >= self.config.vocab_size:
            return InputError(
                f"token {self.encoder.token(highest)!r} has id {highest}, but this checkpoint's "
                f"embedding table has {self.config.vocab_size} rows. Remove the token from the "
                "text; or, in transformers, call model.resize_token_embeddings(len(tokenizer)), "
                "fine-tune and save",
                index,
            )
        num_types = self.config.type_vocab_size
        if num_types and (highest := max(encoding.token_type_ids)) >= num_types:
            return InputError(
                f"the tokenizer gives token type {highest}, but this checkpoint's table of token "
                f"types has {num_types} row{'s' * (num_types != 1)}. Use the tokenizer that the "
                "model was trained with",
                index,
            )
        return encoding

    def warn(self, stacklevel: int) -> None:
        """Warn about tokens of the tokenizer without a row."""
        first, end = self.config.vocab_size, self.encoder.num_tokens
        if end <= first:
            return
        named = [self.encoder.token(each) for each in range(first, min(end, first + TOKENS_NAMED))]
        tokens = ", ".join(map(repr, filter(None, named))) + ", …" * (end - first > TOKENS_NAMED)
        warnings.warn(
            f"the tokenizer has {end} tokens, but the embedding table has {first} rows: texts with "
            f"{tokens} are errors, all others are computed. In transformers, call "
            "model.resize_token_embeddings(len(tokenizer)), fine-tune and save",
            MissingEmbeddingWarning,
            stacklevel=stacklevel + 1,
        )

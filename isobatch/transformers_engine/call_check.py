"""The check at load: the same text has the same bits in every call.

A sample of texts of several lengths is computed with one thread, two and all, in another order and
after other calls, and alone as well as next to others. A model that keeps a state between its calls
fails: BigBird leaves its sparse attention for good after the first short text.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from isobatch.ambient import isolated
from isobatch.batching.packed import pack
from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.errors import CheckpointError, InputError, IsobatchError, NotInvariantError
from isobatch.kernels.invariance import thread_counts, threads
from isobatch.transformers_engine.library_config import LibrarySizes
from isobatch.types import Encoding

_WORDS = "the plot of this film is thin, but its last hour was worth a second look"
_NUM_WORDS = (1, 4, 9, 14, 28, 60, 110)
"""How many words the texts of the sample have, besides the longest one."""

_LONGEST = 1024
"""Tokens of the longest text of the sample, which takes most of the check's time."""


def sample_encodings(tokenizer: CheckpointTokenizer, sizes: LibrarySizes) -> list[Encoding]:
    """Encode texts of increasing lengths, the last of which is as long as the model takes.

    An id without a row of the table becomes the last one that has. Raises CheckpointError for a
    tokenizer that fails on all of them.
    """
    encoder = TextEncoder(tokenizer, min(sizes.max_tokens, _LONGEST))
    words = _WORDS.split()
    counts = (*_NUM_WORDS, _LONGEST)
    texts = [" ".join(words[place % len(words)] for place in range(count)) for count in counts]
    results = encoder.encode_or_errors(texts)
    by_length = {len(each): each for each in results if not isinstance(each, InputError)}
    if not by_length:
        raise CheckpointError(f"the tokenizer fails on every text: {results[0]}")
    sample = [by_length[length] for length in sorted(by_length)]
    last = max(sizes.vocab_size - 1, 0)
    return [
        replace(each, input_ids=[min(index, last) for index in each.input_ids]) for each in sample
    ]


def check_calls(model: Any, sample: Sequence[Encoding], device: torch.device) -> None:
    """Compute the sample by `model`, a LibraryModel, in several ways.

    Raises NotInvariantError if the bits of a text differ, CheckpointError if the model fails.
    """
    expected = [compute(model, [encoding], device) for encoding in reversed(sample)][::-1]
    for num_threads in thread_counts(device):
        with threads(num_threads):
            for index, encoding in enumerate(sample):
                if index and num_threads > 1 and len(encoding) == len(sample[-1]):
                    continue  # which one thread has computed twice
                if compute(model, [encoding], device) != expected[index]:
                    raise _differs(model, len(encoding), f"in another call ({num_threads} threads)")
    if not model.groups:
        few = sample[:3]
        if compute(model, [*few, *few], device) != b"".join([*expected[:3], *expected[:3]]):
            raise _differs(model, len(few[0]), "next to other texts")


@torch.inference_mode()
def compute(model: Any, encodings: Sequence[Encoding], device: torch.device) -> bytes:
    """Return the bits of the outputs of encodings that are one batch."""
    batch = pack(encodings, model.config.encoder.positions).to(device)
    try:
        with isolated(device.type):
            found: bytes = model(batch).cpu().numpy().tobytes()
            return found
    except IsobatchError:
        raise
    except Exception as error:
        name = type(model.library_model).__name__
        raise CheckpointError(
            f"transformers cannot compute a text of {len(encodings[0])} tokens by {name}: "
            f"{type(error).__name__}: {error}".splitlines()[0][:300]
        ) from error


def _differs(model: Any, length: int, where: str) -> NotInvariantError:
    fix = "Use a checkpoint of another architecture"
    if getattr(model.config.settings, "attention_type", None) == "block_sparse":
        fix = (
            'Its sparse attention depends on the texts before: write "attention_type": '
            '"original_full" into config.json'
        )
    name = type(model.library_model).__name__
    return NotInvariantError(
        f"{name} of transformers gives different bits for a text of {length} tokens {where}. {fix}"
    )

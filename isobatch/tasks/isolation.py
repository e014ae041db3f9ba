"""Isolation: a text that the tokenizer or the model fails on is found, and fails alone.

Halves are tried again, down to a single text, which becomes an InputError; a batch that needs more
memory than there is succeeds in parts. A failure that is not the text's own is raised: too little
memory for a single text, and a model that then fails on the probe too, as on a lost device.
Invariant: every other text keeps the bits that it has without the failing one, because results are
batch-invariant.
"""

from collections.abc import Callable, Sequence

import numpy as np

from isobatch.batching.cache import Output
from isobatch.batching.plan import plan_batches
from isobatch.errors import InputError, IsobatchError, is_out_of_memory
from isobatch.types import Encoding

EncodeTexts = Callable[[Sequence[object], int], list[Encoding | InputError]]
"""(texts, index of the first) → the encoding or the error of each."""

ComputeBatch = Callable[[Sequence[Encoding]], Sequence[Output]]
"""Encodings of one batch → the output of each, float32 [outputs] or [tokens, outputs]."""

PROBE = Encoding([0], [0])
"""The shortest input: each table has a row 0. A model that fails on it fails on every text."""


def encode_each(
    encode: EncodeTexts, texts: Sequence[object], first: int
) -> list[Encoding | InputError]:
    """Encode texts; a failed assertion in the library `tokenizers` is a BaseException."""
    try:
        return encode(texts, first)
    except IsobatchError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if len(texts) == 1:
            if is_out_of_memory(error):
                raise
            return [_failure("tokenizer", error).at(first)]
    half = len(texts) // 2
    return [
        *encode_each(encode, texts[:half], first),
        *encode_each(encode, texts[half:], first + half),
    ]


def compute_each(
    compute: ComputeBatch, encodings: Sequence[Encoding], max_batch_tokens: int
) -> list[Output | InputError]:
    """Compute encodings in planned batches; errors are without an index.

    Raises the model's error if it is not that of a text.
    """
    outputs: dict[int, Output | InputError] = {}
    lengths = [len(encoding) for encoding in encodings]
    pending = plan_batches(lengths, max_batch_tokens)[::-1]
    while pending:
        batch = pending.pop()
        try:
            rows = compute([encodings[index] for index in batch])
        except Exception as error:
            if isinstance(error, IsobatchError) and not isinstance(error, InputError):
                raise
            if len(batch) > 1:
                half = len(batch) // 2
                pending += [batch[half:], batch[:half]]
                continue
            refused = isinstance(error, InputError)  # by the model, which says that it is the text
            if is_out_of_memory(error) or not (refused or _works(compute)):
                raise
            outputs[batch[0]] = _failure("model", error)
            continue
        for index, row in zip(batch, rows, strict=True):
            outputs[index] = row if np.isfinite(row).all() else _not_finite(row)
    return [outputs[index] for index in range(len(encodings))]


def _works(compute: ComputeBatch) -> bool:
    try:
        compute([PROBE])
    except Exception:  # noqa: BLE001  # the caller raises the error of the text
        return False
    return True


def _failure(part: str, error: BaseException) -> InputError:
    described = f"{type(error).__name__}: {error}".splitlines()[0][:200].removesuffix(": ")
    failed = InputError(f"the {part} failed on it: {described}")
    failed.__cause__ = error
    return failed


def _not_finite(row: Output) -> InputError:
    return InputError(
        f"the model's logits are not finite ({', '.join(map(str, row.ravel()[:5]))}). Check the "
        "checkpoint's weights"
    )

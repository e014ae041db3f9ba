"""Windows: a text that is longer than the model, cut into overlapping parts that fit it.

Each repeats the tokens around the part that is cut: special tokens, and the other text of a pair.
For the outputs of a whole text windows are cut as `transformers` does it with
`return_overflowing_tokens`: the last of them may be short. For the outputs of single tokens all
have one length: the last ends where the text ends, so that no token is read with less context than
another text would give it. Invariant: the windows of a text, and which of them gives the output of
a token, are functions of its ids, `max_tokens`, `stride` and the side of truncation alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tokenizers
from numpy.typing import NDArray

from isobatch.checkpoint.checkpoint_tokenizer import TokenizerSide
from isobatch.errors import InputError
from isobatch.types import Encoding, WindowPooling

TokenOutputs = NDArray[np.float32]
Places = NDArray[np.int64]

LEAST_ROOM = 4
"""The other text of a pair must leave one part in four of the model's length for the windows."""

MAX_WINDOWS = 10_000
"""Of one text: some 20 MB of English without a stride. One with a stride of a token less than a
window has as many windows as tokens, which would take all memory."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text that fits the model, with the special tokens of a text.

    tokens: for each token of `encoding`, its place among the tokens of the whole text.
    """

    encoding: Encoding
    tokens: tuple[int, ...]


def cut_windows(
    whole: Encoding, part: range, max_tokens: int, stride: int | None = None
) -> tuple[Window, ...]:
    """Cut `part` of the tokens of `whole` into windows of `max_tokens`, which keep all others.

    part: see `text_part`. stride: how many tokens of it two neighbouring windows share, at least;
    None for a quarter of those that a window has room for. A text that fits is one window. Raises
    InputError, without an index, if a window has no room for more tokens than it shares.
    """
    if len(whole) <= max_tokens:
        return (Window(whole, (*range(len(whole)),)),)
    room, shared = _room(len(whole), part, max_tokens, stride)
    last = part.stop - room
    starts = [*range(part.start, last, room - shared), last]
    _check_number(len(starts))
    return tuple(_window(whole, part, range(start, start + room)) for start in starts)


def window_spans(
    num_tokens: int, part: range, max_tokens: int, stride: int | None, *, side: TokenizerSide
) -> list[range]:
    """Return which tokens of `part` each window has, in the order of the text.

    num_tokens: of the whole text, more than `max_tokens`. Windows are counted from the end that is
    kept in a text that is cut, until one reaches the other end. Raises InputError, without an
    index, as `cut_windows` does.
    """
    room, shared = _room(num_tokens, part, max_tokens, stride)
    step = room - shared
    _check_number(-(-(len(part) - room) // step) + 1)
    if side == "left":
        stops = range(part.stop, part.start + shared, -step)
        return [range(max(stop - room, part.start), stop) for stop in stops][::-1]
    starts = range(part.start, part.stop - shared, step)
    return [range(start, min(start + room, part.stop)) for start in starts]


def join_windows(
    whole: Encoding,
    part: range,
    spans: Sequence[range],
    pooling: WindowPooling,
    *,
    side: TokenizerSide,
) -> Encoding:
    """Return one encoding with the ids of all windows, or of the first that `side` counts."""
    if pooling == "first":
        first = spans[0 if side == "right" else -1]
        ids, types = (_kept(each, part, first) for each in (whole.input_ids, whole.token_type_ids))
        return Encoding(ids, types, truncated=True, num_windows=len(spans))
    ids, types = [], []
    for span in spans:
        ids += _kept(whole.input_ids, part, span)
        types += _kept(whole.token_type_ids, part, span)
    around = len(whole) - len(part)
    return Encoding(
        ids,
        types,
        num_windows=len(spans),
        window_lengths=tuple(around + len(span) for span in spans),
        window_pooling=pooling,
    )


def _kept(ids: Sequence[int], part: range, span: range) -> list[int]:
    return [*ids[: part.start], *ids[span.start : span.stop], *ids[part.stop :]]


def _room(num_tokens: int, part: range, max_tokens: int, stride: int | None) -> tuple[int, int]:
    """Return how many tokens of `part` a window has, and how many of them two windows share."""
    others = num_tokens - len(part)
    room = max_tokens - others
    shared = room // 4 if stride is None else stride
    if room <= shared or room * LEAST_ROOM < max_tokens:
        raise InputError(
            f"cannot be read in windows of {max_tokens} tokens: {others} tokens are repeated in "
            f"each, {shared} are shared by neighbouring windows, and {max(room - shared, 0)} are "
            "left. Shorten the other text of the pair, or use a smaller stride"
        )
    return room, shared


def _check_number(num_windows: int) -> None:
    if num_windows > MAX_WINDOWS:
        raise InputError(
            f"would be read in {num_windows:,} windows, more than the {MAX_WINDOWS:,} that one "
            "text may have. Shorten it, or use a smaller stride"
        )


def text_part(encoded: tokenizers.Encoding, prompt: int = 0) -> range:
    """Return the tokens that windows cut: those of the text; of a pair, those of the longer one.

    Of two equally long texts it is the second. prompt: the number of characters that a prompt has
    at the beginning of the first; a token with a character after them is not the prompt's.
    """
    parts = [_part_of(encoded, number) for number in range(encoded.n_sequences)]
    if prompt and parts:
        start, offsets = parts[0].start, encoded.offsets
        while start < parts[0].stop and offsets[start][1] <= prompt:
            start += 1
        parts[0] = range(start, parts[0].stop)
    return max(reversed(parts), key=len)


def join_tokens(windows: Sequence[Window], outputs: Sequence[TokenOutputs]) -> TokenOutputs:
    """Join the outputs of all windows of a text, [tokens, outputs] each, into those of its tokens.

    A token's output is that of the window in which it is farthest from a border; of two equally
    far, that of the earlier window. The start and the end of the text do not count.
    """
    length = windows[-1].tokens[-1] + 1
    joined = np.empty((length, *outputs[0].shape[1:]), outputs[0].dtype)
    farthest = np.full(length, -1, np.int64)
    for window, output in zip(windows, outputs, strict=True):
        tokens = np.asarray(window.tokens, np.int64)
        distance = _distance_to_border(tokens, length)
        better = distance > farthest[tokens]
        joined[tokens[better]] = output[better]
        farthest[tokens[better]] = distance[better]
    return joined


def _distance_to_border(tokens: Places, length: int) -> Places:
    """Return how many tokens lie between each and the nearest place where the text was cut."""
    rows = np.arange(len(tokens))
    distance = np.full(len(tokens), length, np.int64)
    cuts = np.diff(tokens, prepend=-1, append=length) != 1
    for border in np.flatnonzero(cuts):
        distance = np.minimum(distance, np.where(rows < border, border - 1 - rows, rows - border))
    return distance


def _window(whole: Encoding, part: range, kept: range) -> Window:
    tokens = (*range(part.start), *kept, *range(part.stop, len(whole)))
    ids, types = whole.input_ids, whole.token_type_ids
    encoding = Encoding([ids[each] for each in tokens], [types[each] for each in tokens])
    return Window(encoding, tokens)


def _part_of(encoded: tokenizers.Encoding, number: int) -> range:
    """Return the tokens of the first text (0) or of the second (1)."""
    places = [place for place, each in enumerate(encoded.sequence_ids) if each == number]
    return range(places[0], places[-1] + 1) if places else range(0)

"""The invariance checks at load: a kernel must give each row, or sequence, the same bits always.

A check computes the same random rows in batches of several sizes, at several positions, with one
thread, two and all, and compares bits. It returns None, or what differed. torch's global random
generator and its number of threads are as before afterwards.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch, pack
from isobatch.kernels.activations import IDENTITY
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import BlockKernel, LinearWeights, NormWeights
from isobatch.kernels.linear_kernels import LinearKernel
from isobatch.kernels.pooling import pool_rows
from isobatch.specification import AttentionSpec, BlockSpec, Pool, PositionRule
from isobatch.types import Encoding, Rows

_SEED = 20260101
_NUM_ROWS = (1, 2, 5, 17, 40, 257)
_NUM_ROWS_ON_GPU = (*_NUM_ROWS, 600, 1281)
"""Several tiles, whose rows lie at other places in them."""
_ATTENTION_LENGTHS = (1, 2, 5, 8, 15, 16, 17, 33, 64, 130)
"""8: with heads of 7, which are not aligned, several sequences of it had other bits (AVX2)."""
_NUM_SEQUENCES = 3
BLOCK_LENGTHS = (130, 40, 17, 5, 5, 5, 2, 1)
"""More rows than the compiled kernels take at a time, and equal lengths."""
FEW_BLOCK_LENGTHS = (40, 17, 5, 5, 1)
"""For plain C++, in which 3,000 rows of a layer of 384 take 15 s."""


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Run with `num_threads` torch threads."""
    before = torch.get_num_threads()
    if num_threads == before:
        yield
        return
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def thread_counts(device: torch.device) -> tuple[int, ...]:
    """Return one, two and all, so that the choice does not depend on the number of threads."""
    if device.type != "cpu":
        return (torch.get_num_threads(),)
    return tuple(sorted({1, 2, torch.get_num_threads()}))


def row_counts(device: torch.device) -> tuple[int, ...]:
    """Return the numbers of rows that are compared, the last one all of them."""
    return _NUM_ROWS if device.type == "cpu" else _NUM_ROWS_ON_GPU


def random_rows(num_rows: int, num_columns: int, device: torch.device, part: int = 0) -> Tensor:
    """Draw rows of a seeded normal distribution, without torch's global generator."""
    generator = torch.Generator().manual_seed(_SEED + part)
    rows = torch.randn(num_rows, num_columns, generator=generator, dtype=torch.float32)
    return rows.to(device)


def batch_of(lengths: Sequence[int]) -> PackedBatch:
    """Pack sequences of these lengths whose ids are all zero."""
    return pack([Encoding([0] * length, [0] * length) for length in lengths], PositionRule())


def linear_difference(layer: LinearWeights, kernel: LinearKernel) -> str | None:
    """Check one linear layer with its own weight, packed and plain."""
    all_counts = row_counts(layer.device)
    x = random_rows(all_counts[-1], layer.in_features, layer.device)
    residual = random_rows(all_counts[-1], layer.out_features, layer.device)
    plain = layer.float_weight().detach()
    weights = {"packed": kernel.prepack(plain), "plain": plain}
    for added in (None, residual) if layer.activation is IDENTITY else (None,):

        def compute(rows: slice, weight: Tensor, added: Tensor | None = added) -> Tensor:
            part = None if added is None else added[rows]
            return kernel.linear(x[rows], weight, layer.bias, layer.activation, part)

        expected = compute(slice(None), weights["packed"])
        for num_threads, (kind, weight) in product(thread_counts(x.device), weights.items()):
            counts = all_counts if kind == "packed" else (2, all_counts[-1])
            with threads(num_threads):
                found = _row_difference(lambda rows, w=weight: compute(rows, w), expected, counts)  # type: ignore[misc]
            if found:
                return f"{found}, {kind} weight, threads: {num_threads}"
    return None


def norm_difference(norm: NormWeights) -> str | None:
    """Check torch's layer norm with these weights."""
    counts = row_counts(norm.weight.device)
    x = random_rows(counts[-1], norm.weight.shape[0], norm.weight.device)
    expected = norm(x)
    for num_threads in thread_counts(x.device):
        with threads(num_threads):
            if found := _row_difference(lambda rows: norm(x[rows]), expected, counts):
                return found
    return None


def _row_difference(
    compute: Callable[[slice], Tensor], expected: Tensor, counts: Sequence[int]
) -> str | None:
    """Compute some rows of `expected` again, fewer at a time."""
    for position, count in enumerate(counts):
        first = min(7 * position, len(expected) - count)
        rows = slice(first, first + count)
        if not torch.equal(compute(rows), expected[rows]):
            return f"the bits of a row differ between {count} and {len(expected)} rows"
    return None


def attention_difference(attention: PackedAttention, device: torch.device) -> str | None:
    """Check sequences of equal length, together and alone."""
    spec = attention.spec
    sizes = spec.query_size, spec.key_size, spec.key_size
    positions = _random_positions(spec, device)
    beyond_window = () if spec.window is None else (spec.window + 2,)
    for length, rows in product((*_ATTENTION_LENGTHS, *beyond_window), Rows):
        together = batch_of([length] * _NUM_SEQUENCES)
        alone = {count: batch_of([length] * count) for count in (1, _NUM_SEQUENCES)}
        query, key, value = (
            random_rows(_NUM_SEQUENCES * length, size, device, part)
            for part, size in enumerate(sizes)
        )
        query = together.select(query, rows)
        expected = attention(query, key, value, together, rows, positions)
        (whole,) = together.segments
        for num_threads, segment in product(thread_counts(device), (whole, *whole.split())):
            queries = segment.tokens if rows is Rows.ALL else segment.sequences
            parts = query[queries], key[segment.tokens], value[segment.tokens]
            with threads(num_threads):
                found = attention(*parts, alone[segment.num_sequences], rows, positions)
            if not torch.equal(found, expected[queries]):
                return (
                    f"bits differ at length {length}, {segment.num_sequences} of {_NUM_SEQUENCES} "
                    f"sequences, threads: {num_threads}"
                )
    return None


def pool_difference(pool: Pool, hidden_size: int, device: torch.device) -> str | None:
    """Check the pooling of sequences of several lengths, together and alone."""
    hidden = random_rows(sum(BLOCK_LENGTHS), hidden_size, device)
    together = pool_rows(hidden, batch_of(BLOCK_LENGTHS), pool)
    parts = torch.split(hidden, list(BLOCK_LENGTHS))
    for num_threads in thread_counts(device):
        with threads(num_threads):
            alone = [pool_rows(part, batch_of([len(part)]), pool) for part in parts]
            if not torch.equal(torch.cat(alone), together):
                return f"the bits of a sequence differ alone, threads: {num_threads}"
    return None


def _random_positions(spec: AttentionSpec, device: torch.device) -> Tensor | None:
    """Draw what attention itself reads of positions."""
    if spec.distances is None:
        longest = max(_ATTENTION_LENGTHS) + (spec.window or 0)
        return random_context(spec, spec.query_size, longest, device)
    shape = len(spec.distances.products), spec.num_heads, 2 * spec.distances.span, spec.head_dim
    return random_rows(math.prod(shape[:3]), spec.head_dim, device, part=3).view(shape)


def random_context(
    spec: AttentionSpec, hidden_size: int, longest: int, device: torch.device
) -> Tensor | None:
    """Draw the positions that a layer with this attention reads."""
    if spec.positions is None:
        return None
    if spec.distances is None:
        return random_rows(spec.num_heads, 2 * longest - 1, device, part=3)
    return random_rows(2 * spec.distances.span, hidden_size, device, part=3)


def block_difference(
    kernel: BlockKernel, spec: BlockSpec, lengths: Sequence[int] = BLOCK_LENGTHS
) -> str | None:
    """Check a whole layer: sequences of several lengths, together and alone, for all `rows`."""
    device = torch.device("cpu")
    hidden = random_rows(sum(lengths), spec.hidden_size, device)
    batch, parts = batch_of(lengths), torch.split(hidden, list(lengths))
    batches = [batch_of([length]) for length in lengths]
    if spec.cross is None:
        context = random_context(spec.attention, spec.hidden_size, max(lengths), device)
        contexts = [context] * len(parts)
    else:
        context = random_rows(sum(lengths), spec.hidden_size, device, part=1)
        contexts = [*torch.split(context, list(lengths))]
    for rows in Rows:
        together = kernel(hidden, batch, rows, context)
        for num_threads in thread_counts(hidden.device):
            with threads(num_threads):
                if not torch.equal(kernel(hidden, batch, rows, context), together):
                    return f"bits differ with {num_threads} threads"
                alone = [
                    kernel(part, each, rows, own)
                    for part, each, own in zip(parts, batches, contexts, strict=True)
                ]
                if not torch.equal(torch.cat(alone), together):
                    return f"the bits of a sequence differ alone, threads: {num_threads}"
    return None

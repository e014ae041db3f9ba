"""Precisions: distance from fp32, concurrent callers, and planted faults.

That each precision is batch-invariant is tested in the other files here. A planted fault must be
rejected at load, and must break the claim where the check is skipped: otherwise neither the check
nor the claim says anything.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import numpy as np
import pytest
import torch
from claims.promise import (
    alone,
    changed_by_threads,
    changed_in_random_batches,
    random_texts,
    same_bits,
)
from torch import Tensor

from isobatch import Classifier
from isobatch.batching.packed import PackedBatch
from isobatch.errors import NotInvariantError
from isobatch.kernels import (
    BlockKernel,
    BlockWeights,
    KernelSelector,
    compiled,
    int8,
    selection,
    supported_precisions,
)
from isobatch.kernels.activations import Activation
from isobatch.kernels.compiled import PackedBlock
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.kernels.int8 import StoredRows
from isobatch.kernels.linear_kernels import Bf16Kernel
from isobatch.kernels.selection import BlockCandidate
from isobatch.types import Precision, Rows

pytestmark = pytest.mark.usefixtures("checks_at_load")

CPU = torch.device("cpu")
SUPPORTED = supported_precisions(CPU)
WORDS = ("good", "bad", "a", "the", "film", "plot", "of", "and", "dull", "bright", "never", "very")
TEXTS = random_texts(WORDS, 40, 3)

ERRORS = {"bf16": 0.02, "int8": 0.15}
"""How far a precision may be from fp32 in the mean, of logits of size 3."""


@pytest.mark.parametrize("precision", SUPPORTED[1:])
def test_a_precision_is_near_fp32_and_is_not_fp32(
    precision: Precision, bundled_classifier: Callable[[str], Classifier]
) -> None:
    fast, exact = bundled_classifier(precision), bundled_classifier("fp32")
    moved = abs(fast.logits(TEXTS) - exact.logits(TEXTS)).mean()
    assert 1e-4 < moved < ERRORS[precision]
    words = [" ".join(each) for each in ("good bright film", "bad dull plot", "very good")]
    assert [p.label for p in fast(words)] == [p.label for p in exact(words)]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("precision", SUPPORTED)
def test_concurrent_callers_get_the_bits_of_a_single_one(
    precision: Precision, bundled_classifier: Callable[[str], Classifier]
) -> None:
    classifier = bundled_classifier(precision)
    texts = TEXTS[:12]
    expected = alone(classifier.logits, texts)
    same: dict[int, list[object]] = {}

    def call(number: int) -> None:
        order = np.random.default_rng(number).permutation(len(texts))
        for _ in range(3):
            found = classifier.logits([texts[index] for index in order])
            same.setdefault(number, []).append(same_bits(found, expected[order]))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert same == {number: [True] * 3 for number in range(4)}


# ------------------------------------------------------------------------------- planted faults


def trust(weights: BlockWeights, candidate: BlockCandidate) -> tuple[None, BlockKernel]:
    """A check that lets everything pass."""
    return None, candidate.make(weights)


def one_scale_for_all(x: Tensor) -> StoredRows:
    """One scale for the whole batch, as in most libraries."""
    amax = x.abs().amax().clamp_min(1e-30)
    return StoredRows(torch.round(x * (127 / amax)), (amax / 127).expand(len(x), 1))


@pytest.fixture
def one_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    monkeypatch.setattr(int8, "quantize_rows", one_scale_for_all)


@pytest.mark.usefixtures("one_scale")
def test_one_scale_for_a_whole_batch_is_rejected_at_load() -> None:
    with pytest.raises(
        NotInvariantError, match=r"torch int8 rejected \(the bits of a sequence differ"
    ):
        Classifier.from_pretrained(precision="int8")


@pytest.mark.usefixtures("one_scale")
def test_one_scale_for_a_whole_batch_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_check_block", trust)
    trusting = Classifier.from_pretrained(precision="int8")
    assert changed_in_random_batches(trusting.logits, TEXTS, 3, rounds=1) != []


class ShapeDependent(Bf16Kernel):
    """Few rows come out one ulp of bfloat16 higher."""

    name = "planted"

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        product = super().linear(x, weight, bias, activation, residual)
        return product if len(x) > 9 else product * (1 + 2**-8)


@pytest.fixture
def few_rows_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    planted = with_planted(selection.candidate_kernels)
    monkeypatch.setattr(selection, "candidate_kernels", planted)


def with_planted(candidates: Callable[..., Sequence[object]]) -> Callable[..., Sequence[object]]:
    return lambda device, precision: (
        (ShapeDependent(),) if precision == "bf16" else candidates(device, precision)
    )


with_bf16 = pytest.mark.skipif(not Bf16Kernel.is_available(CPU), reason="oneDNN has no bf16 here")


@with_bf16
@pytest.mark.usefixtures("few_rows_differ")
def test_a_bf16_kernel_that_looks_at_the_shape_is_rejected_at_load() -> None:
    with pytest.raises(NotInvariantError, match=r"384→384 linear bf16: .*planted rejected"):
        Classifier.from_pretrained(precision="bf16")


@with_bf16
@pytest.mark.usefixtures("few_rows_differ")
def test_a_shape_dependent_bf16_kernel_breaks_batch_invariance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selection, "linear_difference", lambda _layer, _kernel: None)
    trusting = Classifier.from_pretrained(precision="bf16")
    assert changed_in_random_batches(trusting.logits, TEXTS, 3, rounds=1) != []


class BatchDependent(PackedBlock):
    """Several sequences come out a little higher than each alone."""

    def __call__(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, context: Tensor | None = None
    ) -> Tensor:
        y = super().__call__(hidden, batch, rows)
        return y if len(batch.cu_seqlens) == 2 else y * (1 + 2**-20)


@pytest.fixture
def planted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = KernelSelector.packed_candidates

    def candidates(selector: KernelSelector, weights: BlockWeights) -> Iterator[BlockCandidate]:
        first, *others = honest(selector, weights)
        precision = cast("Precision", first.name.removeprefix("compiled "))
        yield first._replace(name="planted", make=partial(BatchDependent, precision=precision))
        yield from others

    monkeypatch.setattr(KernelSelector, "packed_candidates", candidates)


each_compiled = pytest.mark.parametrize(
    "precision", [name for name in SUPPORTED if compiled.unavailable(name) is None]
)


@each_compiled
@pytest.mark.usefixtures("planted_first")
def test_a_compiled_block_with_a_fault_is_rejected_and_the_next_way_keeps_the_promise(
    precision: Precision,
) -> None:
    slow = Classifier.from_pretrained(precision=precision)
    assert slow.choices[0].reason.startswith(
        "planted rejected (the bits of a sequence differ alone"
    )
    assert slow.choices[0].kernel != "planted"
    assert changed_in_random_batches(slow.logits, TEXTS, 3, rounds=1) == []
    assert changed_by_threads(slow.logits, TEXTS[:10]) == []


@each_compiled
@pytest.mark.usefixtures("planted_first")
def test_a_faulty_compiled_block_breaks_batch_invariance(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_check_block", trust)
    trusting = Classifier.from_pretrained(precision=precision)
    assert trusting.choices[0].kernel == "planted"
    assert changed_in_random_batches(trusting.logits, TEXTS, 3, rounds=1) != []

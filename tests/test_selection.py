"""Kernel selection for whole blocks, and which precisions a machine supports.

The planted blocks and products are wrong on purpose: a check that lets one of them pass is
worthless. A block here only doubles its rows, so that these tests need no particular CPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from random_blocks import (
    alone,
    block_spec,
    compute,
    formula,
    normal,
    random_block,
    random_context,
    random_weights,
    same_bits,
    threads,
)
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.errors import NotInvariantError, PrecisionError
from isobatch.kernels import (
    ARITHMETIC,
    BlockKernel,
    BlockWeights,
    EmbeddingWeights,
    KernelChoice,
    KernelSelector,
    NormWeights,
    PackedAttention,
    arithmetic_name,
    check_precision,
    supported_precisions,
)
from isobatch.kernels.compiled import ACTIVATIONS, unavailable
from isobatch.kernels.compiled import unsupported as compiled_unsupported
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.kernels.int8 import Int8Block
from isobatch.kernels.layers import LayerwiseBlock
from isobatch.kernels.linear_kernels import Bf16Kernel
from isobatch.kernels.selection import BlockCandidate
from isobatch.specification import (
    POST_NORM,
    PRE_NORM,
    AttentionSpec,
    BlockSpec,
    Disentangled,
    NormSpec,
    Rotary,
)
from isobatch.types import PRECISIONS, Precision, Rows

CPU = torch.device("cpu")
LENGTHS = (40, 17, 5, 5, 1)
SUPPORTED = supported_precisions(CPU)
each_supported = pytest.mark.parametrize("precision", SUPPORTED)
needs_compiled = pytest.mark.skipif(
    unavailable("fp32") is not None, reason="nothing is compiled here"
)


@pytest.fixture(params=["here", "torch"])
def with_and_without_compiled_kernels(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.param == "torch":
        monkeypatch.setenv(VARIABLE, "torch")


@pytest.fixture(autouse=True)
def no_gradients_and_two_threads() -> Iterator[None]:
    with torch.no_grad(), threads(2):
        yield


def one_ulp_up(tensor: Tensor) -> Tensor:
    return torch.nextafter(tensor, torch.full_like(tensor, torch.inf))


@dataclass
class Call:
    """The properties of a call that a correct block does not depend on."""

    batch: PackedBatch
    rows: Rows

    @property
    def lengths(self) -> list[int]:
        return self.batch.cu_seqlens.diff().tolist()

    @property
    def is_batch(self) -> bool:
        return len(self.lengths) > 1


Spoil = Callable[[Tensor, Call], Tensor]


@dataclass
class PlantedBlock:
    """Twice each row, but for `spoil`."""

    spoil: Spoil

    def __call__(
        self, hidden: Tensor, batch: PackedBatch, rows: Rows, context: Tensor | None = None
    ) -> Tensor:
        return self.spoil(2 * batch.select(hidden, rows), Call(batch, rows))


def _last_row_moves(y: Tensor) -> Tensor:
    return torch.cat([y[:-1], one_ulp_up(y[-1:])])


def _one_number_moves(y: Tensor) -> Tensor:
    moved = y.clone()
    moved[len(y) // 2, 3] = one_ulp_up(moved[len(y) // 2, 3])
    return moved


FAULTS: dict[str, Spoil] = {
    "batch neighbours count": lambda y, call: one_ulp_up(y) if call.is_batch else y,
    "only first rows, in a batch": lambda y, call: (
        one_ulp_up(y) if call.is_batch and call.rows is Rows.FIRST else y
    ),
    "only last rows, in a batch": lambda y, call: (
        one_ulp_up(y) if call.is_batch and call.rows is Rows.LAST else y
    ),
    "only full rows, in a batch": lambda y, call: (
        one_ulp_up(y) if call.is_batch and call.rows is Rows.ALL else y
    ),
    "equal lengths in one segment": lambda y, call: (
        one_ulp_up(y) if any(each.num_sequences > 1 for each in call.batch.segments) else y
    ),
    "the thread count counts": lambda y, _: y if torch.get_num_threads() > 1 else one_ulp_up(y),
    "many tokens take another path": lambda y, call: (
        one_ulp_up(y) if sum(call.lengths) > 130 else y
    ),
    "one token takes another path": lambda y, call: one_ulp_up(y) if sum(call.lengths) == 1 else y,
    "the last row of a batch": lambda y, call: _last_row_moves(y) if call.is_batch else y,
    "one number of a batch": lambda y, call: _one_number_moves(y) if call.is_batch else y,
    "one scale for a whole batch": lambda y, _: torch.round(y / y.abs().max() * 127),
}


def planted(name: str, spoil: Spoil) -> BlockCandidate:
    return BlockCandidate(name, None, lambda _weights: PlantedBlock(spoil))


def plant(monkeypatch: pytest.MonkeyPatch, *candidates: BlockCandidate) -> None:
    def only_these(_selector: KernelSelector, _weights: BlockWeights) -> Iterator[BlockCandidate]:
        yield from candidates

    monkeypatch.setattr(KernelSelector, "packed_candidates", only_these)


def select(
    weights: BlockWeights, precision: Precision = "fp32"
) -> tuple[BlockKernel, KernelChoice]:
    selector = KernelSelector(CPU, precision)
    return selector.select_packed_block(weights), selector.choices[0]


def sound(y: Tensor, _call: Call) -> Tensor:
    return y


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_block_is_rejected_and_the_next_one_selected(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = BlockCandidate("never", "no such CPU", lambda _weights: PlantedBlock(sound))
    plant(monkeypatch, never, planted("planted", FAULTS[fault]), planted("sound", sound))
    _, choice = select(random_block(64, 64, 4))
    assert choice.operation == "block 64→64 gelu, 4×16"
    assert choice.kernel == "sound"
    assert choice.reason.startswith("never rejected (no such CPU); planted rejected (")
    assert "bits" in choice.reason
    assert choice.reason.endswith("same bits alone and in a batch, 1, 2 threads")


def test_a_block_without_a_fault_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: it is the faults that are rejected above, not the planting."""
    plant(monkeypatch, planted("planted", sound), planted("sound", sound))
    _, choice = select(random_block(64, 64, 4))
    assert choice.kernel == "planted"
    assert "rejected" not in choice.reason


def test_without_an_invariant_block_each_layer_has_a_kernel_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch, planted("planted", FAULTS["batch neighbours count"]))
    selector = KernelSelector(CPU)
    assert isinstance(selector.select_packed_block(random_block(64, 64, 4)), LayerwiseBlock)
    block, *others = selector.choices
    assert block.kernel == "layer by layer"
    assert block.reason.startswith("planted rejected (")
    assert {choice.operation.split()[0] for choice in others} == {"linear", "attention", "layer"}


def test_without_an_invariant_block_int8_is_rejected_and_every_reason_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = FAULTS["batch neighbours count"], FAULTS["the thread count counts"]
    plant(monkeypatch, planted("first", first), planted("second", second))
    with pytest.raises(NotInvariantError, match=r"4×16: .*first rejected.*second rejected"):
        select(random_block(64, 64, 4), "int8")
    assert torch.get_num_threads() == 2


def test_a_block_is_checked_once_a_shape_and_made_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[BlockWeights] = []

    def make(weights: BlockWeights) -> PlantedBlock:
        made.append(weights)
        return PlantedBlock(sound)

    plant(monkeypatch, BlockCandidate("counted", None, make))
    selector, blocks = KernelSelector(CPU), [random_block(64, 64, 4) for _ in range(3)]
    kernels = [selector.select_packed_block(weights) for weights in blocks]
    assert len({id(kernel) for kernel in kernels}) == 3
    assert [one is other for one, other in zip(made, blocks, strict=True)] == [True] * 3
    assert [choice.operation for choice in selector.choices] == ["block 64→64 gelu, 4×16"]


def test_selection_leaves_threads_and_random_numbers_as_they_were() -> None:
    before = torch.get_rng_state()
    KernelSelector(CPU).select_trainable_block(random_block(64, 64, 4))
    select(random_block(64, 64, 4))
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


class BatchDependent(PackedAttention):
    """Several sequences come out one ulp higher than each alone."""

    def _attend(self, query: Tensor, *others: object) -> Tensor:
        mixed, segment = super()._attend(query, *others), others[2]  # type: ignore[arg-type]
        return one_ulp_up(mixed) if segment.num_sequences > 1 else mixed  # type: ignore[attr-defined]


def test_int8_in_torch_computes_batch_dependent_attention_by_sequence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    monkeypatch.setattr("isobatch.kernels.selection.PackedAttention", BatchDependent)
    x, selector = normal(sum(LENGTHS), 40), KernelSelector(CPU, "int8")
    kernel = selector.select_packed_block(random_block(40, 33, 5))
    assert isinstance(kernel, Int8Block)
    assert kernel.attention.by_sequence
    operations = {choice.operation: choice.kernel for choice in selector.choices}
    assert operations["attention 5×8"] == "sequence by sequence"
    assert same_bits(alone(kernel, x, LENGTHS), compute(kernel, x, LENGTHS))


# ------------------------------------------------------------------ every kind of specification

SPECS = [
    block_spec(32, 4, 48, norms=PRE_NORM),
    block_spec(32, 4, 48, norms=(*PRE_NORM, *POST_NORM)),
    block_spec(32, 4, 48, norms=PRE_NORM[1:]),
    block_spec(32, 4, 48, norm=NormSpec(1e-6, "rms")),
    block_spec(32, 4, 48, norm=NormSpec(1e-5, bias=False)),
    block_spec(32, 4, 48, "silu", 1e-6, gated=True),
    block_spec(32, 4, 48, biases=()),
    block_spec(32, 4, 48, biases=("query", "key", "value", "output", "down")),
    block_spec(32, 4, 48, window=3),
    block_spec(32, 4, 48, causal=True),
    block_spec(32, 4, 48, scale=0.3),
    block_spec(32, 4, 48, num_key_heads=2, head_dim=16),
    block_spec(32, 4, 48, head_norm=True),
    block_spec(32, 4, 48, rotary=Rotary(100.0, 8)),
    block_spec(32, 4, 48, rotary=Rotary(100.0, 4)),
    block_spec(32, 4, 48, positions="toeplitz"),
    block_spec(32, 4, 48, positions="disentangled", scale=24**-0.5, distances=Disentangled(9)),
    block_spec(
        *(28, 4, 48),
        positions="disentangled",
        distances=Disentangled(8, 30, ("p2c",), shared=False),
    ),
    block_spec(32, 1, 48, positions="disentangled", distances=Disentangled(70, None, ("c2p",))),
    block_spec(
        32, 4, 48, cross=AttentionSpec(4, 8), norms=("attention_norm", "cross_norm", "norm")
    ),
    block_spec(64, 4, 64, "relu", norms=PRE_NORM, gated=True, biases=(), window=20),
    block_spec(
        *(48, 6, 100, "silu"),
        norm=NormSpec(1e-6, "rms"),
        norms=PRE_NORM,
        gated=True,
        biases=("query", "key", "value"),
        num_key_heads=2,
        head_dim=20,
        head_norm=True,
        causal=True,
        rotary=Rotary(10000.0, 20),
    ),
]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


@pytest.mark.parametrize("rows", Rows, ids=lambda rows: rows.name)
@each_spec
@pytest.mark.usefixtures("with_and_without_compiled_kernels")
def test_a_specification_is_computed_as_the_formula_says(spec: BlockSpec, rows: Rows) -> None:
    weights, x = random_weights(spec), normal(sum(LENGTHS), spec.hidden_size)
    kernel, _ = select(weights)
    context = random_context(spec, LENGTHS)
    expected = formula(weights, x, LENGTHS, rows, context)
    found = compute(kernel, x, LENGTHS, rows, context)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=2e-5)
    assert same_bits(alone(kernel, x, LENGTHS, rows, context), found)


@each_spec
def test_a_layer_is_compiled_unless_it_crosses(spec: BlockSpec) -> None:
    reason = compiled_unsupported(random_weights(spec))
    assert reason == ("cross-attention is not compiled" if spec.cross else None)


@pytest.mark.parametrize(
    "reach", [{"window": 64}, {"window": 64, "causal": True}, {"causal": True}], ids=str
)
@pytest.mark.usefixtures("with_and_without_compiled_kernels")
def test_keys_that_are_not_read_change_nothing(reach: dict[str, Any]) -> None:
    spec, lengths = block_spec(32, 2, 48, **reach), (200, 64, 65, 66, 129)
    weights, x = random_weights(spec), normal(sum(lengths), 32)
    kernel, _ = select(weights)
    for rows in Rows:
        expected = formula(weights, x, lengths, rows)
        found = compute(kernel, x, lengths, rows)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=2e-5)


@each_spec
def test_each_part_of_a_specification_changes_the_result(spec: BlockSpec) -> None:
    """The inverse: a field that was ignored would go unnoticed above only if it did nothing."""
    heads = spec.attention.num_heads
    plain = block_spec(spec.hidden_size, heads, spec.intermediate_size)
    x = normal(sum(LENGTHS), spec.hidden_size)
    outputs = [
        compute(select(random_weights(each))[0], x, LENGTHS, context=random_context(each, LENGTHS))
        for each in (spec, plain)
    ]
    assert not torch.allclose(*outputs, atol=1e-3)


@each_spec
@pytest.mark.usefixtures("with_and_without_compiled_kernels")
def test_int8_computes_every_specification_it_is_selected_for(spec: BlockSpec) -> None:
    weights, x = random_weights(spec), normal(sum(LENGTHS), spec.hidden_size)
    kernel, _ = select(weights, "int8")
    context = random_context(spec, LENGTHS)
    found = compute(kernel, x, LENGTHS, context=context)
    error = found - formula(weights, x, LENGTHS, context=context)
    assert error.square().mean().sqrt() < 0.1
    assert same_bits(alone(kernel, x, LENGTHS, context=context), found)


# ----------------------------------------------------------------- selection on this machine


@each_supported
@pytest.mark.usefixtures("with_and_without_compiled_kernels")
@pytest.mark.parametrize("shape", [(64, 128, 4), (72, 40, 3), (21, 33, 3)])
def test_the_selected_kernel_keeps_the_bits_of_every_sequence(
    shape: tuple[int, int, int], precision: Precision
) -> None:
    x = normal(sum(LENGTHS), shape[0])
    kernel, _ = select(random_block(*shape), precision)
    for rows in Rows:
        together = compute(kernel, x, LENGTHS, rows)
        for count in (1, 2):
            with threads(count):
                assert same_bits(alone(kernel, x, LENGTHS, rows), together)


@needs_compiled
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(64, 128, 4), (5, 7, 1), (312, 600, 12)])
def test_the_compiled_block_is_chosen_for_every_size_and_activation(
    shape: tuple[int, int, int], activation: str
) -> None:
    weights = random_block(*shape, activation)
    for precision in SUPPORTED:
        if unavailable(precision) is None:
            first, *_ = KernelSelector(CPU, precision).packed_candidates(weights)
            assert (first.name, first.unavailable) == (f"compiled {precision}", None)


@needs_compiled
def test_the_compiled_kernels_are_chosen_for_everything() -> None:
    weights = random_block(21, 33, 3)
    for precision in SUPPORTED:
        if unavailable(precision) is None:
            _, choice = select(weights, precision)
            assert choice.kernel == f"compiled {precision}"
    selector = KernelSelector(CPU)
    assert selector.select_trainable_block(weights)
    selector.select_linear(weights.linears["up"])
    norm = NormWeights(torch.ones(9), torch.zeros(9), 1e-5)
    selector.select_embeddings(EmbeddingWeights(normal(3, 9), normal(3, 9), None, norm))
    assert [choice.kernel for choice in selector.choices] == ["compiled"] * 3
    assert arithmetic_name((choice.kernel for choice in selector.choices), "fp32") == ARITHMETIC


@each_supported
def test_without_compiled_kernels_the_reason_says_so(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    _, choice = select(random_block(64, 128, 4), precision)
    assert f"compiled {precision} rejected ({VARIABLE} is torch)" in choice.reason
    assert choice.kernel == ("torch int8" if precision == "int8" else "layer by layer")
    assert arithmetic_name([choice.kernel], precision).startswith("torch ")


def test_without_compiled_kernels_everything_else_is_torch_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    selector, weights = KernelSelector(CPU), random_block(21, 33, 3)
    assert not selector.select_trainable_block(weights)
    selector.select_linear(weights.linears["up"])
    norm = NormWeights(torch.ones(9), torch.zeros(9), 1e-5)
    selector.select_embeddings(EmbeddingWeights(normal(3, 9), normal(3, 9), None, norm))
    assert not [choice for choice in selector.choices if choice.kernel.startswith("compiled")]
    operations = {choice.operation: choice.kernel for choice in selector.choices}
    assert operations["embeddings 9"] == "torch"


def test_one_operation_of_torch_s_makes_the_arithmetic_torch_s() -> None:
    assert arithmetic_name(["compiled fp32", "compiled"], "fp32") == ARITHMETIC
    for kernels in (["compiled fp32", "tiles"], ["layer by layer", "compiled"]):
        name = arithmetic_name(kernels, "fp32")
        assert name.split()[:2] == ["torch", torch.__version__]


def test_compiled_operations_between_those_of_torch_are_part_of_the_name() -> None:
    """bf16 in torch's products has other bits next to compiled norms than next to torch's own."""
    for precision, product in (("fp32", "tiles"), ("bf16", "onednn bf16")):
        alone = arithmetic_name(["layer by layer", product, "torch"], precision)
        mixed = arithmetic_name(["layer by layer", product, "compiled"], precision)
        assert mixed == f"{alone} with {ARITHMETIC}"


@each_spec
def test_candidates_say_why_they_cannot_be_used(spec: BlockSpec) -> None:
    weights = random_weights(spec)
    expected = compiled_unsupported(weights)
    for precision in PRECISIONS:
        first, *others = KernelSelector(CPU, precision).packed_candidates(weights)
        assert first.unavailable == (unavailable(precision) or expected)
        assert len(others) == (1 if precision == "int8" else 0)
    if unavailable("fp32") is None and expected is not None:
        selector = KernelSelector(CPU)
        assert not selector.select_trainable_block(weights)
        assert f"compiled rejected ({expected})" in selector.choices[0].reason


# ----------------------------------------------------------------------- supported precisions


def test_float32_is_always_supported() -> None:
    assert SUPPORTED[0] == "fp32"
    assert supported_precisions(torch.device("cuda")) == ("fp32",)
    for precision in SUPPORTED:
        check_precision(precision, CPU)


def test_a_precision_that_does_not_exist_is_rejected_with_those_that_do() -> None:
    with pytest.raises(PrecisionError, match=r"'fp8' .*unknown name. Use fp32"):
        check_precision("fp8", CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_precision_for_processors_is_rejected_on_a_gpu(precision: Precision) -> None:
    with pytest.raises(PrecisionError, match=rf"'{precision}' .* cuda: .*CPUs only. Use fp32$"):
        check_precision(precision, torch.device("cuda"))


def test_bf16_is_rejected_where_the_processor_has_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isobatch.kernels.compiled.unavailable", lambda _precision: "old CPU")
    monkeypatch.setattr(Bf16Kernel, "is_available", staticmethod(lambda _device: False))
    with pytest.raises(PrecisionError, match=r"'bf16' .*AVX512_BF16 or AMX. Use fp32"):
        check_precision("bf16", CPU)
    assert "bf16" not in supported_precisions(CPU)


def test_int8_is_supported_without_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    check_precision("int8", CPU)

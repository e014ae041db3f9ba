"""The invariance check of blocks at load, and which precisions a machine offers.

The planted blocks and products are wrong on purpose: the check must refuse each of them. A block
here only doubles its rows, so that these tests run on any processor.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from random_blocks import alone, compute, normal, random_block, same_bits, threads
from torch import Tensor

from isobatch.core import PRECISIONS, Precision, Run
from isobatch.errors import NotInvariantError, PrecisionError
from isobatch.numerics import (
    BlockLayers,
    KernelSettler,
    Linear,
    PackedAttention,
    check_precision,
    compute_by_layers,
    has_exact_int8,
    offered_precisions,
)
from isobatch.numerics.block_proof import Candidate, candidate_blocks, exact_product, settle_block
from isobatch.numerics.compiled import why_not
from isobatch.numerics.kernels import Bf16Kernel, OneDnnKernel
from isobatch.numerics.rows import quantise_weight

CPU = torch.device("cpu")
LENGTHS = (40, 17, 5, 5, 1)
OFFERED = offered_precisions(CPU)
each_offered = pytest.mark.parametrize("precision", OFFERED)


@pytest.fixture(autouse=True)
def no_gradients_and_two_threads() -> Iterator[None]:
    with torch.no_grad(), threads(2):
        yield


def one_ulp_up(tensor: Tensor) -> Tensor:
    return torch.nextafter(tensor, torch.full_like(tensor, torch.inf))


@dataclass
class BlockCall:
    """Arguments on which a planted block depends, though a correct one must not."""

    lengths: list[int]
    runs: Sequence[Run]
    first_only: bool

    @property
    def in_batch(self) -> bool:
        return len(self.lengths) > 1


Spoil = Callable[[Tensor, BlockCall], Tensor]


@dataclass
class PlantedBlock:
    """Twice each row, but for `spoil`."""

    spoil: Spoil

    def __call__(
        self, hidden: Tensor, cu_seqlens: Tensor, runs: Sequence[Run], *, first_only: bool
    ) -> Tensor:
        rows = hidden[cu_seqlens[:-1]] if first_only else hidden
        return self.spoil(2 * rows, BlockCall(cu_seqlens.diff().tolist(), runs, first_only))


def _last_row_moves(y: Tensor) -> Tensor:
    return torch.cat([y[:-1], one_ulp_up(y[-1:])])


def _one_number_moves(y: Tensor) -> Tensor:
    moved = y.clone()
    moved[len(y) // 2, 3] = one_ulp_up(moved[len(y) // 2, 3])
    return moved


FAULTS: dict[str, Spoil] = {
    "neighbours count": lambda y, call: one_ulp_up(y) if call.in_batch else y,
    "only first rows, in a batch": lambda y, call: (
        one_ulp_up(y) if call.in_batch and call.first_only else y
    ),
    "only full rows, in a batch": lambda y, call: (
        one_ulp_up(y) if call.in_batch and not call.first_only else y
    ),
    "equal lengths in one run": lambda y, call: (
        one_ulp_up(y) if any(run.num_sequences > 1 for run in call.runs) else y
    ),
    "the thread count counts": lambda y, _: y if torch.get_num_threads() > 1 else one_ulp_up(y),
    "many tokens take another path": lambda y, call: (
        one_ulp_up(y) if sum(call.lengths) > 130 else y
    ),
    "one token takes another path": lambda y, call: one_ulp_up(y) if sum(call.lengths) == 1 else y,
    "the last row of a batch": lambda y, call: _last_row_moves(y) if call.in_batch else y,
    "one number of a batch": lambda y, call: _one_number_moves(y) if call.in_batch else y,
    "one scale for a whole batch": lambda y, _: torch.round(y / y.abs().max() * 127),
}


def planted(name: str, spoil: Spoil) -> Candidate:
    return Candidate(name, None, lambda _layers: PlantedBlock(spoil))


def plant(monkeypatch: pytest.MonkeyPatch, *candidates: Candidate) -> None:
    def only_these(_layers: BlockLayers, _precision: str, *, packed: bool) -> Iterator[Candidate]:
        assert packed
        yield from candidates

    monkeypatch.setattr("isobatch.numerics.block_proof.candidate_blocks", only_these)


def sound(y: Tensor, _call: BlockCall) -> Tensor:
    return y


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_block_is_refused_and_the_next_one_chosen(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = Candidate("never", "no such processor", lambda _layers: PlantedBlock(sound))
    plant(monkeypatch, never, planted("planted", FAULTS[fault]), planted("sound", sound))
    make, choice = settle_block(random_block(64, 64, 4), "block", "fp32", packed=True)
    assert make is not None
    assert (choice.operation, choice.kernel) == ("block", "sound")
    assert choice.reason.startswith("never refused (no such processor); planted refused (")
    assert "bits" in choice.reason
    assert choice.reason.endswith("same bits alone and in company, 1, 2 threads")


def test_a_block_without_a_fault_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: it is the faults that are refused above, not the planting."""
    plant(monkeypatch, planted("planted", sound), planted("sound", sound))
    _, choice = settle_block(random_block(64, 64, 4), "block", "fp32", packed=True)
    assert choice.kernel == "planted"
    assert "refused" not in choice.reason


def test_without_a_correct_block_each_layer_has_its_own_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch, planted("planted", FAULTS["neighbours count"]))
    layers, settler = random_block(64, 64, 4), KernelSettler(CPU)
    assert settler.settle_block(layers, packed=True) is None
    block, *others = settler.choices
    assert block.kernel == "layer by layer"
    assert block.reason.startswith("planted refused (")
    assert {choice.operation.split()[0] for choice in others} == {"linear", "attention", "layer"}
    assert all(layer.kernel is not None for layer in layers.linears)


def test_without_a_correct_block_int8_is_refused_and_every_reason_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = FAULTS["neighbours count"], FAULTS["the thread count counts"]
    plant(monkeypatch, planted("first", first), planted("second", second))
    with pytest.raises(NotInvariantError, match=r"my block: .*first refused.*second refused"):
        settle_block(random_block(64, 64, 4), "my block", "int8", packed=True)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("wrong", [1, -1])
@pytest.mark.parametrize("index", range(6))
def test_a_product_that_is_off_by_one_is_refused_in_any_layer(
    index: int, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = random_block(64, 128, 4)
    bad = layers.linears[index]

    def off_by_one(layer: Linear, x: Tensor) -> Tensor:
        weight = quantise_weight(layer.weight.detach())
        product = exact_product(weight, layer.bias.detach(), x)
        if layer is bad:
            unit = x[2].abs().max() / 127 * weight.scale[9]
            product[2, 9] += wrong * unit
        return product

    off = planted("off by one", sound)._replace(multiply=off_by_one)
    plant(monkeypatch, off, planted("sound", sound))
    _, choice = settle_block(layers, "block", "int8", packed=True)
    assert choice.kernel == "sound"
    sizes = f"{bad.in_features}→{bad.out_features}"
    assert choice.reason.startswith(f"off by one refused (product {sizes} is not exact")


def test_a_block_is_checked_once_a_shape_and_made_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[BlockLayers] = []

    def make(layers: BlockLayers) -> PlantedBlock:
        made.append(layers)
        return PlantedBlock(sound)

    plant(monkeypatch, Candidate("counted", None, make))
    settler, layers = KernelSettler(CPU), [random_block(64, 64, 4) for _ in range(3)]
    kernels = [settler.settle_block(each, packed=True) for each in layers]
    assert len({id(kernel) for kernel in kernels}) == 3
    assert [each is layer for each, layer in zip(made[1:], layers, strict=True)] == [True] * 3
    assert [choice.operation for choice in settler.choices] == ["block 64→64 gelu, 4×16"]


@pytest.mark.parametrize("training", [False, True])
def test_choosing_kernels_leaves_mode_threads_and_random_numbers_unchanged(training: bool) -> None:
    layers, before = random_block(64, 64, 4), torch.get_rng_state()
    layers.attend.train(training)
    settle_block(layers, "block", "fp32", packed=False)
    assert layers.attend.training is training
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


class BatchDependentAttention(PackedAttention):
    """A sequence among others comes out one ulp higher than alone."""

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, run: Run) -> Tensor:
        mixed = super()._attend(query, key, value, run)
        return one_ulp_up(mixed) if run.num_sequences > 1 else mixed


@pytest.mark.skipif("int8" not in OFFERED, reason="no int8 on this machine")
def test_int8_in_torch_splits_batch_dependent_attention() -> None:
    attend = BatchDependentAttention(5, 8).eval()
    layers, x = random_block(40, 33, 5)._replace(attend=attend), normal(sum(LENGTHS), 40)
    settler = KernelSettler(CPU, "int8")
    kernel = settler.settle_block(layers, packed=True)
    assert kernel is not None
    assert attend.split_runs
    operations = {choice.operation: choice.kernel for choice in settler.choices}
    assert operations["attention 5×8"] == "sequence by sequence"
    assert same_bits(alone(kernel, x, LENGTHS), compute(kernel, x, LENGTHS))


# ------------------------------------------------------------------------ choice on this machine


@each_offered
@pytest.mark.parametrize("shape", [(64, 128, 4), (72, 40, 3), (21, 33, 3)])
def test_the_chosen_block_keeps_the_bits_of_every_sequence(
    shape: tuple[int, int, int], precision: Precision
) -> None:
    layers, x = random_block(*shape), normal(sum(LENGTHS), shape[0])
    whole = KernelSettler(CPU, precision).settle_block(layers, packed=True)
    kernel = whole or partial(compute_by_layers, layers)
    for first_only in (False, True):
        together = compute(kernel, x, LENGTHS, first_only=first_only)
        for count in (1, 2):
            with threads(count):
                assert same_bits(alone(kernel, x, LENGTHS, first_only=first_only), together)


@pytest.mark.skipif(why_not("fp32") is not None, reason="no compiled kernels here")
def test_the_compiled_block_is_chosen_where_it_can_be() -> None:
    layers = random_block(64, 128, 4)
    for precision in OFFERED:
        if why_not(precision) is None:
            _, choice = settle_block(layers, "block", precision, packed=True)
            assert choice.kernel == f"compiled {precision}"
    _, choice = settle_block(layers, "block", "fp32", packed=False)
    assert choice.kernel == "compiled"


@each_offered
def test_without_the_extension_the_reason_names_it(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobatch.numerics.compiled._kernels", None)
    kernel, choice = settle_block(random_block(64, 128, 4), "block", precision, packed=True)
    assert f"compiled {precision} refused (not built: " in choice.reason
    if precision == "int8":
        bits = 8 if has_exact_int8() else 7
        assert choice.kernel == f"torch int8, weights of {bits} bits"
    else:
        assert kernel is None
        assert choice.kernel == "layer by layer"


def test_unusable_candidates_have_a_reason() -> None:
    for precision in PRECISIONS:
        first, *others = candidate_blocks(random_block(72, 40, 3), precision, packed=True)
        assert first.name == f"compiled {precision}"
        assert first.why_not
        assert len(others) == (2 if precision == "int8" else 0)
    (plain,) = candidate_blocks(random_block(64, 64, 4, "gelu_new"), "fp32", packed=False)
    assert plain.why_not


# ------------------------------------------------------------------------------------ precisions


def test_float32_is_always_offered() -> None:
    assert OFFERED[0] == "fp32"
    assert offered_precisions(torch.device("cuda")) == ("fp32",)
    for precision in OFFERED:
        check_precision(precision, CPU)


def test_an_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PrecisionError, match=r"'fp8' .*none of this name; use fp32"):
        check_precision("fp8", CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_precision_for_processors_is_refused_on_a_gpu(precision: Precision) -> None:
    with pytest.raises(PrecisionError, match=rf"'{precision}' .* cuda: .*CPUs only; use fp32$"):
        check_precision(precision, torch.device("cuda"))


def test_bf16_is_refused_where_the_processor_has_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isobatch.numerics.compiled.why_not", lambda _precision: "old processor")
    monkeypatch.setattr(Bf16Kernel, "is_available", staticmethod(lambda _device: False))
    with pytest.raises(PrecisionError, match=r"'bf16' .*AVX512_BF16 or AMX; use fp32"):
        check_precision("bf16", CPU)
    assert "bf16" not in offered_precisions(CPU)


def test_int8_is_refused_where_neither_the_extension_nor_onednn_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isobatch.numerics.compiled._kernels", None)
    monkeypatch.setattr(OneDnnKernel, "is_available", staticmethod(lambda _device: False))
    with pytest.raises(PrecisionError, match=r"'int8' .*oneDNN; use fp32$"):
        check_precision("int8", CPU)
    assert not has_exact_int8()

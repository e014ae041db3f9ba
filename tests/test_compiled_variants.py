"""The compiled variants: which of them computes, and that all of them give the same bits.

Faults are planted: a module with wrong bits, a processor without the instructions, a module that
cannot be imported.
"""

import platform
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from random_blocks import block_spec, compute, normal, random_linear, random_weights, same_bits
from torch import Tensor

from isobatch.errors import OptionError
from isobatch.kernels.compiled import (
    PackedBlock,
    PackedWeight,
    compute_linear,
    kernels,
    unavailable,
    variant_statuses,
    variants,
)
from isobatch.kernels.compiled.variants import VARIABLE, Variant, golden_hashes
from isobatch.types import Precision

NAMES = [each.name for each in variant_statuses() if each.problem is None]
pytestmark = pytest.mark.skipif(not NAMES, reason="nothing is compiled here")

PORTABLE: tuple[Precision, ...] = ("fp32", "int8")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variant is forced, and cached states of variants are forgotten before and after."""
    monkeypatch.delenv(VARIABLE, raising=False)
    caches = (variants._select, variants.status_of)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


# ------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("name", NAMES)
def test_a_variant_gives_the_golden_bits_of_every_operation(name: str) -> None:
    assert variants._module(name).golden_hashes() == golden_hashes()


def results(compute_one: object) -> dict[str, Tensor]:
    """The result of each variant, by its name."""
    assert callable(compute_one)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setenv(VARIABLE, name)
            assert kernels("fp32").name == name
            found[name] = compute_one()
    return found


def all_same(found: dict[str, Tensor]) -> bool:
    first, *others = found.values()
    return all(same_bits(first, other) for other in others)


@pytest.mark.parametrize("precision", PORTABLE)
def test_a_block_stays_with_the_variant_that_it_was_packed_for(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has another layout, and would compute something else from it."""
    weights, x = random_weights(block_spec(20, 2, 30)), normal(9, 20)
    linear = random_linear(20, 30)
    expected, product = None, None
    for name in NAMES:
        monkeypatch.setenv(VARIABLE, name)
        block, packed = PackedBlock(weights, precision), PackedWeight(linear.weight, precision)
        for other in (*NAMES, "torch"):
            monkeypatch.setenv(VARIABLE, other)
            found = compute(block, x, (5, 4)), compute_linear(x, packed, linear.bias)
            expected, product = (expected, product) if expected is not None else found
            assert same_bits(found[0], expected)
            assert same_bits(found[1], product)


# ----------------------------------------------------------------------------------- the choice


def planted(
    monkeypatch: pytest.MonkeyPatch, name: str, module: object, capabilities: tuple[str, ...] = ()
) -> None:
    """A variant of this machine, the fastest of all, whose module is `module`."""
    variant = Variant(name, platform.machine(), capabilities)
    monkeypatch.setattr(variants, "VARIANTS", (variant, *variants.VARIANTS))
    monkeypatch.setitem(sys.modules, f"isobatch.kernels.compiled._{name}", module)  # type: ignore[arg-type]
    exists = variants.Path.exists
    monkeypatch.setattr(
        variants.Path, "exists", lambda path: path.name.startswith(f"_{name}.") or exists(path)
    )


def hashes(**changed: int) -> SimpleNamespace:
    return SimpleNamespace(golden_hashes=lambda: {**golden_hashes(), **changed})


@pytest.mark.usefixtures("no_cache")
def test_a_variant_with_the_right_bits_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    planted(monkeypatch, "planted", hashes())
    assert kernels("fp32").name == "planted"


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("operation", golden_hashes())
def test_a_variant_with_wrong_bits_in_one_operation_is_not_used(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, "planted", hashes(**{operation: golden_hashes()[operation] ^ 1}))
    assert kernels("fp32").name == NAMES[0]
    status, *_ = variant_statuses()
    assert status.built
    assert str(status.problem).startswith(f"its bits are wrong in {operation}: ")
    monkeypatch.setenv(VARIABLE, "planted")
    with pytest.raises(OptionError, match=r"'planted' cannot be used: its bits are wrong in "):
        unavailable("fp32")


@pytest.mark.usefixtures("no_cache")
def test_a_variant_that_forgot_an_operation_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, "planted", SimpleNamespace(golden_hashes=dict))
    assert kernels("fp32").name == NAMES[0]


@pytest.mark.usefixtures("no_cache")
def test_on_an_old_processor_only_plain_code_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    real = variants.import_module
    monkeypatch.setattr(
        variants, "import_module", lambda name: (imported.append(name), real(name))[1]
    )
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert kernels("fp32").name == kernels("int8").name == "reference"
    assert imported
    assert {name.rpartition(".")[2] for name in imported} == {"_reference"}
    assert unavailable("bf16") is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_forced_variant_computes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, name)
    assert kernels("fp32").name == kernels("int8").name == name
    monkeypatch.setenv(VARIABLE, "torch")
    assert unavailable("fp32") == f"{VARIABLE} is torch"
    with pytest.raises(RuntimeError, match="compiled fp32 kernels: "):
        kernels("fp32")


@pytest.mark.usefixtures("no_cache")
def test_a_variant_that_was_not_built_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ghost = replace(variants.variants_of_machine()[-1], name="ghost")
    monkeypatch.setattr(variants, "VARIANTS", (ghost,))
    assert str(unavailable("fp32")).startswith("ghost: not built (")

"""Every instruction set gives the golden bits, also those that this machine has not.

ARM under QEMU; the x86-64 modules under QEMU's translation, which computes nothing with this
processor's own vectors; AVX-512 and AVX-VNNI under Bochs. By default the parts that take a compiler
longest are left out of some; ISOBATCH_GOLDEN=all computes all of them, which takes minutes.
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from emulated_programs import (
    HERE,
    KERNELS,
    Hashes,
    compile_program,
    parse,
    required,
    required_model,
    run,
    run_under_bochs,
    run_under_qemu,
)

from isobatch.kernels.compiled.variants import golden_hashes

EVERYTHING = os.environ.get("ISOBATCH_GOLDEN") == "all"
GOLDEN = {name: f"{value:016x}" for name, value in golden_hashes().items()}
PRODUCTS = {"attention", "linear_fp32", "linear_int8", "block_fp32", "block_int8", "embeddings"}
PRODUCTS.add("dropout_masks")
PRODUCTS |= {f"{kind}_block_fp32" for kind in ("later", "disentangled")}
PRODUCTS |= {f"{kind}_block_int8" for kind in ("later", "disentangled")}
PARTS: Mapping[str, set[str]] = {
    "isobatch::golden": set(GOLDEN),
    "elementwise": set(GOLDEN) - PRODUCTS,
    "products": {"linear_fp32", "linear_int8"},
    "int8": {"linear_int8"},
}

SKYLAKE, ICE_LAKE = "corei7_skylake_x", "corei7_icelake_u"
SAPPHIRE_RAPIDS, ARROW_LAKE, HASWELL = "sapphire_rapids", "arrow_lake", "corei7_haswell_4770"


def part(operations: str) -> str:
    return "isobatch::golden" if EVERYTHING else operations


def check(hashes: Hashes, operations: str) -> None:
    assert hashes.keys() == PARTS[operations]
    assert hashes == {name: GOLDEN[name] for name in hashes}


@pytest.mark.parametrize(
    ("variant", "operations", "cpus"),
    [
        ("neon", "isobatch::golden", ("cortex-a53", "max")),
        ("dotprod", "int8", ("neoverse-n1", "max")),
    ],
)
def test_arm_under_qemu(
    variant: str, operations: str, cpus: tuple[str, ...], tmp_path: Path
) -> None:
    operations = part(operations)
    program = compile_program(tmp_path, variant, "aarch64", operations)
    for cpu in cpus:
        check(run_under_qemu(program, "aarch64", cpu), operations)


def under_translation(variant: str, cpu: str) -> list[str | Path]:
    if platform.machine() != "x86_64":
        pytest.skip("the modules are for another machine")
    module = KERNELS / f"_{variant}.abi3.so"
    if not module.exists():
        pytest.skip(f"{module.name} was not built")
    python = [sys.executable, "-I", "-S", HERE / "load_module.py", module, f"_{variant}"]
    return [required("qemu-x86_64-static"), "-cpu", cpu, *python]


@pytest.mark.parametrize("variant", ["reference", "avx2"])
def test_modules_under_translation(variant: str) -> None:
    assert parse(run(under_translation(variant, "max"))) == GOLDEN


def test_a_module_uses_its_instructions() -> None:
    """Else the test above would say nothing about them."""
    command = under_translation("avx2", "qemu64")
    with pytest.raises(AssertionError, match=r"-4\n|132\n"):
        run(command)


@pytest.mark.parametrize(
    ("variant", "operations", "models"),
    [
        ("avx512", "int8", (SKYLAKE,)),
        ("avx512vnni", "products", (ICE_LAKE,)),
        ("avxvnni", "int8", (ARROW_LAKE,)),
        ("avx512bf16", "int8", (SAPPHIRE_RAPIDS,)),
    ],
)
def test_avx512_and_vnni_under_bochs(
    variant: str, operations: str, models: tuple[str, ...], tmp_path: Path
) -> None:
    model, operations = required_model(*models), part(operations)
    program = compile_program(tmp_path, variant, "x86_64", operations)
    check(run_under_bochs(program, model), operations)


def test_avx512_functions_under_bochs(tmp_path: Path) -> None:
    model, older = required_model(SKYLAKE), required_model(HASWELL)
    program = compile_program(tmp_path, "avx512", "x86_64", "elementwise")
    check(run_under_bochs(program, model), "elementwise")
    with pytest.raises(AssertionError, match=f"exception {6:016x}"):  # undefined instruction
        run_under_bochs(program, older)


def test_bf16_under_bochs(tmp_path: Path) -> None:
    """vdpbf16ps adds the odd product first, fused, without denormals; even first differs."""
    model = required_model(SAPPHIRE_RAPIDS)
    program = compile_program(tmp_path, "avx512bf16", "x86_64", source=HERE / "bf16.cpp")
    counts = {name: int(count) for name, count in run_under_bochs(program, model).items()}
    assert counts.pop("from_definition") == 0
    assert all(count > 1000 for count in counts.values())

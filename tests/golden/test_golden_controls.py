"""The golden hashes notice what must not happen: each fault, injected, changes some of them."""

import platform
import shutil
from pathlib import Path

import pytest
import torch
from emulated_programs import KERNELS, Hashes, compile_program, parse, required, run

from isobatch.kernels.compiled.variants import golden_hashes, kernels, unavailable

GOLDEN = {name: f"{value:016x}" for name, value in golden_hashes().items()}
NATIVE = {"x86_64": "avx2", "aarch64": "neon"}

pytestmark = pytest.mark.skipif(
    unavailable("fp32") is not None or platform.machine() not in NATIVE,
    reason="no compiled kernels run here",
)


def compile_native(folder: Path, *flags: str, headers: Path = KERNELS) -> Path:
    machine = platform.machine()
    required("g++")
    if machine == "x86_64" and kernels("fp32").name == "reference":
        pytest.skip("this processor has no AVX2")
    return compile_program(
        folder, NATIVE[machine], machine, "elementwise", flags, headers, compiler="g++"
    )


def wrong(hashes: Hashes) -> set[str]:
    assert hashes
    return {name for name, value in hashes.items() if GOLDEN[name] != value}


def test_without_a_fault_nothing_differs_and_flushing_denormals_does(tmp_path: Path) -> None:
    program = compile_native(tmp_path)
    assert wrong(parse(run([program]))) == set()
    flushed = wrong(parse(run([program, "flushed"])))
    assert {"gelu", "tanh"} <= flushed
    assert "sigmoid" not in flushed  # of zero and of a denormal it is one half


def test_contraction(tmp_path: Path) -> None:
    """A multiplication and an addition rounded once, as GCC does by default."""
    program = compile_native(tmp_path, "-ffp-contract=fast")
    assert {"gelu", "layer_norm"} <= wrong(parse(run([program])))


def test_another_order_of_sums(tmp_path: Path) -> None:
    """Neighbours instead of halves are added."""
    headers = Path(shutil.copytree(KERNELS, tmp_path / "headers"))
    lanes = headers / "lanes.h"
    halves, neighbours = "x[i] += x[i + HALF];", "x[i] = x[2 * i] + x[2 * i + 1];"
    text = lanes.read_text(encoding="utf-8")
    assert text.count(halves) == 1
    lanes.write_text(text.replace(halves, neighbours), encoding="utf-8")
    differing = wrong(parse(run([compile_native(tmp_path, headers=headers)])))
    assert {"layer_norm", "softmax"} <= differing
    assert not differing & {"gelu", "tanh", "quantize"}  # they have no sums


def test_a_module_restores_the_state_of_the_thread() -> None:
    """Flushed denormals again, but set by the caller of a module: no bit follows them."""
    module, smallest = kernels("fp32").module, torch.tensor([2.0**-149])
    assert torch.set_flush_denormal(True)
    try:
        hashes = module.golden_hashes()
        still_flushed = (smallest * 1.0).item() == 0.0
    finally:
        torch.set_flush_denormal(False)
    assert hashes == golden_hashes()
    assert still_flushed
    assert (smallest * 1.0).item() != 0.0

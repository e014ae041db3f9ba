"""The roof: peaks of the instructions, and the shares of products and blocks."""

import ast
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import BenchmarkError, UnsupportedError
from benchmarks.instruction_sets import FLAGS
from benchmarks.kernel_rates import better
from benchmarks.kernel_tables import roof_table
from benchmarks.peak_share import BLOCK, block_share, product_shares
from benchmarks.roof import compile_roof, measure_peaks
from benchmarks.schema import KernelRates, Rates
from isobatch.kernels.compiled.variants import VARIANTS, variants_of_machine

ROOT = Path(__file__).parent.parent.parent
needs_compiler = pytest.mark.skipif(
    subprocess.run(["which", "c++"], capture_output=True, check=False).returncode != 0,
    reason="no C++ compiler",
)
WIDER_THAN_FP32 = {
    "vpmaddwd+vpaddd": 2,
    "vpdpbusd": 4,
    "vdpbf16ps": 2,
    "smull+sadalp": 4,
    "sdot": 4,
}


def runnable() -> list[str]:
    found = torch.cpu.get_capabilities()
    return [
        each.name
        for each in variants_of_machine()
        if each.name in FLAGS and all(found.get(name) for name in each.capabilities)
    ]


def test_every_variant_of_the_kernels_has_a_roof_but_the_reference() -> None:
    assert {each.name for each in VARIANTS} - {"reference"} == FLAGS.keys()


def flags_of_setup() -> dict[str, tuple[str, ...]]:
    """The flags of each variant in setup.py, which is not imported: it would build."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    names = ("X86", "AVX2", "AVX512", "ARM", "VARIANTS")
    assigned = [
        node for node in tree.body if ast.unparse(node).partition(" ")[0].partition(":")[0] in names
    ]
    found: dict[str, Any] = {"Sequence": Sequence}
    exec(compile(ast.Module(assigned, []), "setup.py", "exec"), found)
    return {name: flags for of in found["VARIANTS"].values() for name, flags in of.items()}


def test_the_roof_is_compiled_for_the_instructions_of_the_kernels() -> None:
    tuning = ("-mtune", "-march=x86-64", "-mno-sse3", "-fno-schedule-insns")
    for name, flags in flags_of_setup().items():
        instructions = {flag for flag in flags if not flag.startswith(tuning)}
        assert instructions == {*FLAGS.get(name, ())} or name == "reference", name


@needs_compiler
@pytest.mark.parametrize("name", runnable())
def test_the_peaks_of_what_this_machine_has(name: str, tmp_path: Path) -> None:
    program = compile_roof(name, tmp_path)
    peaks = measure_peaks(program, 1, 0.02)
    assert {"fp32", "int8"} <= peaks.keys()
    assert ("bf16" in peaks) == (name == "avx512bf16")
    assert peaks["fp32"].rate > 0
    # A multiplication that the compiler moved out of the loop would look twice as fast.
    for peak in peaks.values():
        wider = WIDER_THAN_FP32.get(peak.instructions.partition("/")[0], 1)
        assert peak.rate < 1.5 * wider * peaks["fp32"].rate, peak
    assert compile_roof(name, tmp_path) == program, "compiled once"


@pytest.mark.parametrize("name", ["reference", "torch"])
def test_kernels_without_instructions_of_their_own_have_no_peak(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"{name}: no vector instructions"):
        compile_roof(name, tmp_path)


def test_without_a_compiler_there_is_no_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="no C\\+\\+ compiler"):
        compile_roof("avx2", tmp_path)


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho unknown option >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(BenchmarkError, match="cannot compile it\nunknown option"):
        compile_roof("avx2", tmp_path / "build")


def test_a_program_that_the_processor_cannot_run_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "roof"
    program.write_text("#!/bin/sh\nkill -ILL $$\n")
    program.chmod(0o755)
    with pytest.raises(BenchmarkError, match=r"exit status -4\. This machine lacks"):
        measure_peaks(program, 1, 0.1)


def rates(block_seconds: float, product: float = 90.0) -> Rates:
    products = {"48×768×768": product}
    peak = {"peak": 200.0, "fp32_peak": 100.0}
    return {**peak, "products": products, "block_seconds": block_seconds}  # type: ignore[typeddict-item]


def test_a_block_at_both_peaks_has_the_whole_share() -> None:
    products = BLOCK.product_operations / 200e9
    attention = BLOCK.attention_operations / 100e9
    assert block_share(rates(products + attention)) == pytest.approx(1.0)
    assert block_share(rates(2 * (products + attention))) == pytest.approx(0.5)
    assert product_shares(rates(1.0)) == {"48×768×768": 0.45}
    assert BLOCK.product_operations == 2 * 512 * 12 * 768 * 768
    assert BLOCK.attention_operations == 4 * 4 * 128 * 128 * 768


def test_the_best_of_several_rounds_counts() -> None:
    best = better(rates(2.0, product=80.0), rates(3.0, product=90.0))
    assert best == rates(2.0, product=90.0)


def test_the_table_says_what_misses_its_target() -> None:
    kernels: KernelRates = {
        "block": str(BLOCK),
        "sets": {
            "avx2": {"int8": {"instructions": "vpmaddwd", "threads": {"1": rates(1.0, 180.0)}}}
        },
        "left_out": {"reference": "it is slow"},
    }
    table = roof_table(kernels)
    assert "| avx2 | int8 | `vpmaddwd` | 1 | 200.0 | 90.0% met | – |" in table
    assert table.splitlines()[4].endswith("% **missed** |")
    assert table.endswith("Left out: reference: it is slow.")

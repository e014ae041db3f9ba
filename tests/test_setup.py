"""setup.py: the modules that it builds, their flags, and the report on those that fail.

The compiler is a script that records its arguments, except where its results are the test.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from setup import REPORT, SOURCES, VARIANTS, extension, summary, variants, without_folders

ROOT = Path(__file__).parent.parent
X86 = {"_PYTHON_HOST_PLATFORM": "linux-x86_64"}

RECORDING_COMPILER = """#!{python}
import pathlib, sys
arguments = sys.argv[1:]
with open("{log}", "a") as log:
    log.write(" ".join(arguments) + "\\n")
if {refused!r} in arguments:
    sys.exit("/opt/gcc/bin/g++: error: unrecognized command-line option {refused}")
pathlib.Path(arguments[arguments.index("-o") + 1]).touch()
"""

ARITHMETIC = """
#if defined __FAST_MATH__ || defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__
#error "not IEEE 754"
#endif
#if defined LANES_REFERENCE && defined __SSE3__
#error "not the baseline"
#endif
#define avx2 1
#if ISOBATCH_VARIANT == avx2 && defined __AVX512F__
#error "not AVX2"
#endif
#define EXPORTED extern "C" __attribute__((visibility("default")))
EXPORTED float PyInit_add_product(float a, float b, float c) {
  return a * b + c;
}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with setup.py and a source; modules of an earlier build are next to it."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    folder = tmp_path / SOURCES
    folder.mkdir(parents=True)
    (folder / "module.cpp").write_text(ARITHMETIC, encoding="utf-8")
    shutil.copy(ROOT / SOURCES / "exports.map", folder)
    for stale in ("_kernels.abi3.so", "_avxvnni.abi3.so"):
        (folder / stale).touch()
    return tmp_path


def build(project: Path, **environment: str) -> dict[str, Any]:
    """Build as an editable installation does; return the report."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--build-lib", "lib"]
    subprocess.run(
        [*command, "--build-temp", "temp"],
        cwd=project,
        env=os.environ | environment,
        check=True,
        capture_output=True,
    )
    return json.loads((project / SOURCES / REPORT).read_text(encoding="utf-8"))


def recording_compiler(project: Path, refused: str = "") -> str:
    """Write a compiler that accepts everything but one flag; its log is `commands`."""
    script, log = project / "g++", project / "commands"
    values = {"python": sys.executable, "log": log, "refused": refused}
    script.write_text(RECORDING_COMPILER.format(**values), encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def built_modules(project: Path) -> set[str]:
    return {file.name for file in (project / SOURCES).glob("*.so")}


def test_every_variant_is_built_from_the_one_source(project: Path) -> None:
    report = build(project, CXX=recording_compiler(project), **X86)
    names = VARIANTS["x86_64"]
    assert report == {name: {"built": True} for name in names}
    assert built_modules(project) == {f"_{name}.abi3.so" for name in names}
    commands = (project / "commands").read_text(encoding="utf-8").splitlines()
    compiled = [each.split() for each in commands if " -c " in each]
    objects = {each[each.index("-o") + 1] for each in compiled}
    assert len(compiled) == len(objects) == len(names)
    for name, flags in names.items():
        (command,) = (each for each in compiled if f"-DISOBATCH_VARIANT={name}" in each)
        assert tuple(command[-len(flags) :]) == flags
        assert ("-DLANES_REFERENCE=1" in command) is (name == "reference")


def test_one_that_fails_leaves_the_others_and_its_message(project: Path) -> None:
    report = build(project, CXX=recording_compiler(project, "-mavxvnni"), **X86)
    failed = report.pop("avxvnni")
    assert failed["built"] is False
    assert failed["error"] == "g++: error: unrecognized command-line option -mavxvnni"
    assert failed["command"].startswith("g++ ")
    assert "-mavxvnni" in failed["command"]
    assert str(project) not in failed["command"]
    assert all(each == {"built": True} for each in report.values())
    assert built_modules(project) == {f"_{name}.abi3.so" for name in report}, "a stale module"


def test_without_a_compiler_every_report_says_so(project: Path) -> None:
    report = build(project, CXX=str(project / "missing-g++"), **X86)
    assert {each["error"] for each in report.values()} == {"missing-g++: No such file or directory"}
    assert built_modules(project) == set()


def test_another_platform_has_a_report_and_no_module(project: Path) -> None:
    compiler = recording_compiler(project)
    report = build(project, CXX=compiler, _PYTHON_HOST_PLATFORM="linux-riscv64")
    reason = "the compiled kernels are for Linux on x86-64 and ARM64, not for linux-riscv64"
    assert report == {"reference": {"built": False, "error": reason}}
    assert built_modules(project) == set()
    assert not (project / "commands").exists()


def test_platforms_have_their_variants() -> None:
    assert variants("linux-x86_64") == VARIANTS["x86_64"]
    assert variants("linux-aarch64") == VARIANTS["aarch64"]
    for other in ("win-amd64", "win-arm64", "macosx-11.0-arm64", "linux-ppc64le"):
        assert variants(other) == {}


needs_compiler = pytest.mark.skipif(
    not shutil.which("g++") or VARIANTS.get(os.uname().machine) is not VARIANTS["x86_64"],
    reason="needs a compiler on x86-64",
)


@needs_compiler
def test_the_environment_s_flags_change_no_result(project: Path) -> None:
    unwanted = "-Ofast -ffast-math -funsafe-math-optimizations -march=native -mavx512f -mfma"
    report = build(project, CFLAGS=unwanted, CXXFLAGS=unwanted, LDFLAGS=unwanted)
    built = [name for name, each in report.items() if each["built"]]
    assert {"reference", "avx2"} <= set(built), report
    folder = project / SOURCES
    assert gradual_underflow_after_loading(folder / "_reference.abi3.so")
    assert not is_fused(folder / "_reference.abi3.so")
    if all(torch.cpu.get_capabilities().get(name) for name in ("avx2", "fma3")):
        assert not is_fused(folder / "_avx2.abi3.so")
    # The same source, without the flags of setup.py, is refused.
    command = ["g++", *unwanted.split(), "-c", str(folder / "module.cpp"), "-o", os.devnull]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode
    assert "not IEEE 754" in refused.stderr


@needs_compiler
@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("fma3"), reason="needs the fused multiply-add"
)
def test_a_contracted_product_is_noticed(project: Path) -> None:
    module = project / "contracted.so"
    flags = ("-O2", "-mfma", "-ffp-contract=fast", "-shared", "-fPIC", "-o", str(module))
    subprocess.run(["g++", *flags, str(project / SOURCES / "module.cpp")], check=True)
    assert is_fused(module)


def is_fused(module: Path) -> bool:
    """Whether a product and a sum are rounded together, in a library with ARITHMETIC."""
    add_product = ctypes.CDLL(str(module)).PyInit_add_product
    add_product.argtypes, add_product.restype = [ctypes.c_float] * 3, ctypes.c_float
    a = 1 + 2**-12
    return add_product(a, a, -(1 + 2**-11)) != 0  # a² = 1 + 2⁻¹¹ + 2⁻²⁴, a tie for float32


def gradual_underflow_after_loading(module: Path) -> bool:
    """Whether denormal numbers survive in a process that has loaded the library."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(sys.float_info.min / 2 > 0)"
    command = [sys.executable, "-c", code, str(module)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_builds_again_after_a_change_of_any_source_of_a_module() -> None:
    command = ["make", "--dry-run", "--print-data-base", "check"]
    database = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [line] = {each for each in database.splitlines() if each.startswith("SOURCES := ")}
    module = extension("reference", ())
    assert {*module.sources, *module.depends, "setup.py"} <= {*line.split()}
    assert str(SOURCES / "exports.map") in module.depends


def test_a_message_names_no_folder_of_the_builder() -> None:
    text = (
        "/usr/bin/g++ -I/home/me/include/python3.11 -c isobatch/a.cpp -o build/x/a.o '/tmp/b/c.h'"
    )
    assert without_folders(text) == "g++ -Ipython3.11 -c isobatch/a.cpp -o build/x/a.o 'c.h'"


def test_the_summary_is_the_lines_with_errors() -> None:
    output = "In file included from a.h:1:\nb.h:2: error: no\n   2 | x\nb.h:3: fatal error: stop\n"
    assert summary(output) == "b.h:2: error: no\nb.h:3: fatal error: stop"
    assert summary("cannot execute\n") == "cannot execute"
    assert len(summary("error\n" * 99).splitlines()) == 5

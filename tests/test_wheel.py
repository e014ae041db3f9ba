"""`make wheel`: contents, tags and dependencies of the wheel, and that it computes.

Its modules are those of this installation: the compiler is a script that copies them, so that the
kernels are not compiled again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest
from elftools.elf.elffile import ELFFile

from scripts.make_wheel import REPORT, check_kernels, make_wheel
from setup import SOURCES, VARIANTS

ROOT = Path(__file__).parent.parent
INSTALLED = ROOT / SOURCES

COPYING_COMPILER = """#!{python}
import pathlib, shutil, sys
target = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
if target.suffix == ".so":
    shutil.copy(pathlib.Path("{installed}", target.name), target)
else:
    target.touch()
"""

OPENMP_LIBRARIES = """
import importlib, pathlib, sys
module = importlib.import_module("isobatch.kernels.compiled." + sys.argv[1])
lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
print(*sorted({line.split()[-1] for line in lines if "libgomp" in line or "libiomp" in line}))
print(module.__file__)
"""


def built_here() -> set[str]:
    report = json.loads((ROOT / REPORT).read_text(encoding="utf-8"))
    return {name for name, each in report.items() if each["built"]}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = os.uname().machine
    if sys.platform != "linux" or built_here() != set(VARIANTS.get(machine, ())):
        pytest.skip("this installation does not have every variant")
    folder = tmp_path_factory.mktemp("wheel")
    compiler = folder / "g++"
    script = COPYING_COMPILER.format(python=sys.executable, installed=INSTALLED)
    compiler.write_text(script, encoding="utf-8")
    compiler.chmod(0o755)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CXX", str(compiler))
        return make_wheel(folder / "dist")


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    folder = wheel.parent / "unpacked"
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(unpacked: Path, arguments: Sequence[str]) -> str:
    """Run Python with the unpacked wheel, without a compiler and outside the checkout."""
    environment = os.environ | {"PYTHONPATH": str(unpacked), "PATH": ""}
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_tags_say_what_it_needs(wheel: Path) -> None:
    _, version, python, abi, platforms = wheel.stem.split("-")
    assert (python, abi) == ("cp311", "abi3")
    assert all(each.startswith("manylinux") for each in platforms.split("."))
    assert (wheel.parent / f"isobatch-{version}.tar.gz").exists()


def test_it_has_every_module_and_what_they_need(unpacked: Path) -> None:
    folder = unpacked / SOURCES
    modules = {file.name for file in folder.glob("*.so")}
    assert modules == {f"_{name}.abi3.so" for name in VARIANTS[os.uname().machine]}
    assert (folder / "golden.json").exists()
    assert (unpacked / "isobatch/lesson/sample.txt").exists()
    assert not list(unpacked.glob("*.libs")), "a second OpenMP"
    for module in modules:
        with (folder / module).open("rb") as file:
            dynamic = ELFFile(file).get_section_by_name(".dynamic")
            needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
            symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
            defined = {each.name for each in symbols if each["st_shndx"] != "SHN_UNDEF"}
        assert "libgomp.so.1" in needed
        assert defined == {f"PyInit_{module.removesuffix('.abi3.so')}"}


def test_it_shares_torch_s_openmp_though_it_is_imported_first(unpacked: Path) -> None:
    """`import isobatch.kernels.compiled._reference` before torch, by a program of its own."""
    libraries, file = run(unpacked, ["-c", OPENMP_LIBRARIES, "_reference"]).splitlines()
    assert file == str(unpacked / SOURCES / "_reference.abi3.so")
    assert len(libraries.split()) == 1, libraries
    assert Path(libraries).parent.parent.name == "torch"


def test_it_computes_without_a_compiler(unpacked: Path) -> None:
    report = json.loads(run(unpacked, ["-m", "isobatch", "info", "--json"]))
    assert {each["name"] for each in report["variants"] if each["built"]} == built_here()
    assert report["instruction_set"] in built_here()
    assert any(choice["kernel"].startswith("compiled") for choice in report["choices"])
    line = run(unpacked, ["-m", "isobatch", "classify", "Today is a nice day!"])
    assert "POSITIVE" in line


def test_a_wheel_without_every_kernel_is_refused(tmp_path: Path) -> None:
    report = {"avx2": {"built": True}, "avxvnni": {"built": False, "error": "g++: too old"}}
    incomplete = tmp_path / "incomplete.whl"
    with ZipFile(incomplete, "w") as archive:
        archive.writestr(REPORT, json.dumps(report))
    with pytest.raises(RuntimeError, match=r"avxvnni: g\+\+: too old"):
        check_kernels(incomplete)
    complete = tmp_path / "complete.whl"
    with ZipFile(complete, "w") as archive:
        archive.writestr(REPORT, json.dumps({"avx2": {"built": True}}))
    check_kernels(complete)

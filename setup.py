"""Build the compiled kernels: one small module for each instruction set, all from one source.

Every module is optional. One that cannot be built (no compiler, or one that is too old for an
instruction set) leaves the others as they are, and `build_report.json` next to them says why; the
package reads it for `isobatch info`. Everything else about the package is in pyproject.toml.
Invariant: the environment's CFLAGS, such as -Ofast or -march=native, cannot change a result, nor
put an instruction into a module that its name does not promise.
"""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sysconfig import get_platform
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

PACKAGE = "isobatch.kernels.compiled"
SOURCES = Path("isobatch/kernels/compiled")
REPORT = "build_report.json"

# -mno-sse3 also takes back every later extension, should CFLAGS have named one.
X86 = ("-march=x86-64", "-mtune=generic", "-mno-sse3")
AVX2 = (*X86, "-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq")
# GCC's first scheduling pass, which -O2 turns on for ARM alone, spills a product's tile.
ARM = ("-mtune=generic", "-fno-schedule-insns")
VARIANTS: dict[str, dict[str, Sequence[str]]] = {
    "x86_64": {
        "reference": X86,
        "avx2": AVX2,
        "avxvnni": (*AVX2, "-mavxvnni"),
        "avx512": AVX512,
        "avx512vnni": (*AVX512, "-mavx512vnni"),
        "avx512bf16": (*AVX512, "-mavx512vnni", "-mavx512bf16"),
    },
    "aarch64": {
        "reference": ("-march=armv8-a", *ARM),
        "neon": ("-march=armv8-a", *ARM),
        "dotprod": ("-march=armv8.2-a+dotprod", *ARM),
    },
}
"""Instruction set → flags, by machine; a variant's module is its name after an underscore."""

# Compiler and linker get these after CFLAGS, so that they win. A linker that sees -Ofast would add
# code that sets flush-to-zero for the whole process when the module is imported.
EXACT = (
    "-O2",
    "-fno-fast-math",
    "-fno-unsafe-math-optimizations",
    "-fno-associative-math",
    "-fno-reciprocal-math",
    "-fno-finite-math-only",
    "-fsigned-zeros",
    "-ffp-contract=off",  # a multiplication and an addition stay two operations
    "-fopenmp",
)
COMPILE = (
    "-std=c++17",
    "-g0",
    "-Wall",
    "-Wextra",
    "-Wno-maybe-uninitialized",
    "-Wno-uninitialized",
    "-fno-exceptions",
    "-fno-rtti",
    "-fvisibility=hidden",
    *EXACT,
)
LINK = (*EXACT, "-Wl,--as-needed", f"-Wl,--version-script={SOURCES / 'exports.map'}")

ERROR_LINES = 5


class CompilerError(Exception):
    """A command that failed, with what it printed."""

    def __init__(self, command: Sequence[str], output: str) -> None:
        super().__init__(output)
        self.command, self.output = command, output


def variants(platform: str) -> dict[str, Sequence[str]]:
    """Return the variants of a platform such as `linux-x86_64`; empty if it has none."""
    system, _, machine = platform.partition("-")
    return VARIANTS.get(machine, {}) if system == "linux" else {}


def extension(name: str, flags: Sequence[str]) -> Extension:
    """Describe the module of one variant."""
    macros = [
        ("Py_LIMITED_API", "0x030b0000"),  # 3.11 and newer
        ("ISOBATCH_VARIANT", name),
    ]
    if name == "reference":
        macros.append(("LANES_REFERENCE", "1"))
    return Extension(
        f"{PACKAGE}._{name}",
        sources=[str(SOURCES / "module.cpp")],
        depends=[str(file) for file in sorted((*SOURCES.glob("*.h"), *SOURCES.glob("*.map")))],
        define_macros=macros,
        extra_compile_args=[*COMPILE, *flags],
        extra_link_args=[*LINK],
        language="c++",
        optional=True,
        py_limited_api=True,
    )


def variant_of(module: Extension) -> str:
    """Return the name of the variant whose module this is."""
    return str(module.name.rpartition("._")[2])


class BuildVariants(build_ext):
    """Build every module that can be built, all at once, and report on each."""

    def build_extensions(self) -> None:
        """Build the modules in parallel; keep those that were built in `extensions`."""
        folder = Path(self.get_ext_fullpath(self.extensions[0].name)).parent
        remove_built(folder)
        names = [variant_of(module) for module in self.extensions]
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            reports = dict(zip(names, workers.map(self._try_build, self.extensions), strict=True))
        folder.mkdir(parents=True, exist_ok=True)
        self._report_file = folder / REPORT
        self._report_file.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")
        for name, report in reports.items():
            sys.stderr.write(f"compiled kernels, {name}: {report.get('error', 'built')}\n")
        self.extensions = [each for each in self.extensions if reports[variant_of(each)]["built"]]

    def copy_extensions_to_source(self) -> None:
        """Copy modules and report next to the source, for an editable installation."""
        folder = Path(self.get_finalized_command("build_py").get_package_dir(PACKAGE))
        remove_built(folder)
        super().copy_extensions_to_source()
        self.copy_file(str(self._report_file), str(folder / REPORT))

    def _try_build(self, module: Extension) -> dict[str, Any]:
        name = variant_of(module)
        if name not in variants(self.plat_name):
            reason = "the compiled kernels are for Linux on x86-64 and ARM64"
            return {"built": False, "error": f"{reason}, not for {self.plat_name}"}
        # The modules share one source: each needs a folder of its own for its object file.
        builder, compiler = copy.copy(self), copy.copy(self.compiler)
        compiler.spawn = compiler.call = run  # the second name is that of setuptools 84 and newer
        builder.compiler, builder.build_temp = compiler, str(Path(self.build_temp, name))
        try:
            super(BuildVariants, builder).build_extension(module)
        except CompilerError as error:
            command = without_folders(" ".join(error.command))
            return {"built": False, "command": command, "error": summary(error.output)}
        except (BaseError, CCompilerError, OSError) as error:  # not from a command of the compiler
            return {"built": False, "error": summary(str(error))}
        return {"built": True}


def run(command: Sequence[str], **_options: Any) -> None:
    """Run a compiler; raises CompilerError with its messages if it fails or is missing."""
    environment = os.environ | {"LC_ALL": "C"}
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise CompilerError(command, f"{command[0]}: {error.strerror}") from None
    if result.returncode:
        raise CompilerError(command, result.stderr or f"exit status {result.returncode}")
    sys.stderr.write(result.stderr)


def summary(output: str) -> str:
    """Return the first lines of a compiler's output that say what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return without_folders("\n".join(errors[:ERROR_LINES]))


def without_folders(text: str) -> str:
    """Reduce absolute paths to their last part: a wheel does not name folders of its builder."""
    return re.sub(r"(?:(?<=-[IL])|(?<![\w.]))/(?:[^\s/:'\"]+/)+", "", text)


def remove_built(folder: Path) -> None:
    """Remove what an earlier build left: a module that now fails must not be used any more."""
    for old in (*folder.glob("_*.so"), folder / REPORT):
        old.unlink(missing_ok=True)


def extensions() -> list[Extension]:
    """Describe the modules of this platform; on one without any, a module that reports so."""
    built = variants(get_platform()) or {"reference": ()}
    return [extension(name, flags) for name, flags in built.items()]


if __name__ == "__main__":
    setup(
        ext_modules=extensions(),
        cmdclass={"build_ext": BuildVariants},
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )

"""The roof: `roof.cpp` compiled for an instruction set, and the peak rates that it measures.

Invariant: it is compiled on the machine that it runs on, with the flags of the kernels that it is
compared with, and only for instruction sets that run here.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks import BenchmarkError, UnsupportedError
from benchmarks.instruction_sets import FLAGS

_SOURCE = Path(__file__).parent / "roof.cpp"
_OPTIONS = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-pthread")


class Peak(NamedTuple):
    """The peak of one precision: its instructions, and 10^9 operations a second."""

    instructions: str
    rate: float


def compile_roof(instruction_set: str, build: Path) -> Path:
    """Compile the program for an instruction set, once for each version of its source.

    Raises UnsupportedError without a compiler, or for a set that has no vector instructions.
    """
    flags = FLAGS.get(instruction_set)
    if flags is None:
        raise UnsupportedError(f"{instruction_set}: no vector instructions, so no peak")
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        raise UnsupportedError("no C++ compiler, so no peak: install g++ or set CXX")
    command = [*compiler.split(), *_OPTIONS, *flags]
    digest = hashlib.sha256(_SOURCE.read_bytes() + " ".join(command).encode()).hexdigest()[:12]
    program = build / f"roof-{instruction_set}-{digest}"
    if not program.is_file():
        build.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [*command, str(_SOURCE), "-o", str(unfinished)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchmarkError(f"{_SOURCE.name}: cannot compile it\n{done.stderr}")
        unfinished.rename(program)
    return program


def measure_peaks(program: Path, threads: int, seconds: float) -> dict[str, Peak]:
    """Run the program; return the peak of each precision that it measures."""
    command = [str(program), str(threads), str(seconds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(
            f"{program.name}: exit status {done.returncode}. This machine lacks the instructions"
        )
    peaks = {}
    for line in done.stdout.splitlines():
        precision, instructions, rate = line.split()
        peaks[precision] = Peak(instructions, float(rate))
    return peaks

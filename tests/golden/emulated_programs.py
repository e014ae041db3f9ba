"""Programs that compute golden hashes with one instruction set, and the emulators that run them.

The program is built with the flags that setup.py gives the variant's module. A missing compiler,
emulator or emulated processor skips the test and is named.
"""

import os
import platform
import pty
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import setup

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "isobatch" / "kernels" / "compiled"
COMPILERS = {"x86_64": "g++", "aarch64": "aarch64-linux-gnu-g++"}
BOCHS = os.environ.get("BOCHS", "bochs")
"""Bochs 2.7, of Debian 12, has AVX-512 with VNNI; 3.0, of Debian 13, has AVX-VNNI and bf16 as well.

Not 3.1: its idiv of 64 bits gives wrong quotients, 0 / 1 = 139874199928840.
"""

SECONDS = 300
IMAGE_BYTES, PROGRAM_AT, ROM_BYTES = 1 << 21, 0x4000, 0x10000

Hashes = Mapping[str, str]


def required(tool: str) -> str:
    """Return the path of a program; skips the test where there is none."""
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed: .ci/run names the packages")
    return found


def run(command: Sequence[str | Path], seconds: float = SECONDS) -> str:
    """Run a command and return what it printed; its errors are the test's if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout


def compile_program(
    folder: Path,
    variant: str,
    machine: str,
    operations: str = "isobatch::golden",
    flags: Sequence[str] = (),
    headers: Path = KERNELS,
    compiler: str | None = None,
    source: Path = HERE / "program.cpp",
) -> Path:
    """Build a static program; the compiler's last word are `flags`."""
    program = folder / variant
    built_for = [*setup.COMPILE, *setup.VARIANTS[machine][variant]]
    if variant == "reference":
        built_for.append("-DLANES_REFERENCE")
    of_program = ["-w", "-static", f"-I{headers}", f"-DOPERATIONS={operations}", source]
    compiler = required(compiler or COMPILERS[machine])
    run([compiler, *built_for, *flags, *of_program, "-o", program])
    return program


def parse(output: str) -> Hashes:
    """Read lines of a name and a hash."""
    return dict(line.split(" ") for line in output.splitlines())


def run_under_qemu(program: Path, machine: str, cpu: str, *arguments: str) -> Hashes:
    """Run a program under QEMU's translation of a processor."""
    return parse(run([required(f"qemu-{machine}-static"), "-cpu", cpu, program, *arguments]))


def required_model(*models: str) -> str:
    """Return the first of the processors that this Bochs can emulate; skips if it has none."""
    if platform.machine() != "x86_64":
        pytest.skip("the image for Bochs is built with a compiler for x86-64")
    listed = subprocess.run([required(BOCHS), "--help", "cpu"], capture_output=True, text=True)
    known = (listed.stdout + listed.stderr).split()
    for model in models:
        if model in known:
            return model
    pytest.skip(f"this Bochs cannot emulate {' or '.join(models)}; 3.0 can")


def build_machine(folder: Path) -> tuple[bytes, bytes]:
    """Build the first and the last bytes of a memory image for Bochs."""
    compiler = [required("gcc"), "-nostdlib", "-static", "-w", "-Wl,--build-id=none,--no-warn-rwx"]
    script = f"-Wl,-T,{HERE / 'machine' / 'start.ld'}"
    sources = {
        "start": [
            *("-O1", "-ffreestanding", "-fno-pic", "-no-pie", "-mno-red-zone", script),
            *("-mgeneral-regs-only", "-fno-stack-protector", "-fcf-protection=none"),
            *("-fno-tree-loop-distribute-patterns", str(HERE / "machine" / "start.c")),
        ],
        "rom": ["-Wl,-Ttext=0xffff0000,-e,0xffff0000", str(HERE / "machine" / "rom.S")],
    }
    pieces = []
    for name, arguments in sources.items():
        linked, piece = folder / f"{name}.elf", folder / f"{name}.bin"
        run([*compiler, *arguments, "-o", linked])
        loaded = ["--set-section-flags", ".all=alloc,load,contents", "-R", ".note*"]
        run([required("objcopy"), "-O", "binary", *loaded, linked, piece])
        pieces.append(piece.read_bytes())
    start, rom = pieces
    assert len(start) <= PROGRAM_AT
    assert len(rom) == ROM_BYTES
    return start, rom


def run_under_bochs(program: Path, model: str) -> Hashes:
    """Run a static program alone on an emulated processor, without an operating system."""
    folder = program.parent
    start, rom = build_machine(folder)
    image = bytearray(IMAGE_BYTES)
    content = program.read_bytes()
    assert PROGRAM_AT + len(content) <= IMAGE_BYTES - ROM_BYTES
    image[: len(start)] = start
    image[PROGRAM_AT : PROGRAM_AT + len(content)] = content
    image[-ROM_BYTES:] = rom
    (folder / "image").write_bytes(image)
    printed = folder / "serial"
    (folder / "bochsrc").write_text(
        f"cpu: model={model}\n"
        "memory: guest=1024, host=1024\n"
        f"romimage: file={folder / 'image'}\n"
        "vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest\n"
        f"com1: enabled=1, mode=file, dev={printed}\n"
        f"log: {folder / 'log'}\n"
        "display_library: term\n"
        "speaker: enabled=0\n"
        "sound: waveoutdrv=dummy\n"
        "panic: action=fatal\n"
    )
    (folder / "debugger").write_text("c\nq\n")  # for a Bochs that was built with its debugger
    options = ["-q", "-rc", str(folder / "debugger"), "-f", str(folder / "bochsrc")]
    shown = run_in_terminal([required(BOCHS), *options])
    assert printed.exists(), shown
    *lines, end = printed.read_text().splitlines()
    assert end == f"exit {0:016x}", [*lines, end]
    return parse("\n".join(lines))


def run_in_terminal(command: Sequence[str]) -> str:
    """Run a program that draws on a terminal, until it ends, and return what it drew."""
    ours, its = pty.openpty()
    drawn: list[bytes] = []

    def read() -> None:
        while chunk := read_terminal(ours):
            drawn.append(chunk)

    environment = os.environ | {"TERM": "xterm"}
    environment.setdefault("BXSHARE", "/usr/share/bochs")
    reader = threading.Thread(target=read)
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        reader.start()
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
    reader.join()
    os.close(ours)
    return b"".join(drawn).decode(errors="replace")


def read_terminal(terminal: int) -> bytes:
    """Read what was drawn; nothing when the program is gone, which Linux reports as an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""

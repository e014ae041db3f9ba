"""For tests of shell scripts: the command `isobatch`, which need not be installed."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment_with_isobatch(folder: Path) -> dict[str, str]:
    """The variables of a shell that has the command; a program in `folder` runs it."""
    program = folder / "bin/isobatch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m isobatch "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "ISOBATCH_THREADS": "1"}

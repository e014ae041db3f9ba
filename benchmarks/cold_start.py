"""Cold start: `isobatch classify` with one text in a new process, over `import torch` in another.

The two take turns. Invariant: whole processes are compared, from start to exit.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.result_files import log
from benchmarks.schema import ColdStart

_CLASSIFY = ("-m", "isobatch", "classify", "Today is a nice day!")
_IMPORT_TORCH = ("-c", "import torch")


def measure_cold_start(runs: int) -> ColdStart:
    """Run both commands so often, after one untimed run of each, which fills the file cache."""
    log("cold start")
    commands = (_CLASSIFY, _IMPORT_TORCH)
    for command in commands:
        _seconds(command)
    turns = [[_seconds(command) for command in commands] for _ in range(runs)]
    return {
        "command": f"python {' '.join(_CLASSIFY[:3])} TEXT",
        "classify": [classify for classify, _ in turns],
        "import_torch": [imported for _, imported in turns],
    }


def seconds_over_import(result: ColdStart) -> float:
    """Return the difference of the medians."""
    return statistics.median(result["classify"]) - statistics.median(result["import_torch"])


def _seconds(arguments: Sequence[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise BenchmarkError(f"{' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")
    return seconds

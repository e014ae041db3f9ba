"""What the run stood on: processor, instruction sets, threads, versions. Read from /proc and pip.

It imports no measured library. Invariant: nothing here names this machine's user, host or folders.
"""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.engines import ENGINES

NOT_INSTALLED = "not-installed"
_INSTRUCTION_SETS = re.compile(r"sse4_\d|avx.*|fma|f16c|amx.*|asimd.*|sve.*|bf16|i8mm")


def describe_machine() -> dict[str, Any]:
    """Return the processor, its instruction sets, memory, system and load."""
    cpuinfo = _fields(Path("/proc/cpuinfo"))
    memory = _fields(Path("/proc/meminfo")).get("MemTotal", "0").split()[0]
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    return {
        "cpu": cpuinfo.get("model name", platform.processor()),
        "instruction_sets": sorted(flag for flag in flags if _INSTRUCTION_SETS.fullmatch(flag)),
        "cores": usable_cores(),
        "memory_gb": round(int(memory) * 1024 / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def library_versions() -> dict[str, str]:
    """Return the version of Python and of every library that an engine is built of."""
    packages = {package for spec in ENGINES for package in spec.packages} | {"numpy"}
    python = {"python": platform.python_version()}
    return python | {package: installed_version(package) for package in sorted(packages)}


def installed_version(package: str) -> str:
    """Return a package's version, or NOT_INSTALLED (a checkout may run without being installed)."""
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _fields(path: Path) -> dict[str, str]:
    """Return a /proc file's `key : value` lines, the first of each key."""
    fields: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields

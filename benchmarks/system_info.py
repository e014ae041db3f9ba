"""The machine and software of a run: processor, instruction sets, versions, from /proc and pip.

It imports none of the measured libraries, and records no user, host or folder name.
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
    """Describe the processor, its instruction sets, memory, system and load."""
    cpuinfo = _fields(Path("/proc/cpuinfo"))
    memory = _fields(Path("/proc/meminfo")).get("MemTotal", "0").split()[0]
    return {
        "cpu": cpuinfo.get("model name", platform.processor()),
        "instruction_sets": cpu_flags(),
        "cores": usable_cores(),
        "memory_gb": round(int(memory) * 1024 / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def cpu_flags() -> list[str]:
    """List the processor's instruction sets, by their names in /proc/cpuinfo."""
    cpuinfo = _fields(Path("/proc/cpuinfo"))
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    return sorted(flag for flag in flags if _INSTRUCTION_SETS.fullmatch(flag))


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def library_versions() -> dict[str, str]:
    """List the versions of Python and of every library that an engine needs."""
    packages = {package for spec in ENGINES for package in spec.packages} | {"numpy"}
    python = {"python": platform.python_version()}
    return python | {package: installed_version(package) for package in sorted(packages)}


def installed_version(package: str) -> str:
    """Return a package's version, or NOT_INSTALLED (as in a checkout that is not installed)."""
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _fields(path: Path) -> dict[str, str]:
    """Parse a /proc file's `key : value` lines, the first of each key."""
    fields: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields

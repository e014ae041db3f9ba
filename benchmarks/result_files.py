"""Result files: one JSON file a run, named by its date, under results/.

Those of the engines and of training have a folder for each kind of machine: a run replaces what is
shown of its own kind, and of no other.
"""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.machine_kinds import MACHINE_KINDS, MachineKind, kind_of

RESULTS = Path(__file__).parent / "results"
ENGINES_RESULTS = RESULTS / "engines"


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write the result to a file named by its date; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(result["date"]).strftime("%Y-%m-%dT%H%M%SZ")
    path = folder / f"{stamp}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def write_result_by_kind(result: Mapping[str, Any], folder: Path) -> Path:
    """Write a result to the folder of its kind of machine; return the file."""
    return write_result(result, folder / kind_of(result["machine"]).name)


def newest_by_kind(folder: Path = ENGINES_RESULTS) -> list[tuple[MachineKind, Any]]:
    """Read the newest result of each kind of machine that has one, in the order of the kinds."""
    files = {kind: sorted((folder / kind.name).glob("*.json")) for kind in MACHINE_KINDS}
    return [
        (kind, json.loads(found[-1].read_text(encoding="utf-8")))
        for kind, found in files.items()
        if found
    ]


def read_newest(folder: str = "", key: str = "date") -> Any:
    """Read the newest result in a folder of results/ that has a value for the key."""
    for path in sorted((RESULTS / folder).glob("*.json"), reverse=True):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.get(key):
            return result
    raise FileNotFoundError(f"{RESULTS / folder}: no result file with {key!r}")


def log(message: str) -> None:
    """Print progress to stderr: stdout is for results."""
    print(message, file=sys.stderr, flush=True)

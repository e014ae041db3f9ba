"""Result files: one JSON file a run, named by its date, under results/."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write the result to a file named by its date; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(result["date"]).strftime("%Y-%m-%dT%H%M%SZ")
    path = folder / f"{stamp}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


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

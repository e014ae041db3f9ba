"""How a run tells where it is, and where its result goes. It knows no result's shape."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write the result to a file named by its date; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(result["date"]).strftime("%Y-%m-%dT%H%M%SZ")
    path = folder / f"{stamp}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def say(message: str) -> None:
    """Tell on stderr, where no result goes."""
    print(message, file=sys.stderr, flush=True)

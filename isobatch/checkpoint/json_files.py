"""Reading the JSON files of a checkpoint folder, with errors that name file, line and column."""

import json
from pathlib import Path

from isobatch.errors import CheckpointError


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object from a file. Raises CheckpointError with file, line and column."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file, and a checkpoint folder must contain it"
        ) from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}:{error.lineno}:{error.colno}: {error.msg}") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: contains {type(content).__name__}, expected a JSON object")
    return content

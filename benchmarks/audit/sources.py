"""Counts in the source of the transformers that is installed: which models have a name in them.

It reads files and runs no model. Invariant: one family is one folder of transformers/models.
"""

import re
from functools import cache
from pathlib import Path

import transformers

_MODELS = Path(transformers.__file__).parent / "models"


@cache
def model_sources() -> dict[str, str]:
    """Folder of a family to the text of its modeling files."""
    folders = sorted(path for path in _MODELS.iterdir() if path.is_dir() and path.name[0] != "_")
    return {
        folder.name: "\n".join(
            path.read_text(encoding="utf-8") for path in sorted(folder.glob("modeling_*.py"))
        )
        for folder in folders
    }


def families_with(pattern: str) -> set[str]:
    """Families whose modeling files have a match."""
    found = re.compile(pattern, re.MULTILINE)
    return {name for name, text in model_sources().items() if found.search(text)}


def num_matches(family: str, pattern: str) -> int:
    """How often it occurs in one family's modeling files."""
    return len(re.findall(pattern, model_sources()[family]))

"""Digests of a checkpoint's files: of its weights, and of all that a prediction can depend on.

Invariant: equal digests mean equal predictions on one machine.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from isobatch.checkpoint.sentence_modules import module_files
from isobatch.checkpoint.source import CONFIG_FILES, TOKENIZER_FILES
from isobatch.checkpoint.weight_files import weight_files


def weights_digest(folder: Path) -> str:
    """Compute SHA-256 over the files that the weights in `folder` are read from, in their order."""
    return _digest(weight_files(folder))


def checkpoint_digest(folder: Path) -> str:
    """Compute SHA-256 over configuration, tokenizer and weights of the checkpoint in `folder`."""
    others = [folder / name for name in (*CONFIG_FILES, *TOKENIZER_FILES)]
    named = (path for path in others if path.is_file())
    return _digest([*named, *module_files(folder), *weight_files(folder)])


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

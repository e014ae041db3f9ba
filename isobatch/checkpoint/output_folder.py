"""Checkpoint folders that a command writes: atomically, with the files that belong to weights.

Invariant: under its own name a folder is complete; one whose writing failed is removed.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from isobatch.checkpoint.sentence_modules import module_files
from isobatch.checkpoint.source import CONFIG_FILES, SENTENCEPIECE_FILES, TOKENIZER_FILES
from isobatch.errors import CheckpointError, OptionError

_TOKENIZER = (*TOKENIZER_FILES, *SENTENCEPIECE_FILES)
_DOCUMENTS = ("README.md", "LICENSE", "LICENSE.txt", "NOTICE")
"""With the models of SentencePiece, the files that Isobatch does not read, but transformers or
people do."""


TRAINING_RECORD = "train.json"
"""The file that a training writes next to its weights."""


def require_free(out: Path, folder: Path) -> None:
    """Raise OptionError unless `out` is new or an empty folder, and not `folder` itself.

    It must not be in the output of a training either.
    """
    if out == folder.resolve():
        raise OptionError(f"{out}: is the checkpoint itself. Use another output folder")
    if trained := trained_parent(out):
        raise OptionError(
            f"{out}: is in {trained}, the output of a training, which replaces it as a whole. Use "
            "another output folder"
        )
    if out.exists() and not out.is_dir():
        raise OptionError(f"{out}: is a file. Use an output folder")
    if out.is_dir() and any(out.iterdir()):
        raise OptionError(f"{out}: is not empty. Use a new folder or empty this one")


def trained_parent(out: Path) -> Path | None:
    """Return the output of a training that `out` would be in; a file of texts may have the name."""
    wanted = (TRAINING_RECORD, "model.safetensors")
    parents = out.resolve().parents
    return next((e for e in parents if all((e / name).is_file() for name in wanted)), None)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `out`, renamed to `out` on success and removed on error."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        try:
            yield partial
            partial.replace(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"{out}: cannot be written: {error}. Use a folder in a writable location"
        ) from error


def copy_companions(folders: Sequence[Path], out: Path) -> None:
    """Copy tokenizer, modules of sentence-transformers and documents to `out`.

    Of each kind, all files of the first of `folders` that has any: those of two folders may not
    belong together.
    """
    for names in (_TOKENIZER, _DOCUMENTS):
        _copy_first(folders, out, [[folder / name for name in names] for folder in folders])
    modules = [
        [*(folder / name for name in CONFIG_FILES[1:]), *module_files(folder)] for folder in folders
    ]
    _copy_first(folders, out, modules)


def _copy_first(folders: Sequence[Path], out: Path, paths: Sequence[Sequence[Path]]) -> None:
    for folder, named in zip(folders, paths, strict=True):
        found = [path for path in named if path.is_file()]
        for path in found:
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        if found:
            return

"""Why a file of a checkpoint cannot be read: permission, a broken link, or another file's content.

Invariant: the file itself is named, and the command or step that makes it readable.
"""

import errno
import json
import os
import shlex
import stat
from pathlib import Path

from isobatch.errors import CheckpointError

_AGAIN = "Copy or download it again"
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
_ARCHIVES = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_HDF5 = b"\x89HDF"
_HEADER_LENGTH = 8
"""Bytes of a safetensors file that hold the length of its header."""


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """Describe why reading `path` failed with `error`, by what is there."""
    return CheckpointError(f"{path}: {_reason(path, error)}")


def is_there(path: Path) -> bool:
    """Return whether an entry of that name exists, also as a broken link or a folder."""
    try:
        return path.is_symlink() or path.exists()
    except PermissionError as error:
        raise unreadable(path, error) from error


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError) or _is_denied(path):
        return _denied(path)
    if path.is_symlink() and not path.exists():
        return (
            f"is a symbolic link to {path.readlink()}, which does not exist. Restore that file, "
            "or replace the link by a copy of it"
        )
    if path.is_dir():
        return (
            "is a folder, not a file; Docker creates one where a mounted file does not exist. "
            f"Remove it (rmdir {shlex.quote(str(path))}), and copy the file there"
        )
    if not path.exists():
        return "no such file, and a checkpoint folder must contain it"
    return _content(path, error)


def _is_denied(path: Path) -> bool:
    """Return whether the system refuses access: libraries report it as any kind of error."""
    try:
        with path.open("rb"):
            return False
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EPERM)


def _denied(path: Path) -> str:
    """Name the entry that denies access: the file, or the first folder above it."""
    effective = os.access in os.supports_effective_ids
    folders = [
        folder
        for folder in reversed(path.absolute().parents)
        if not os.access(folder, os.X_OK, effective_ids=effective)
    ]
    entry, needed = (folders[0], "a+rx") if folders else (path, "a+r")
    try:
        mode = stat.filemode(entry.stat().st_mode)
        found = f"{'the folder ' + str(entry) if folders else 'its mode'} is {mode}"
    except OSError:
        found = f"{entry} is not accessible"
    return (
        f"this process has no permission to read it ({found}). "
        f"Grant it: chmod {needed} {shlex.quote(str(entry))}"
    )


def _content(path: Path, error: Exception) -> str:
    """Describe a file that can be opened, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as failure:
        return f"cannot be read: {failure}. {_AGAIN}"
    if (foreign := describe_foreign(path, start)) is not None:
        return foreign
    if path.suffix != ".json":
        return _tensor_file(path, start, error)
    return f"cannot be read: {error}. {_AGAIN}"


def describe_foreign(path: Path, start: bytes) -> str | None:
    """Describe by its first bytes a file that is certainly another one than its name says."""
    if not start:
        return f"is empty (0 bytes). {_AGAIN}"
    if start.startswith(_LFS):
        folder = shlex.quote(str(path.parent))
        return (
            "is a Git LFS pointer, not the file itself. Download the files that the pointers name: "
            f"git -C {folder} lfs pull"
        )
    if start.lstrip().lower().startswith(_PAGES):
        return (
            "is a web page, not the file that it is named after. Download it again from an address "
            "with /resolve/ (not /blob/) in it, or with `hf download`"
        )
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            return f"is compressed ({name}). Decompress it under the same name"
    return None


def _tensor_file(path: Path, start: bytes, error: Exception) -> str:
    if start.startswith((*_PICKLES, _HDF5)):
        name = "tf_model.h5" if start.startswith(_HDF5) else "pytorch_model.bin"
        kind = "an HDF5 file of TensorFlow" if start.startswith(_HDF5) else "a pickle of torch.save"
        old, new = (shlex.quote(str(each)) for each in (path, path.with_name(name)))
        return (
            f"not a safetensors file but {kind}, which is never loaded. Rename it, and load it "
            f"again to get the command that converts it: mv {old} {new}"
        )
    size, expected = path.stat().st_size, _expected_size(path)
    if expected is not None and size != expected:
        state = "truncated" if size < expected else "longer than its header says"
        return f"{state}: it has {size:,} bytes, and its header declares {expected:,}. {_AGAIN}"
    return f"truncated or not a safetensors file ({error}). {_AGAIN}"


def _expected_size(path: Path) -> int | None:
    """Compute the size of a safetensors file from its header; None without a header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        if length > path.stat().st_size:
            return None
        try:
            header = json.loads(file.read(length))
            tensors = [each for name, each in header.items() if name != "__metadata__"]
            return _HEADER_LENGTH + length + max(int(each["data_offsets"][1]) for each in tensors)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
            return None

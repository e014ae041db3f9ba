"""Reading a file of torch.save without executing anything that it contains.

torch's restricted unpickler (weights_only) builds tensors and plain containers, and stops at
anything else that a pickle names. Its known faults, CVE-2025-32434 and CVE-2026-24747, are fixed
from torch 2.10 on, and this package requires a later one. Invariant: before torch sees the file,
its container is known to be one that torch.save writes; names that the process allowed do not
count.
"""

import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from isobatch.checkpoint.unreadable import describe_foreign, unreadable
from isobatch.errors import CheckpointError

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02"
"""The start of a file of torch.save: since torch 1.6, and before."""

_TAR = 257, b"ustar"
_NAMED = re.compile(r"GLOBAL (\S+)|function (.+)")
_ALONE = (
    "Ask its author for safetensors, or for a file that has nothing but model.state_dict(), as "
    "written by torch.save"
)
_AGAIN = "Copy or download it again"


def read_pickle(path: Path) -> object:
    """Read what torch.save wrote to `path`; tensors are on the CPU, mapped where possible.

    Raises CheckpointError for a file that cannot be read, or that is more than tensors in plain
    containers; nothing of it has been executed then.
    """
    zipped = _check_container(path)
    try:
        with _only_tensors():
            loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a hostile file can make torch raise any
        raise CheckpointError(f"{path}: {_describe(error)}") from error
    return loaded


@contextmanager
def _only_tensors() -> Iterator[None]:
    """Withdraw what this process allowed in pickles, and keep torch's advice to allow more away."""
    allowed = get_safe_globals()
    clear_safe_globals()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        add_safe_globals(allowed)


def _describe(error: Exception) -> str:
    said = str(error)
    if found := _NAMED.search(said):
        return (
            f"has more than tensors: it names {found[1] or found[2]}, which could run code. It was "
            f"rejected, and nothing in it was executed. {_ALONE}"
        )
    if "Weights only load failed" in said:
        return (
            "has instructions that tensors do not need. It was rejected, and nothing in it was "
            f"executed. {_ALONE}"
        )
    first = said.partition("\n")[0]
    return f"truncated or damaged ({type(error).__name__}: {first}). {_AGAIN}"


def _check_container(path: Path) -> bool:
    """Return whether the file is a zip archive; raise CheckpointError for one that is neither."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise unreadable(path, error) from error
    if start.startswith(_ZIP):
        _check_archive(path)
        return True
    offset, magic = _TAR
    if start[offset : offset + len(magic)] == magic:
        raise CheckpointError(
            f"{path}: is a tar archive, as torch wrote until 2017, which is not supported. {_ALONE}"
        )
    if start.startswith(_LEGACY):
        return False
    if start[8:9] == b"{":
        new = path.with_name("model.safetensors")
        raise CheckpointError(f"{path}: is a safetensors file. Rename it: mv {path} {new}")
    if start.startswith(b"\x80"):
        raise CheckpointError(f"{path}: is a pickle, but not a file of torch.save. {_ALONE}")
    reason = describe_foreign(path, start) or f"not a file of torch.save. {_AGAIN}"
    raise CheckpointError(f"{path}: {reason}")


def _check_archive(path: Path) -> None:
    """Raise CheckpointError for an archive that is not one of torch.save.

    torch.save stores its parts one after the other, without compression; an archive that unpacks to
    more than its own size is made to fill the memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise CheckpointError(f"{path}: truncated or damaged ({error}). {_AGAIN}") from error
    names = [part.filename for part in parts]
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path}: is a TorchScript program, not a state_dict. {_ALONE}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(f"{path}: is a zip archive, but not one of torch.save. {_AGAIN}")
    compressed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
    if compressed or sum(part.file_size for part in parts) > path.stat().st_size:
        raise CheckpointError(
            f"{path}: has compressed or overlapping parts, which torch.save does not write. It was "
            f"rejected unread. {_ALONE}"
        )

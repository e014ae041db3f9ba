"""Files that try to act when they are read, or to fill the memory; each is written by a function.

A file that acts creates the file `mark`. `ACTING` names the ones that do so under pickle itself or
under torch's unrestricted reader, which is the control.
"""

import builtins
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

Write = Callable[[Path, Path], None]
"""Writes a file, which is to create the second path when it is read."""


class _Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _expression(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()"


def system(path: Path, mark: Path) -> None:
    torch.save({"weight": _Calls(os.system, f"touch '{mark}'")}, path)


def evaluated(path: Path, mark: Path) -> None:
    torch.save({"weight": _Calls(builtins.eval, _expression(mark))}, path)


def in_optimizer_state(path: Path, mark: Path) -> None:
    """Next to a good state_dict, in an entry that is not used."""
    acts = _Calls(builtins.exec, _expression(mark))
    torch.save({"state_dict": {"a": torch.ones(2)}, "optimizer_states": [acts]}, path)


def legacy(path: Path, mark: Path) -> None:
    """In the format of torch before 1.6, which is several pickles one after the other."""
    acts = {"weight": _Calls(builtins.eval, _expression(mark))}
    torch.save(acts, path, _use_new_zipfile_serialization=False)


def plain_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(_Calls(builtins.eval, _expression(mark)), protocol=2))


def newer_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(_Calls(builtins.eval, _expression(mark)), protocol=4))


def state_setter(path: Path, mark: Path) -> None:
    """A class of torch whose __setstate__ runs code that its state contains."""
    module = torch.nn.Linear(2, 2)
    module.register_load_state_dict_post_hook(_Calls(builtins.eval, _expression(mark)))
    torch.save(module, path)


def compiled_code(path: Path, mark: Path) -> None:
    """By a global that is reached through an allowed one: torch's own module of unpickling."""
    text = _expression(mark).encode()
    body = b"cbuiltins\neval\n" + b"X" + struct.pack("<I", len(text)) + text + b"\x85R."
    _archive(path, {"data.pkl": b"\x80\x02" + body})


def attribute_of_allowed(path: Path, mark: Path) -> None:
    """getattr on an allowed class, to reach the modules behind it."""
    text = _expression(mark).encode()
    wanted = b"X\x0b\x00\x00\x00__globals__"
    body = b"cbuiltins\ngetattr\nctorch._utils\n_rebuild_tensor_v2\n" + wanted + b"\x86R"
    body += b"X" + struct.pack("<I", len(text)) + text + b"\x86."
    _archive(path, {"data.pkl": b"\x80\x02" + body})


ACTING: dict[str, Write] = {
    each.__name__: each
    for each in (system, evaluated, in_optimizer_state, legacy, plain_pickle, newer_pickle)
}
CRAFTED: dict[str, Write] = {
    each.__name__: each for each in (state_setter, compiled_code, attribute_of_allowed)
}


# ------------------------------------------------------------------------------ odd containers


def _archive(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in ({"version": b"3\n", "byteorder": b"little"} | parts).items():
            archive.writestr(f"archive/{name}", content)


def zip_bomb(path: Path) -> None:
    """A thousand times its size when it is unpacked."""
    whole = io.BytesIO()
    torch.save({"weight": torch.zeros(4_000_000)}, whole)
    with (
        zipfile.ZipFile(whole) as stored,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in stored.infolist():
            packed.writestr(part.filename, stored.read(part))


def overlapping_parts(path: Path) -> None:
    """Two entries of one part: together they are larger than the file."""
    torch.save({"weight": torch.zeros(4_000)}, path)
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    size, start = struct.unpack("<II", content[end + 12 : end + 20])
    directory = content[start : start + size]
    count = struct.unpack("<H", content[end + 10 : end + 12])[0]
    doubled = struct.pack("<HHII", count * 2, count * 2, size * 2, start)
    path.write_bytes(content[:start] + directory * 2 + b"PK\x05\x06\0\0\0\0" + doubled + b"\0\0")


def truncated(path: Path) -> None:
    torch.save({"weight": torch.zeros(400)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def truncated_legacy(path: Path) -> None:
    torch.save({"weight": torch.zeros(400)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])


def zip_of_something(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")


def tar(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def torchscript(path: Path) -> None:
    _archive(path, {"data.pkl": b"\x80\x02}.", "constants.pkl": b"\x80\x02)."})


def huge_storage(path: Path) -> None:
    """A legacy file that announces a storage of 4 TB and has none."""
    torch.save({"weight": torch.zeros(77)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    announced = b"K\x4d"  # 77, as pickle writes it, of the storage and of the shape
    path.write_bytes(content.replace(announced, b"\x8a\x06" + (10**12).to_bytes(6, "little")))


def sparse(path: Path) -> None:
    torch.save({"weight": torch.eye(3).to_sparse()}, path)


def on_no_device(path: Path) -> None:
    torch.save({"weight": torch.ones(3, device="meta")}, path)


def only_numbers(path: Path) -> None:
    torch.save({"epoch": 3, "name": "x"}, path)


def a_list(path: Path) -> None:
    torch.save([torch.ones(2)], path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def git_lfs(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def web_page(path: Path) -> None:
    path.write_text("<!doctype html><title>Not found</title>")


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(255, 0, -1)) * 8)


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    each.__name__: (each, says)
    for each, says in (
        (zip_bomb, "compressed or overlapping parts"),
        (overlapping_parts, "compressed or overlapping parts"),
        (truncated, "truncated or damaged"),
        (truncated_legacy, "truncated or damaged"),
        (zip_of_something, "a zip archive, but not one of torch.save"),
        (tar, "a tar archive, as torch wrote until 2017"),
        (torchscript, "a TorchScript program"),
        (huge_storage, "truncated or damaged"),
        (sparse, "not an ordinary tensor but"),
        (on_no_device, "not an ordinary tensor but"),
        (only_numbers, "has no tensors, but epoch, name"),
        (a_list, "has a list, not a state_dict"),
        (empty, "is empty (0 bytes)"),
        (git_lfs, "is a Git LFS pointer"),
        (web_page, "is a web page"),
        (noise, "not a file of torch.save"),
    )
}
"""The function that writes each file, and part of the message about it."""

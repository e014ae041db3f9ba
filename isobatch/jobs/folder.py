"""Where a job keeps what is done: OUTPUT's folder/.isobatch/OUTPUT's name.

`manifest.json` says what the work is of, `chunks/` holds finished chunks, `chunks.jsonl` is the
ledger that commits each of them, `finished.json` the digest of the finished output. It knows no
rows and no models. Invariant: a chunk counts only if the ledger has its line and the chunk its
digest, so that a process may die between any two instructions.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import BinaryIO

from isobatch.errors import JobError
from isobatch.jobs.durable import (
    Written,
    append_durably,
    cannot_write,
    digest,
    fill_durably,
    measure,
    write_durably,
)
from isobatch.jobs.manifest import Manifest, differences
from isobatch.jobs.summary import Counts

WORK = ".isobatch"


@dataclass(frozen=True, slots=True)
class KeptChunk:
    """A line of the ledger."""

    index: int
    written: Written
    counts: Counts


class JobFolder:
    """The work on one output. Use it inside `locked()`."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.parent / WORK / output.name
        self._num_kept = 0
        self._chunks = self.path / "chunks"
        self.ledger = self.path / "chunks.jsonl"
        self._manifest = self.path / "manifest.json"
        self._finished = self.path / "finished.json"
        self._replaceable = self.path / "replaceable"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away; the lock goes with the process, however it ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("wb")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JobError(
                    f"{self.output}: another run is writing it; wait for it, or stop it"
                ) from None
            yield

    def open(self, manifest: Manifest) -> list[KeptChunk]:
        """Begin the work, or go on with it: the chunks that are kept, in order.

        JobError if what is there is of another job, or was not made by a job at all.
        """
        before = self._read_manifest()
        if before is None:
            self._refuse_foreign_output()
            self._begin(manifest)
            return []
        if changed := differences(before, manifest):
            raise JobError(
                f"{self.output}: the work that is kept for it is of another job. "
                + "; ".join(changed)
                + ". Put it back, choose another output, or begin anew with --restart"
            )
        if self._finished.exists() and not self.output.exists():
            self._begin(manifest)
        return self._kept_chunks()

    def forget(self) -> None:
        """Drop all work on the output; the output itself may then be replaced, and not before."""
        try:
            self._replaceable.touch()
        except OSError as error:
            raise cannot_write(self._replaceable, error) from error
        self._clear()

    def _read_manifest(self) -> Manifest | None:
        if not self._manifest.exists():
            return None
        try:
            manifest: Manifest = json.loads(self._manifest.read_bytes())
        except (OSError, ValueError) as error:
            raise JobError(
                f"{self._manifest}: cannot be read ({error}); begin anew with --restart"
            ) from error
        return manifest

    def _refuse_foreign_output(self) -> None:
        if self.output.exists() and not self._replaceable.exists():
            raise JobError(
                f"{self.output}: is there already, and there is no record of a job that wrote it; "
                "choose another output, or replace it with --restart"
            )

    def _begin(self, manifest: Manifest) -> None:
        self._clear()
        try:
            self._chunks.mkdir()
        except OSError as error:
            raise cannot_write(self._chunks, error) from error
        write_durably(self._manifest, json.dumps(manifest, indent=2).encode() + b"\n")
        self._replaceable.unlink(missing_ok=True)

    def _clear(self) -> None:
        """The manifest goes first: without it, nothing else counts."""
        for path in (self._manifest, self._finished, self.ledger):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._chunks, ignore_errors=True)

    def _kept_chunks(self) -> list[KeptChunk]:
        """Read the ledger; a torn last line, which was never committed, is cut off."""
        content = self.ledger.read_bytes() if self.ledger.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_durably(self.ledger, whole)
        kept = [_parse(line) for line in whole.splitlines()]
        for chunk in kept if not self._finished.exists() else ():
            self._verify(chunk)
        self._num_kept = len(kept)
        return kept

    def _verify(self, chunk: KeptChunk) -> None:
        path = self._chunk_path(chunk.index)
        if not path.exists() or measure(path) != chunk.written:
            raise JobError(
                f"{path}: is not as it was written; something changed or removed it. "
                "Begin anew with --restart"
            )

    def chunk_paths(self) -> list[Path]:
        """The chunks that are kept, in order."""
        return [self._chunk_path(index) for index in range(self._num_kept)]

    def _chunk_path(self, index: int) -> Path:
        return self._chunks / f"{index:06d}"

    def commit(self, index: int, content: bytes, counts: Counts) -> None:
        """Keep a chunk for good. When this returns, no crash can lose it."""
        write_durably(self._chunk_path(index), content)
        line = {"chunk": index, **asdict(digest(content)), "counts": counts.as_dict()}
        append_durably(self.ledger, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._num_kept += 1

    def is_finished(self) -> bool:
        """Whether the output was written, and is as it was. JobError if it was changed since."""
        if not self._finished.exists():
            return False
        if measure(self.output) != Written(**json.loads(self._finished.read_bytes())):
            raise JobError(
                f"{self.output}: was finished, and changed since; choose another output, or "
                "replace it with --restart"
            )
        return True

    def finish(self, fill: Callable[[BinaryIO], object]) -> None:
        """Let `fill` write the output, put it under its name, and let the chunks go."""
        fill_durably(self.output, fill, partial=self.path / "output.partial")
        record = json.dumps(asdict(measure(self.output))).encode() + b"\n"
        write_durably(self._finished, record)
        shutil.rmtree(self._chunks, ignore_errors=True)


def count_kept(output: Path) -> Counts:
    """What the ledger of `output` says is done; to look on while another process works."""
    ledger = JobFolder(output).ledger
    content = ledger.read_bytes() if ledger.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    return reduce(add, (_parse(line).counts for line in whole.splitlines()), Counts())


def _parse(line: bytes) -> KeptChunk:
    entry = json.loads(line)
    written = Written(entry["bytes"], entry["sha256"])
    return KeptChunk(entry["chunk"], written, Counts(**entry["counts"]))

"""Where a job keeps what is done: OUTPUT's folder/.isobatch/OUTPUT's name.

`manifest.json` says what the work is of, `chunks/` holds finished chunks, `chunks.jsonl` is the
ledger that commits each of them, `finished.json` the digest of the finished output; `replaceable`
allows to write over what has the output's name. It knows no rows and no models. Invariant: a chunk
counts only if the ledger has its line and the chunk its digest, so that a process may die between
any two instructions.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from isobatch.errors import JobError
from isobatch.jobs.durable import (
    Written,
    append_durably,
    as_job_errors,
    cannot_write,
    digest,
    fill_durably,
    measure,
    sync_folder,
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
        self.finished = self.path / "finished.json"
        self._replaceable = self.path / "replaceable"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away; the lock goes with the process, however it ends."""
        with as_job_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("wb")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JobError(
                    f"{self.output}: another run is writing it; wait for it, or stop it"
                ) from None
            except OSError as error:
                raise cannot_write(self.path / "lock", error) from error
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
        if not self.finished.exists():
            self._refuse_foreign_output()
        elif self.output.exists():
            self._tidy()
        else:
            self._begin(manifest)
        return self._kept_chunks()

    def forget(self) -> None:
        """Drop all work on the output; the output itself may then be replaced, and not before."""
        self._allow_replacing()
        self._clear()

    def _allow_replacing(self) -> None:
        with as_job_errors(self._replaceable):
            self._replaceable.touch()
            sync_folder(self.path)

    def _read_manifest(self) -> Manifest | None:
        if not self._manifest.exists():
            return None
        try:
            manifest: Manifest = json.loads(self._manifest.read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable(self._manifest, error) from error
        if not isinstance(manifest, dict):
            raise _unreadable(self._manifest, "it is no record of a job")
        return manifest

    def _refuse_foreign_output(self) -> None:
        if self.output.exists() and not self._replaceable.exists():
            raise JobError(
                f"{self.output}: is there already, and there is no record of a job that wrote it; "
                "move it away, choose another output, or replace it with --restart"
            )

    def _begin(self, manifest: Manifest) -> None:
        self._clear()
        with as_job_errors(self.path):
            self._chunks.mkdir()
            self.ledger.touch()
            sync_folder(self.path.parent)
            sync_folder(self.output.parent)
        write_durably(self._manifest, json.dumps(manifest, indent=2).encode() + b"\n")

    def _clear(self) -> None:
        """The manifest goes first: without it, nothing else counts."""
        with as_job_errors(self.path):
            for path in (self._manifest, self.finished, self.ledger):
                path.unlink(missing_ok=True)
            shutil.rmtree(self._chunks, ignore_errors=True)
            sync_folder(self.path)  # no ledger of before may stand beside the next manifest

    def _tidy(self) -> None:
        """Let go what a finished job needs no more."""
        self._replaceable.unlink(missing_ok=True)
        shutil.rmtree(self._chunks, ignore_errors=True)

    def _kept_chunks(self) -> list[KeptChunk]:
        """Read the ledger; a torn last line, which was never committed, is cut off."""
        content, whole = _read_ledger(self.ledger)
        if whole != content:
            write_durably(self.ledger, whole)
        kept = _parse_ledger(self.ledger, whole)
        for chunk in kept if not self.finished.exists() else ():
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
        if not self.finished.exists():
            return False
        try:
            written = Written(**json.loads(self.finished.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise _unreadable(self.finished, error) from error
        if measure(self.output) != written:
            raise JobError(
                f"{self.output}: was finished, and changed since; choose another output, or "
                "replace it with --restart"
            )
        return True

    def finish(self, fill: Callable[[BinaryIO], object]) -> None:
        """Let `fill` write the output, put it under its name, and let the chunks go.

        JobError if something else was put there since the job began.
        """
        self._refuse_foreign_output()
        self._allow_replacing()  # else, after a kill below, our own output would look foreign
        fill_durably(self.output, fill, partial=self.path / "output.partial")
        record = json.dumps(asdict(measure(self.output))).encode() + b"\n"
        write_durably(self.finished, record)
        self._tidy()


def _read_ledger(ledger: Path) -> tuple[bytes, bytes]:
    """What it holds, and the whole lines of that."""
    try:
        content = ledger.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise _unreadable(ledger, error) from error
    return content, content[: content.rfind(b"\n") + 1]


def _parse_ledger(ledger: Path, whole: bytes) -> list[KeptChunk]:
    try:
        kept = [_parse(line) for line in whole.splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(ledger, error) from error
    if [chunk.index for chunk in kept] != list(range(len(kept))):
        raise _unreadable(ledger, "its chunks are not one after the other")
    return kept


def _parse(line: bytes) -> KeptChunk:
    entry = json.loads(line)
    written = Written(entry["bytes"], entry["sha256"])
    return KeptChunk(entry["chunk"], written, Counts(**entry["counts"]))


def _unreadable(path: Path, reason: object) -> JobError:
    return JobError(f"{path}: cannot be read ({reason}); begin anew with --restart")

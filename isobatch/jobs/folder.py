"""Saved work of a job, in .isobatch/OUTPUT next to the output.

`manifest.json` identifies the job, `chunks/` holds finished chunks, `chunks.jsonl` is the ledger
that commits each of them, `finished.json` the digest of the finished output, `runs.json` the
machines that computed it and where its inputs were; `replaceable` marks an output that may be
overwritten. Invariant: a chunk counts only if the ledger has its line and the
chunk has the digest of that line, so that a process may die between any two instructions.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from isobatch.errors import JobError
from isobatch.jobs.durable import (
    append_durably,
    digest_file,
    fill_atomically,
    sync_folder,
    write_atomically,
    write_errors,
)
from isobatch.jobs.exclusive_lock import exclusive_lock
from isobatch.jobs.manifest import MANIFEST_FORMAT, Manifest, describe_changes, portable_fix
from isobatch.scoring import RowCounts
from isobatch.tables import FileDigest


@dataclass(frozen=True, slots=True)
class SavedChunk:
    """A line of the ledger."""

    index: int
    digest: FileDigest
    counts: RowCounts


class JobFolder:
    """The saved work of one output. Use it inside `locked()`."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.parent / ".isobatch" / output.name
        self.ledger = self.path / "chunks.jsonl"
        self.finished = self.path / "finished.json"
        self._num_saved = 0
        self._chunks = self.path / "chunks"
        self._manifest = self.path / "manifest.json"
        self._runs = self.path / "runs.json"
        self._replaceable = self.path / "replaceable"

    def locked(self) -> AbstractContextManager[None]:
        """Exclude other runs of this output."""
        return exclusive_lock(self.path, self.output, "run")

    def open(self, manifest: Manifest) -> list[SavedChunk]:
        """Start the job or resume it; returns the saved chunks, in order.

        JobError if the saved work belongs to another job, or if no job wrote the output.
        """
        before = self.read_manifest()
        if before is None:
            self._refuse_foreign_output()
            self._start(manifest)
            return []
        if before.get("manifest") != MANIFEST_FORMAT:
            raise JobError(f"{self.output}: {other_format(before)}")
        if changed := describe_changes(before, manifest):
            fix = portable_fix(before, manifest, "finish it") or "Restore it"
            raise JobError(
                f"{self.output}: {changed}, so the saved progress is from a different job. "
                f"{fix}, choose another output, or start over with --restart"
            )
        if not self.finished.exists():
            self._refuse_foreign_output()
        elif self.output.exists():
            self._delete_leftovers()
        else:
            self._start(manifest)
        return self._read_saved_chunks()

    def discard(self) -> None:
        """Delete all saved work; only then may the output itself be replaced."""
        self._allow_replacing()
        self._clear()

    def _allow_replacing(self) -> None:
        with write_errors(self._replaceable):
            self._replaceable.touch()
            sync_folder(self.path)

    def record_run(self, run: Manifest) -> None:
        """Append the description of a run that computes rows, unless it equals the last one."""
        runs = self.read_runs()
        if runs[-1:] != [run]:
            write_atomically(self._runs, json.dumps([*runs, run], indent=2).encode() + b"\n")

    def read_runs(self) -> list[Manifest]:
        """Return the descriptions of the runs, the last one at the end; [] without any."""
        if not self._runs.exists():
            return []
        try:
            runs: list[Manifest] = json.loads(self._runs.read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable(self._runs, error) from error
        if not isinstance(runs, list) or not all(isinstance(each, dict) for each in runs):
            raise _unreadable(self._runs, "it is not a list of runs")
        return runs

    def read_manifest(self) -> Manifest | None:
        """Return the manifest of the saved work; None without any."""
        if not self._manifest.exists():
            return None
        try:
            manifest: Manifest = json.loads(self._manifest.read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable(self._manifest, error) from error
        if not isinstance(manifest, dict):
            raise _unreadable(self._manifest, "it is not a job manifest")
        return manifest

    def _refuse_foreign_output(self) -> None:
        if self.output.exists() and not self._replaceable.exists():
            raise JobError(
                f"{self.output}: already exists, and no job is recorded as its writer. Move it "
                "away, choose another output, or replace it with --restart"
            )

    def _start(self, manifest: Manifest) -> None:
        self._clear()
        with write_errors(self.path):
            self._chunks.mkdir()
            self.ledger.touch()
            sync_folder(self.path.parent)
            sync_folder(self.output.parent)
        write_atomically(self._manifest, json.dumps(manifest, indent=2).encode() + b"\n")

    def _clear(self) -> None:
        """Delete the manifest first: without it, nothing else counts."""
        with write_errors(self.path):
            for path in (self._manifest, self.finished, self.ledger, self._runs):
                path.unlink(missing_ok=True)
            shutil.rmtree(self._chunks, ignore_errors=True)
            sync_folder(self.path)  # an old ledger must never be found next to a new manifest

    def _delete_leftovers(self) -> None:
        """Delete files that a finished job no longer needs."""
        self._replaceable.unlink(missing_ok=True)
        shutil.rmtree(self._chunks, ignore_errors=True)

    def _read_saved_chunks(self) -> list[SavedChunk]:
        """Read the ledger; an incomplete last line, which was never committed, is cut off."""
        try:
            content = self.ledger.read_bytes() if self.ledger.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            saved = [_parse_line(line) for line in whole.splitlines()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(self.ledger, error) from error
        if [chunk.index for chunk in saved] != list(range(len(saved))):
            raise _unreadable(self.ledger, "its chunks are not consecutive")
        if whole != content:
            write_atomically(self.ledger, whole)
        for chunk in saved if not self.finished.exists() else ():
            self._verify(chunk)
        self._num_saved = len(saved)
        return saved

    def _verify(self, chunk: SavedChunk) -> None:
        path = self._chunk_path(chunk.index)
        if not path.exists() or digest_file(path) != chunk.digest:
            raise JobError(
                f"{path}: was changed or removed after it was saved. Start over with --restart"
            )

    def chunk_paths(self) -> list[Path]:
        """Return the paths of the saved chunks, in order."""
        return [self._chunk_path(index) for index in range(self._num_saved)]

    def _chunk_path(self, index: int) -> Path:
        return self._chunks / f"{index:06d}"

    def commit(self, content: bytes, counts: RowCounts) -> None:
        """Save the next chunk. Once this returns, no crash can lose it."""
        write_atomically(self._chunk_path(self._num_saved), content)
        digest = FileDigest(len(content), hashlib.sha256(content).hexdigest())
        line = {"chunk": self._num_saved, **asdict(digest), "counts": asdict(counts)}
        append_durably(self.ledger, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._num_saved += 1

    def is_finished(self) -> bool:
        """Return whether the output is complete; JobError if it was changed since."""
        digest = self.read_finished()
        if digest is None:
            return False
        if digest_file(self.output) != digest:
            raise JobError(
                f"{self.output}: was finished and has changed since. Choose another output, or "
                "replace it with --restart"
            )
        return True

    def read_finished(self) -> FileDigest | None:
        """Return the digest of the finished output; None before it is finished."""
        if not self.finished.exists():
            return None
        try:
            return FileDigest(**json.loads(self.finished.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise _unreadable(self.finished, error) from error

    def finish(self, fill: Callable[[BinaryIO], object]) -> None:
        """Let `fill` write the output, rename it to its final name, and delete the chunks.

        JobError if another file took that name since the job began.
        """
        self._refuse_foreign_output()
        self._allow_replacing()  # else, after a kill below, our own output would look foreign
        fill_atomically(self.output, fill, partial=self.path / "output.partial")
        record = json.dumps(asdict(digest_file(self.output))).encode() + b"\n"
        write_atomically(self.finished, record)
        self._delete_leftovers()


def other_format(manifest: Manifest) -> str:
    """Say that a manifest has another format, and what to do."""
    found = manifest.get("manifest")
    if isinstance(found, int) and found > MANIFEST_FORMAT:
        return (
            f"its work was saved by a newer version of Isobatch (manifest format {found}; this "
            f"version writes {MANIFEST_FORMAT}). Install that version, choose another output, or "
            "start over with --restart"
        )
    return (
        f"its work was saved by an older version of Isobatch (manifest format {found}; this "
        f"version writes {MANIFEST_FORMAT}), which recorded the processor and not the arithmetic, "
        "so the same bits cannot be guaranteed. Finish it with that version, choose another "
        "output, or start over with --restart"
    )


def _parse_line(line: bytes) -> SavedChunk:
    entry = json.loads(line)
    digest = FileDigest(entry["bytes"], entry["sha256"])
    return SavedChunk(entry["chunk"], digest, RowCounts(**entry["counts"]))


def _unreadable(path: Path, reason: object) -> JobError:
    return JobError(f"{path}: cannot be read ({reason}). Start over with --restart")

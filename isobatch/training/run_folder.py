"""The output folder of a training and the saved work of its run: new, interrupted or finished.

Saved work is in .isobatch/ next to the output, as that of `isobatch run`. Invariant: work is only
resumed, and a finished folder only taken as the result, if everything that the weights depend on is
as it was when the run began.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from isobatch.checkpoint import trained_parent
from isobatch.errors import JobError
from isobatch.jobs.durable import write_atomically, write_errors
from isobatch.jobs.exclusive_lock import exclusive_lock
from isobatch.jobs.manifest import differences
from isobatch.training.train_record import RECORD_NAME, weight_factors

FolderStatus = Literal["new", "interrupted", "finished"]


class RunFolder:
    """The saved work of one output folder. Use it inside `locked()`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        place = out.resolve()
        self.path = place.parent / ".isobatch" / place.name
        self.state = self.path / "state"
        self.log = self.path / "log.jsonl"
        self._begun = self.path / "training.json"

    def locked(self) -> AbstractContextManager[None]:
        """Exclude other trainings of this output."""
        return exclusive_lock(self.path, self.out, "training")

    def open(self, record: Mapping[str, Any], *, restart: bool = False) -> FolderStatus:
        """Begin the run of this record, or say that it is interrupted or finished.

        A run that was stopped before it saved a state has no work: it is new, and another may take
        its place. restart: discard saved work; a finished folder stays until another replaces it.
        JobError for saved work or a finished folder of another run, and for a folder that no
        training wrote.
        """
        self.check()
        factors = weight_factors(record)
        before = None if restart else self._read(self._begun)
        if before is not None and self.state.exists():
            self._refuse_changes(before, factors, "has saved work of another run")
            return "interrupted"
        if not restart and (done := self._read(self.out / RECORD_NAME)) is not None:
            self._refuse_changes(
                weight_factors(done), factors, "is the finished output of another run"
            )
            return "finished"
        self._refuse_other_files()
        self.discard()
        write_atomically(self._begun, json.dumps(factors, indent=2).encode() + b"\n")
        return "new"

    def discard(self) -> None:
        """Delete the saved work; first what it belongs to, without which none of it is read."""
        with write_errors(self.path):
            self._begun.unlink(missing_ok=True)
            self.log.unlink(missing_ok=True)
            if self.state.exists():
                shutil.rmtree(self.state)

    def check(self) -> None:
        """Raise JobError for an output that no training wrote, or that cannot be written.

        Also for one in the output of another training, whose restart would delete it.
        """
        parent = next(each for each in self.out.absolute().parents if each.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise JobError(
                f"{self.out}: the folder {parent} is not writable. Choose another output"
            )
        if trained := trained_parent(self.out):
            raise JobError(
                f"{self.out}: is in {trained}, the output of another training, which replaces it "
                "as a whole. Choose another output"
            )
        if self.out.is_dir() and not any(self.out.iterdir()):
            return
        if self.out.exists() and not (self.out / RECORD_NAME).is_file():
            what = "is a folder whose files" if self.out.is_dir() else "is a file, which"
            verb = "are" if self.out.is_dir() else "is"
            raise JobError(
                f"{self.out}: {what} {verb} not of a training, and would be replaced. Choose "
                "another folder"
            )

    def _refuse_other_files(self) -> None:
        """Raise JobError for files next to a finished training, which would be deleted with it."""
        record = self._read(self.out / RECORD_NAME) or {}
        present = {path.name for path in self.out.iterdir()} if self.out.is_dir() else set()
        if others := sorted(present - {*record.get("written", present)}):
            raise JobError(
                f"{self.out}: holds {others[0]}, which its training did not write, and which "
                "--restart would delete. Move it, or choose another folder"
            )

    def _refuse_changes(
        self, before: Mapping[str, object], factors: Mapping[str, object], problem: str
    ) -> None:
        if changes := differences(before, factors):
            more = f"; and {len(changes) - 5} more" if len(changes) > 5 else ""
            raise JobError(
                f"{self.out}: {problem} ({'; '.join(changes[:5])}{more}). Restore what has "
                "changed, choose another folder, or start over with --restart"
            )

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise JobError(f"{path}: cannot be read: {error}. Start over with --restart") from error
        if not isinstance(content, dict):
            raise JobError(f"{path}: is not of a training. Choose another folder")
        return content

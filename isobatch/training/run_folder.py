"""The output folder of a training and the saved work of its run: new, interrupted or finished.

Saved work is in .isobatch/ next to the output, as that of `isobatch run`. Invariant: work is only
resumed, and a finished folder only taken as the result, if everything that the weights depend on is
as it was when the run began.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isobatch.errors import JobError
from isobatch.jobs.durable import write_atomically, write_errors
from isobatch.jobs.exclusive_lock import exclusive_lock
from isobatch.jobs.manifest import differences
from isobatch.training.recipe import Recipe
from isobatch.training.train_record import RECORD_NAME, environment

if TYPE_CHECKING:
    from isobatch.training.dataset import LabelledTexts
    from isobatch.training.fine_tuning import TrainingRequest

MANIFEST_FORMAT = 1

FolderStatus = Literal["new", "interrupted", "finished"]
TrainingManifest = dict[str, Any]


def make_training_manifest(
    request: "TrainingRequest",
    recipe: Recipe,
    labels: Sequence[str],
    base_sha256: str,
    teacher_sha256: str | None = None,
) -> TrainingManifest:
    """Describe everything that the trained weights depend on, in plain values.

    The processor is not part of it: the instruction set is what decides the bits.
    """
    validation = request.validation
    weights = request.class_weights
    manifest = {
        "manifest": MANIFEST_FORMAT,
        "base_sha256": base_sha256,
        "recipe": recipe.as_dict(),
        "labels": list(labels),
        "class_weights": weights if isinstance(weights, str) else dict(weights),
        "texts": _describe_texts(request.texts),
        "validation": (
            {"share": request.validation_share}
            if validation is None
            else _describe_texts(validation)
        ),
        "teacher_sha256": teacher_sha256,
        "unlabelled": request.unlabelled and _describe_texts(request.unlabelled),
        "layers": request.layers,
        "environment": {n: each for n, each in environment().items() if n != "processor"},
    }
    plain: TrainingManifest = json.loads(json.dumps(manifest))
    return plain


def _describe_texts(texts: "LabelledTexts") -> dict[str, object]:
    """Return number and SHA-256 of texts with their labels and weights, not of their files."""
    digest = hashlib.sha256()
    weights = texts.weights or [1.0] * len(texts.texts)
    for row in zip(texts.texts, texts.values, weights, strict=True):
        digest.update(json.dumps(row, default=repr).encode() + b"\n")
    return {"number": len(texts.texts), "sha256": digest.hexdigest()}


class RunFolder:
    """The saved work of one output folder. Use it inside `locked()`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        place = out.resolve()
        self.path = place.parent / ".isobatch" / place.name
        self.state = self.path / "state"
        self.log = self.path / "log.jsonl"
        self._manifest = self.path / "training.json"

    def locked(self) -> AbstractContextManager[None]:
        """Exclude other trainings of this output."""
        return exclusive_lock(self.path, self.out, "training")

    def open(self, manifest: TrainingManifest, *, restart: bool = False) -> FolderStatus:
        """Begin the run, or say that it is interrupted or finished.

        restart: discard saved work; a finished folder stays until another replaces it. JobError for
        saved work or a finished folder of another run, and for a folder that no training wrote.
        """
        self.check()
        before = None if restart else self._read(self._manifest)
        if before is not None:
            self._refuse_changes(before, manifest, "has saved work of another run")
            return "interrupted"
        if not restart and (record := self._read(self.out / RECORD_NAME)) is not None:
            recorded = record.get("manifest", {})
            self._refuse_changes(recorded, manifest, "is the finished output of another run")
            return "finished"
        self._refuse_other_files()
        self.discard()
        write_atomically(self._manifest, json.dumps(manifest, indent=2).encode() + b"\n")
        return "new"

    def discard(self) -> None:
        """Delete the saved work; the manifest first, without which none of it is read."""
        with write_errors(self.path):
            self._manifest.unlink(missing_ok=True)
            self.log.unlink(missing_ok=True)
            if self.state.exists():
                shutil.rmtree(self.state)

    def check(self) -> None:
        """Raise JobError for an output that no training wrote, or that cannot be written."""
        parent = next(each for each in self.out.absolute().parents if each.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise JobError(
                f"{self.out}: the folder {parent} is not writable. Choose another output"
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
        self, before: Mapping[str, object], manifest: TrainingManifest, problem: str
    ) -> None:
        if changes := differences(before, manifest):
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
        return content

"""The state of a run on disk: two generations, each a safetensors file, and the best weights.

Invariant: a state file with its final name is complete, has a digest of its tensors, and names the
best weights that belong to it, which are deleted only once no generation names them. The older
generation is overwritten, or one that is damaged. No pickle, no state of a generator.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from isobatch.errors import JobError
from isobatch.jobs.durable import sync_folder, write_errors

_GENERATIONS = ("state-0.safetensors", "state-1.safetensors")
_STATE, _DIGEST = "isobatch", "sha256"
_EVENTS = "events"
"""The name of the tensor that holds the events: a header may have 100 MB at most."""


@dataclass(slots=True)
class RunState:
    """The state of a run, without its tensors.

    step: steps taken. best_value, best_step, best_weights: of the best evaluation. since_better:
    evaluations since then. loss_sum, loss_texts: since the last evaluation. events: evaluations and
    steps so far, as `event_fields` has them.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int = 0
    best_weights: str = "raw"
    since_better: int = 0
    stopped_early: bool = False
    loss_sum: float = 0.0
    loss_texts: int = 0
    seconds: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)


class StateFolder:
    """The files of one run in a folder; `load` after a stop, `save` as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: RunState, tensors: Mapping[str, Tensor]) -> None:
        """Write the next generation. Raises JobError; the last one then still counts."""
        content = asdict(state)
        events = json.dumps(content.pop("events")).encode()
        stored = {**tensors, _EVENTS: torch.frombuffer(bytearray(events), dtype=torch.uint8)}
        headers = {path: _read_header(path) for path in self._paths()}
        steps = {path: -1 if header is None else header["step"] for path, header in headers.items()}
        oldest = min(steps, key=lambda path: steps[path])
        self._write(oldest, stored, {_STATE: json.dumps(content), _DIGEST: weights_digest(stored)})
        self._delete_old_best()

    def load(self) -> tuple[RunState, dict[str, Tensor]] | None:
        """Read the newest generation that is intact; None if there is none at all.

        Raises JobError if there are files, but none of them is intact.
        """
        headers = {path: _read_header(path) for path in self._paths() if path.exists()}
        readable = {path: header["step"] for path, header in headers.items() if header is not None}
        for path in sorted(readable, key=lambda path: readable[path], reverse=True):
            if (loaded := _read_generation(path)) is not None:
                return loaded
        if headers:
            raise JobError(
                f"{self.folder}: the saved state is damaged. Restore it, or start over with "
                "--restart"
            )
        return None

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write the best weights so far, before the state that names them."""
        self._write(self._best(step), tensors, {})

    def load_best(self, state: RunState) -> dict[str, Tensor]:
        """Read the best weights of a state."""
        path = self._best(state.best_step)
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise JobError(f"{path}: cannot be read: {error}. Start over with --restart") from error

    def _write(self, path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
        """Write, sync and rename. From the tensors' memory: as bytes they would be there twice."""
        partial = path.with_name(f"{path.name}.partial")
        with write_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                whole = {name: each.contiguous() for name, each in tensors.items()}
                save_file(whole, partial, metadata)
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
                partial.replace(path)
                sync_folder(self.folder)
            except SafetensorError as error:
                raise _os_error(error) from error
            finally:
                partial.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return [self.folder / name for name in _GENERATIONS]

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step}.safetensors"

    def _delete_old_best(self) -> None:
        headers = [_read_header(path) for path in self._paths()]
        named = {self._best(each["best_step"]) for each in headers if each is not None}
        for path in self.folder.glob("best-*.safetensors"):
            if path not in named:
                path.unlink(missing_ok=True)


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _os_error(error: SafetensorError) -> OSError:
    """Return the error of the system that safetensors has put into words."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else 0
    return OSError(number, os.strerror(number) if found else str(error))


def _read_header(path: Path) -> dict[str, Any] | None:
    """Read the state of a generation, without its tensors; None for a file that is not intact."""
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads(file.metadata()[_STATE])
            return header
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _read_generation(path: Path) -> tuple[RunState, dict[str, Tensor]] | None:
    """Read a generation whose header is intact; None if its tensors are not."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if weights_digest(tensors) != metadata.get(_DIGEST):
        return None
    events = json.loads(tensors.pop(_EVENTS).numpy().tobytes())
    return RunState(**json.loads(metadata[_STATE]), events=events), tensors

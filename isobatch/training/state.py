"""The state of a run on disk: two generations, each a safetensors file, and the best weights.

Invariant: a state file that has its final name is complete, and names the best weights that belong
to it; these are deleted only once no generation names them. No pickle, no state of a generator.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from isobatch.errors import JobError
from isobatch.jobs.durable import write_atomically, write_errors

_GENERATIONS = ("state-0.safetensors", "state-1.safetensors")
_KEY = "isobatch"


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
        content = json.dumps(asdict(state))
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        data = save({name: each.contiguous() for name, each in tensors.items()}, {_KEY: content})
        older = min(self._paths(), key=lambda path: -1 if not path.exists() else _step_of(path))
        digest = hashlib.sha256(data).hexdigest()
        write_atomically(older, data)
        write_atomically(older.with_suffix(".sha256"), digest.encode() + b"\n")
        self._delete_old_best()

    def load(self) -> tuple[RunState, dict[str, Tensor]] | None:
        """Read the newest complete generation; None if there is none."""
        complete = [path for path in self._paths() if self._is_complete(path)]
        if not complete:
            return None
        path = max(complete, key=_step_of)
        tensors = {}
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # not a mapping
                tensors[name] = file.get_tensor(name).clone()
        return RunState(**_content_of(path)), tensors

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write the best weights so far, before the state that names them."""
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._best(step), save({n: t.contiguous() for n, t in tensors.items()}))

    def load_best(self, state: RunState) -> dict[str, Tensor]:
        """Read the best weights of a state."""
        path = self._best(state.best_step)
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise JobError(f"{path}: cannot be read: {error}. Start over with --restart") from error

    def _paths(self) -> list[Path]:
        return [self.folder / name for name in _GENERATIONS]

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step}.safetensors"

    @staticmethod
    def _is_complete(path: Path) -> bool:
        digest = path.with_suffix(".sha256")
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            return digest.read_text().strip() == found
        except OSError:
            return False

    def _delete_old_best(self) -> None:
        named = {
            self._best(_content_of(path)["best_step"]) for path in self._paths() if path.exists()
        }
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


def _content_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        content: dict[str, Any] = json.loads(file.metadata()[_KEY])
        return content


def _step_of(path: Path) -> int:
    step: int = _content_of(path)["step"]
    return step

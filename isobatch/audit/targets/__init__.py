"""Targets: everything that can be audited, each as a Subject, opened by a string or from objects.

Invariant: an option that a kind of target does not support is refused, never dropped.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isobatch.audit.gradients.training_step import TrainingStep
from isobatch.audit.subject import Subject
from isobatch.audit.targets.python_target import open_python_step, subject_of
from isobatch.errors import OptionError

if TYPE_CHECKING:
    from isobatch.audit.targets.transformers_target import subject_of_model

__all__ = ["open_subject", "open_training_step", "subject_of", "subject_of_model"]

KINDS = (
    "a checkpoint folder or hub id, transformers:PATH_OR_ID, onnx:FILE, http://..., "
    "python:module:function"
)

_OPTIONS = {
    "isobatch": ("precision", "device", "threads", "revision", "pooling"),
    "transformers": ("tokenizer", "precision", "device", "threads", "revision"),
    "onnx": ("tokenizer", "threads"),
    "http": ("api_key", "dialect"),
    "python": (),
}
"""The options of each kind's function, as open_onnx() in onnx_target.py."""


def __getattr__(name: str) -> Any:
    """Import `subject_of_model` when it is used: it needs torch and transformers."""
    if name == "subject_of_model":
        from isobatch.audit.targets.transformers_target import subject_of_model

        return subject_of_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_subject(
    target: str | None = None,
    *,
    tokenizer: str | Path | None = None,
    precision: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
    pooling: str | None = None,
    api_key: str | None = None,
    dialect: str | None = None,
) -> Subject:
    """Open `target`; None or "" is the bundled model, run by Isobatch.

    `transformers:PATH_OR_ID`, `onnx:FILE`, `http://...`, `python:module:function`, else a
    checkpoint folder or a hub id that Isobatch runs. Raises OptionError, CheckpointError or
    AuditError if it cannot be opened.
    """
    kind, place = _parse(target or "")
    stated: dict[str, Any] = {
        "tokenizer": tokenizer,
        "precision": precision,
        "device": None if device == "cpu" else device,
        "threads": threads,
        "revision": revision,
        "pooling": pooling,
        "api_key": api_key,
        "dialect": dialect,
    }
    options = {name: value for name, value in stated.items() if value is not None}
    _check_options(kind, target, options)
    if threads is not None and threads < 1:
        raise OptionError(f"threads must be at least 1, got {threads}")
    # Imported here: each kind needs libraries that the others can do without.
    module = importlib.import_module(f"isobatch.audit.targets.{kind}_target")
    opened: Subject = getattr(module, f"open_{kind}")(place, **options)
    return opened


def open_training_step(target: str | None, **options: object) -> TrainingStep:
    """Open `python:module:function`, a training step; OptionError for other targets and options."""
    kind, place = _parse(target or "")
    if kind != "python":
        raise OptionError(
            f"{target or 'the bundled model'}: is not a training step. Specify one, "
            "python:module:function: from texts and labels to the gradient"
        )
    stated = {name: value for name, value in options.items() if value not in (None, "cpu")}
    _check_options(kind, target, stated)
    return open_python_step(place)


def _parse(target: str) -> tuple[str, str]:
    """Return the kind of a target, and the rest behind its prefix."""
    if target.startswith(("http://", "https://")):
        return "http", target
    prefix, colon, place = target.partition(":")
    if colon and prefix in ("transformers", "onnx", "python"):
        if not place:
            raise OptionError(f"{target}: expected a path or name after {prefix}:")
        return prefix, place
    folder = Path(target).expanduser()
    if colon and not folder.exists():
        raise OptionError(f"{target}: unknown kind of target {prefix}:; use {KINDS}")
    if folder.suffix == ".onnx":
        raise OptionError(f"{target}: is an ONNX file; write onnx:{target}")
    return "isobatch", target


def _check_options(kind: str, target: str | None, options: Mapping[str, object]) -> None:
    for name in options:
        if name not in _OPTIONS[kind]:
            kinds = [each for each, names in _OPTIONS.items() if name in names]
            raise OptionError(
                f"{name} does not apply to {target or 'the bundled model'} ({kind}); "
                f"leave it out, it is for {' and '.join(kinds)}"
            )

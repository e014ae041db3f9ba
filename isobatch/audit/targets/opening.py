"""open_subject: from a target string to a Subject.

It knows the kinds of targets by their prefixes, and which options each has. Invariant: an option
that does not apply to the kind is an OptionError that names it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isobatch.audit.subject import Subject
from isobatch.errors import OptionError

KINDS = (
    "a checkpoint folder or hub id, transformers:PATH_OR_ID, onnx:FILE, http://..., "
    "python:module:function"
)

_OPTIONS = {
    "isobatch": ("precision", "device", "threads", "revision"),
    "transformers": ("tokenizer", "precision", "device", "threads", "revision"),
    "onnx": ("tokenizer", "threads"),
    "http": ("api_key", "dialect"),
    "python": (),
}
"""Which options each kind has a use for."""


def open_subject(
    target: str | None = None,
    *,
    tokenizer: str | Path | None = None,
    precision: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
    api_key: str | None = None,
    dialect: str | None = None,
) -> Subject:
    """Open what `target` names; None or "" is the bundled model, run by Isobatch.

    `transformers:PATH_OR_ID`, `onnx:FILE`, `http://...`, `python:module:function`, else a
    checkpoint folder or a hub id that Isobatch runs. OptionError, CheckpointError or AuditError say
    what cannot be opened, and why.
    """
    kind, place = _parse(target or "")
    stated: dict[str, Any] = {
        "tokenizer": tokenizer,
        "precision": precision,
        "device": None if device == "cpu" else device,
        "threads": threads,
        "revision": revision,
        "api_key": api_key,
        "dialect": dialect,
    }
    options = {name: value for name, value in stated.items() if value is not None}
    _check_options(kind, target, options)
    return _open(kind, place, options)


def _parse(target: str) -> tuple[str, str]:
    """The kind of a target, and what stands behind its prefix."""
    if target.startswith(("http://", "https://")):
        return "http", target
    prefix, colon, place = target.partition(":")
    if colon and prefix in _OPTIONS and prefix not in ("isobatch", "http"):
        if not place:
            raise OptionError(f"{target}: nothing is named behind {prefix}:")
        return prefix, place
    folder = Path(target).expanduser()
    if colon and not folder.exists():
        raise OptionError(f"{target}: no kind of target begins with {prefix}:; use {KINDS}")
    if folder.suffix == ".onnx":
        raise OptionError(f"{target}: is one file of ONNX; write onnx:{target}")
    return "isobatch", target


def _check_options(kind: str, target: str | None, options: Mapping[str, object]) -> None:
    for name in options:
        if name not in _OPTIONS[kind]:
            kinds = [each for each, names in _OPTIONS.items() if name in names]
            raise OptionError(
                f"{name} does not apply to {target or 'the bundled model'} ({kind}); "
                f"leave it out, it is for {' and '.join(kinds)}"
            )


def _open(kind: str, place: str, options: Mapping[str, Any]) -> Subject:
    # Imported here: each kind brings libraries that the others can do without.
    if kind == "transformers":
        from isobatch.audit.targets.transformers_target import open_transformers

        return open_transformers(place, **options)
    if kind == "onnx":
        from isobatch.audit.targets.onnx_target import open_onnx

        return open_onnx(place, **options)
    if kind == "http":
        from isobatch.audit.targets.http_target import open_http

        return open_http(place, **options)
    if kind == "python":
        from isobatch.audit.targets.python_target import open_python

        return open_python(place)
    from isobatch.audit.targets.isobatch_target import open_isobatch
    from isobatch.audit.targets.transformers_target import shown_name

    return open_isobatch(place or None, shown_name(place) if place else "bundled model", **options)

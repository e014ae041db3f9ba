"""The record of a training, train.json: its options, files, base and environment.

A record is accepted as the options of another training, and has all that is needed to train again
and to compare. Invariant: the options in it are complete, so that later defaults change nothing;
each fact is in it once; paths are relative to its folder.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isobatch import __version__
from isobatch.ambient import torch_instruction_set
from isobatch.checkpoint import TRAINING_RECORD, checkpoint_digest, locate_checkpoint
from isobatch.errors import IsobatchError, NotVerifiableError, OptionError
from isobatch.scope import processor_name
from isobatch.training.recipe import TASKS, Recipe, RecipeOptions

if TYPE_CHECKING:
    from isobatch.training.data.dataset import LabelledTexts
    from isobatch.training.fine_tuning import TrainingRequest

RECORD_NAME = TRAINING_RECORD
RECORD_FORMAT = 2
READABLE_FORMATS = (1, RECORD_FORMAT)
"""Format 1 had all that the weights depend on a second time, as a manifest."""

COLUMN_OPTIONS = {
    "text_column": "text",
    "pair_column": "pair",
    "label_columns": "labels",
    "weight_column": "weight",
    "id_column": "id",
    "label_separator": "separator",
    "skip_unlabelled": "skip_unlabelled",
    "skip_empty": "skip_empty",
}
"""Options about columns, with the fields of LabelledColumns that they set."""

OTHER_OPTIONS = (
    "base",
    "revision",
    "teacher",
    "layers",
    "task",
    "class_weights",
    "validation_share",
    *COLUMN_OPTIONS,
)
"""Options of a training that are not of its recipe."""

_LIBRARIES = ("torch", "numpy", "tokenizers", "safetensors")


def environment() -> dict[str, str]:
    """Return everything of this machine that the bits of trained weights may depend on."""
    versions = {name: version(name) for name in _LIBRARIES}
    return {
        "isobatch": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        **versions,
        "processor": processor_name(),
        "instruction set": torch_instruction_set(),
    }


def make_record(
    request: "TrainingRequest", recipe: Recipe, labels: Sequence[str]
) -> dict[str, Any]:
    """Describe a training before it begins, in plain values for train.json.

    Its results, such as metrics and the digest of the weights ("model_sha256", which verification
    needs), are added at its end.
    """
    teacher, out = request.teacher, request.out
    parts = {
        "training": request.texts,
        "validation": request.validation,
        "unlabelled": request.unlabelled,
    }
    return {
        "record": RECORD_FORMAT,
        "base": _describe_checkpoint(request.base, out, request.revision),
        "teacher": None if teacher is None else _describe_checkpoint(teacher, out),
        "options": {
            **recipe.as_dict(),
            "layers": request.layers,
            "class_weights": _plain(request.class_weights),
            "validation_share": None if request.validation else request.validation_share,
        },
        "labels": list(labels),
        "texts": {
            part: None if texts is None else _describe_texts(texts) for part, texts in parts.items()
        },
        "files": [dict(each) for each in request.files],
        "environment": environment(),
    }


def weight_factors(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a record that the trained weights depend on, in plain values.

    Neither places nor names are part of it, nor the processor: the instruction set is what decides
    the bits. An entry that is missing in the record is None.
    """
    same = {name: record.get(name) for name in ("record", "options", "labels", "texts")}
    for name in ("base", "teacher"):
        same[f"{name}_sha256"] = _mapping(record.get(name)).get("sha256")
    machine = _mapping(record.get("environment"))
    same["environment"] = {name: each for name, each in machine.items() if name != "processor"}
    factors: dict[str, Any] = json.loads(json.dumps(same))
    return factors


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _describe_texts(texts: "LabelledTexts") -> dict[str, object]:
    """Return number and SHA-256 of texts with their labels and weights, not of their files."""
    digest = hashlib.sha256()
    weights = texts.weights or [1.0] * len(texts.texts)
    for row in zip(texts.texts, texts.values, weights, strict=True):
        digest.update(json.dumps(row, default=repr).encode() + b"\n")
    return {"number": len(texts.texts), "sha256": digest.hexdigest()}


def _plain(class_weights: str | Mapping[str, float]) -> str | dict[str, float]:
    return class_weights if isinstance(class_weights, str) else dict(class_weights)


def _describe_checkpoint(
    place: str | Path | None, out: Path, revision: str | None = None
) -> dict[str, str | None]:
    """Return its digest, and as its source a hub id as it is, or the path of a folder from `out`.

    Such a path ends with a slash. revision: of a hub id; it is named where one was asked for.
    """
    source = None if place is None else str(place)
    if place is not None and Path(place).expanduser().is_dir():
        source = os.path.relpath(Path(place).expanduser().resolve(), out.resolve()) + os.sep
    digest = checkpoint_digest(locate_checkpoint(place, revision))
    named = {} if revision is None else {"revision": revision}
    return {"source": source, **named, "sha256": digest}


@dataclass(frozen=True, slots=True)
class TrainRecord:
    """A train.json that was read.

    base: a folder, a hub id or None for the bundled model. teacher: None without one.
    """

    folder: Path
    base: str | None
    revision: str | None
    base_sha256: str
    teacher: str | None
    teacher_sha256: str | None
    options: Mapping[str, Any]
    files: tuple[Mapping[str, Any], ...]
    environment: Mapping[str, str]
    model_sha256: str

    @property
    def recipe_options(self) -> RecipeOptions:
        """The options of the recipe, all of them given."""
        names = {field.name for field in fields(RecipeOptions)}
        return RecipeOptions(**{n: each for n, each in self.options.items() if n in names})


def read_record(folder: Path) -> TrainRecord:
    """Read the record of a finished training; NotVerifiableError if there is none."""
    path = folder / RECORD_NAME
    try:
        content = _read_json(path, "Specify the output folder of a finished `isobatch train`")
    except OptionError as error:
        raise NotVerifiableError(str(error)) from error
    if content.get("record") not in READABLE_FORMATS:
        raise NotVerifiableError(
            f"{path}: was written by another version of Isobatch. Use that version"
        )
    with _complete(path, NotVerifiableError):
        teacher = content["teacher"]
        return TrainRecord(
            folder=folder,
            base=_found_checkpoint(content["base"]["source"], folder),
            revision=content["base"].get("revision"),
            base_sha256=content["base"]["sha256"],
            teacher=teacher and _found_checkpoint(teacher["source"], folder),
            teacher_sha256=teacher and teacher["sha256"],
            options=content["options"],
            files=tuple(content["files"]),
            environment=content["environment"],
            model_sha256=content["model_sha256"],
        )


def read_options(path: Path) -> dict[str, Any]:
    """Read options from JSON: the record of a training, or an object of options by name.

    Names are those of RecipeOptions and OTHER_OPTIONS. OptionError for a file that cannot be read,
    for unknown names, and for values of another type than an option has.
    """
    content = _read_json(path)
    if _is_record(content):
        content = _recorded_options(content, path)
    known = {*(field.name for field in fields(RecipeOptions)), *OTHER_OPTIONS}
    if unknown := sorted(content.keys() - known):
        near = get_close_matches(unknown[0], sorted(known), 1)
        fix = f"Write {near[0]!r}" if near else f"Use one of: {', '.join(sorted(known))}"
        raise OptionError(f"{path}: option {unknown[0]!r} is not supported. {fix}")
    given = {name: value for name, value in content.items() if value is not None}
    try:
        check_options(given)
        RecipeOptions.from_dict({n: each for n, each in given.items() if n not in OTHER_OPTIONS})
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    return given


def is_recorded(path: Path) -> bool:
    """Return whether a file of options is the record of a training."""
    return _is_record(_read_json(path))


def _is_record(content: Mapping[str, Any]) -> bool:
    return "record" in content


def recorded_parts(path: Path) -> dict[str, list[str]]:
    """Return the names of the files of each part of a recorded training; OptionError as above."""
    parts: dict[str, list[str]] = {}
    with _complete(path, OptionError):
        for each in _read_json(path).get("files", []):
            parts.setdefault(each["part"], []).append(Path(each["path"] or "stdin").name)
    return parts


def check_options(given: Mapping[str, Any]) -> None:
    """Raise OptionError for a value that cannot be one of OTHER_OPTIONS."""
    for name, (is_valid, words) in _CHECKS.items():
        if name in given and not is_valid(given[name]):
            raise OptionError(f"{name} must be {words}, got {given[name]!r}")


def _recorded_options(record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    with _complete(path, OptionError):
        files = record["files"]
        columns = files[0]["columns"] if files else {}
        named = {name: columns.get(field) for name, field in COLUMN_OPTIONS.items()}
        found = {
            name: record[name] and _found_checkpoint(record[name]["source"], path.parent)
            for name in ("base", "teacher")
        }
        revision = record["base"].get("revision")
        return {**record["options"], **named, **found, "revision": revision}


@contextmanager
def _complete(path: Path, error_class: type[IsobatchError]) -> Iterator[None]:
    """Raise `error_class` for an entry that a record lacks, or that is of another type."""
    try:
        yield
    except KeyError as error:
        raise error_class(f"{path}: is incomplete: {error} is missing. Restore the file") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise error_class(
            f"{path}: is damaged: an entry is not of the type that a training writes ({error}). "
            "Restore the file"
        ) from error


def _found_checkpoint(source: str | None, folder: Path) -> str | None:
    """Return the place of a checkpoint: a path, which ends with a slash, is seen from `folder`."""
    if source is None or not source.endswith(os.sep):
        return source
    return str((folder.resolve() / source).resolve())


def _read_json(path: Path, fix: str | None = None) -> dict[str, Any]:
    """Read a JSON object; OptionError with that fix, or one for a file of options."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(
            f"{path}: cannot be read: {error.strerror}. {fix or 'Specify a file of options'}"
        ) from error
    except ValueError as error:
        raise OptionError(
            f"{path}: is not JSON: {error}. "
            + (fix or 'Specify a train.json, or write an object of options, such as {"epochs": 3}')
        ) from error
    if not isinstance(content, dict):
        raise OptionError(
            f"{path}: must be a JSON object, got {type(content).__name__}. "
            + (fix or 'Write an object of options, such as {"epochs": 3}')
        )
    return content


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number_of_layers(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_share(value: object) -> bool:
    return isinstance(value, float) and 0 < value < 1


def _is_class_weights(value: object) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(_is_number(each) for each in value.values())
    return value in ("none", "balanced")


def _is_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "base": (_is_text, "a folder or hub id"),
    "revision": (_is_text, "a branch, tag or commit"),
    "teacher": (_is_text, "a folder or hub id"),
    "layers": (_is_number_of_layers, "a whole number from 1"),
    "task": (lambda value: value in ("auto", *TASKS), "auto, single, multi or regression"),
    "class_weights": (_is_class_weights, "none, balanced, or an object of label: weight"),
    "validation_share": (_is_share, "a number between 0 and 1"),
    "text_column": (_is_text, "a name"),
    "pair_column": (_is_text, "a name"),
    "label_columns": (_is_names, "a list of names, at least one"),
    "weight_column": (_is_text, "a name"),
    "id_column": (_is_text, "a name"),
    "label_separator": (_is_text, "a text"),
    "skip_unlabelled": (_is_flag, "true or false"),
    "skip_empty": (_is_flag, "true or false"),
}
"""The condition on the value of an option, in code and in words."""

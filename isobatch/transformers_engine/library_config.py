"""LibraryConfig: the content of config.json for a model that a class of transformers computes.

Invariant: a checkpoint that needs code of its own is rejected by name, before anything is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isobatch.checkpoint import HeadOptions, VectorOptions, read_json, read_raw_config
from isobatch.checkpoint.config import CROSS_ENCODER_FILE
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.head_config import HeadConfig, HeadSource, read_library_head, stated_task
from isobatch.checkpoint.sentence_modules import read_sentence_modules
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import PositionRule
from isobatch.transformers_engine.library import library, quiet
from isobatch.types import Task

_CLASSES: Mapping[Task, tuple[tuple[str, str], ...]] = {
    "text-classification": (
        ("AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING"),
    ),
    "token-classification": (
        ("AutoModelForTokenClassification", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING"),
    ),
    "feature-extraction": (
        # The encoder alone of a model that has a decoder too, such as T5.
        ("AutoModelForTextEncoding", "MODEL_FOR_TEXT_ENCODING_MAPPING"),
        ("AutoModel", "MODEL_MAPPING"),
    ),
}
"""The classes that load the model of a task, and the table of the architectures that they have."""


@dataclass(frozen=True, slots=True)
class LibraryFamily:
    """The architecture, by the name that config.json has for it."""

    model_type: str


@dataclass(frozen=True, slots=True)
class LibrarySizes:
    """The sizes of the model's tables and rows; type_vocab_size is 0 for a model without types.

    max_tokens: the longest text that it takes. positions: those that a batch is packed with, and
    that no class of transformers reads.
    """

    vocab_size: int
    type_vocab_size: int
    hidden_size: int
    max_tokens: int
    positions: PositionRule = field(default_factory=PositionRule)


@dataclass(frozen=True, slots=True)
class LibraryConfig:
    """The configuration of one checkpoint, as pipelines read it of every model.

    auto_class: the class of transformers that loads it. settings: the library's own configuration.
    """

    family: LibraryFamily
    encoder: LibrarySizes
    head: HeadConfig
    task: Task
    stated_task: Task | None
    saved_by: str | None
    auto_class: str
    settings: Any = field(repr=False)


def read_library_config(folder: Path, task: Task, options: HeadOptions) -> LibraryConfig:
    """Read config.json in `folder`, and what is next to it, for `task`.

    Raises CheckpointError for files that cannot be read, UnsupportedModelError for a checkpoint
    that is quantized, needs code of its own, or has an architecture that transformers does not
    have for the task.
    """
    raw = read_raw_config(folder)
    settings = _settings(folder, raw)
    if settings.__dict__.get("quantization_config"):
        raise UnsupportedModelError(
            f'{folder}/config.json: is quantized, and engine="transformers" computes in fp32 only. '
            "Use the checkpoint before quantization"
        )
    architectures = raw.get("architectures")
    saved_by = str(architectures[0]) if isinstance(architectures, list) and architectures else None
    modules = read_sentence_modules(folder)
    uses_hidden = task == "text-classification" and modules is not None and modules.scores
    auto_class, named = _class_for(
        folder, "feature-extraction" if uses_hidden else task, settings, saved_by
    )
    text = settings.get_text_config()
    hidden_size = _hidden_size(folder, text)
    cross_encoder = folder / CROSS_ENCODER_FILE
    stated = read_json(cross_encoder) if cross_encoder.is_file() else {}
    source = HeadSource(ConfigValues(raw, {}, {}, {}), stated, (), modules)
    try:
        assert isinstance(options, VectorOptions)  # a reranker with answers is rejected before
        head = read_library_head(task, named, hidden_size, source, options)
    except CheckpointError as error:
        raise type(error)(f"{folder}/{error}") from error
    positions = getattr(text, "max_position_embeddings", None)
    return LibraryConfig(
        LibraryFamily(str(raw["model_type"])),
        LibrarySizes(
            vocab_size=int(getattr(text, "vocab_size", 0)),
            type_vocab_size=int(getattr(text, "type_vocab_size", 0) or 0),
            hidden_size=hidden_size,
            max_tokens=positions if isinstance(positions, int) and positions > 0 else NO_LIMIT,
        ),
        head,
        task,
        stated_task(saved_by, modules),
        saved_by,
        auto_class,
        settings,
    )


NO_LIMIT = 1_000_000_000
"""Of a model without a table of positions: the tokenizer's limit holds, if it has one."""


def _settings(folder: Path, raw: Mapping[str, object]) -> Any:
    """Read the library's own configuration of an architecture that it has."""
    model_type = raw.get("model_type")
    if model_type is None:
        raise UnsupportedModelError(
            f'{folder}/config.json: has no model_type. Add the line "model_type": with the name of '
            "its architecture in transformers"
        )
    transformers = library()
    if model_type not in library("transformers.models.auto.configuration_auto").CONFIG_MAPPING:
        own_code = (
            "; it needs code of its own (auto_map), which is never run" if "auto_map" in raw else ""
        )
        raise UnsupportedModelError(
            f"{folder}/config.json: transformers {transformers.__version__} has no architecture "
            f"{model_type!r}{own_code}. Use a checkpoint of one that it has, or install a version "
            "of transformers that has it"
        )
    try:
        with quiet():
            return transformers.AutoConfig.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # a broken file raises what its reader raises
        raise CheckpointError(
            f"{folder}/config.json: transformers cannot read it: {error}"
        ) from error


def _class_for(folder: Path, task: Task, settings: Any, saved_by: str | None) -> tuple[str, str]:
    """Return the class of transformers that loads the model, and that of the model itself."""
    transformers = library()
    for auto_class, table in _CLASSES[task]:
        known = getattr(transformers, table)
        if type(settings) in known:
            found = known[type(settings)]
            names = [each.__name__ for each in (found if isinstance(found, tuple) else (found,))]
            return auto_class, next((each for each in names if each == saved_by), names[0])
    raise UnsupportedModelError(
        f"{folder}/config.json: transformers {transformers.__version__} has no model for {task} of "
        f"the architecture {settings.model_type!r}. Use a checkpoint of another architecture"
    )


def _hidden_size(folder: Path, text: Any) -> int:
    size = getattr(text, "hidden_size", None)
    if not isinstance(size, int) or size < 1:
        raise UnsupportedModelError(
            f"{folder}/config.json: the architecture {text.model_type!r} has no hidden_size, so "
            'engine="transformers" cannot compute it'
        )
    return size

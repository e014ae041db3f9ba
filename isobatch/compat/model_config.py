"""AutoConfig and ClassifierConfig: config.json as transformers' configuration object shows it.

Invariant: every key is read, changed and saved under its name in config.json; a key that no family
reads is rejected when it is changed on loading.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isobatch.checkpoint import (
    ModelConfig,
    locate_checkpoint,
    parse_config,
    read_config,
    read_raw_config,
)
from isobatch.checkpoint.families import Family, family_of
from isobatch.checkpoint.score_functions import PROBLEM_TYPES
from isobatch.compat.arguments import reject_positional, reject_unsupported
from isobatch.errors import CheckpointError, OptionError
from isobatch.types import Task

_SHARED_DEFAULTS: Mapping[str, Any] = {
    "initializer_range": 0.02,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "problem_type": None,
    "return_dict": True,
}
_OF_DISTILBERT = {
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
}
"""The names of transformers' attribute_map."""

_LABEL_KEYS = ("id2label", "label2id", "num_labels")
_NOT_SAVED = ("output_attentions", "output_hidden_states", "return_dict", "use_cache")
"""Keys that say how the model is called; saved only if config.json had them."""

NEUTRAL_ARGUMENTS: Mapping[str, tuple[object, ...]] = {
    "trust_remote_code": (False, True),
    "return_unused_kwargs": (False,),
    "subfolder": ("",),
    "token": (None, False),
    "cache_dir": (None,),
    "force_download": (False,),
    "local_files_only": (False,),
}
"""Arguments of every from_pretrained; checkpoints with code of their own are never loaded."""

HUB_ADVICE = {
    "token": "Set the environment variable HF_TOKEN, or run `hf auth login`",
    "cache_dir": "Set the environment variable HF_HOME",
    "local_files_only": "Set the environment variable HF_HUB_OFFLINE=1",
    "force_download": "Delete the model from the cache: `hf cache rm model/NAME`",
    "subfolder": "Download the repository, and use the folder in it",
}


class AutoConfig:
    """transformers' entry point; each method returns a ClassifierConfig."""

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | Path | None = None,
        *positional: object,
        revision: str | None = None,
        **changes: Any,
    ) -> "ClassifierConfig":
        """Read config.json of a folder, a hub id, or the bundled model (None), with `changes`."""
        place = "AutoConfig.from_pretrained"
        path = pretrained_model_name_or_path
        supported = ("pretrained_model_name_or_path", "revision", *_LABEL_KEYS)
        reject_positional(place, positional, (*supported, "and the keys of config.json"))
        neutral = {key: changes.pop(key) for key in [*changes] if key in NEUTRAL_ARGUMENTS}
        reject_unsupported(place, neutral, (), NEUTRAL_ARGUMENTS, HUB_ADVICE)
        config = read_folder(locate_checkpoint(path, revision), changes).changed(place, changes)
        config.name_or_path = "" if path is None else str(path)
        return config

    @staticmethod
    def for_model(model_type: str, *positional: object, **values: Any) -> "ClassifierConfig":
        """Create the configuration of a new model of a family, with its default sizes."""
        supported = ("model_type", "and the keys of config.json")
        reject_positional("AutoConfig.for_model", positional, supported)
        config = ClassifierConfig({"model_type": model_type})
        return config.changed("AutoConfig.for_model", values)


def read_folder(folder: Path, changes: Mapping[str, Any]) -> "ClassifierConfig":
    """Read config.json in `folder`, to which `changes` will be made.

    Raises CheckpointError as `read_config` does, with what the tensors say, unless the labels that
    contradict each other are among the changes.
    """
    raw = read_raw_config(folder)
    try:
        return ClassifierConfig(raw)
    except CheckpointError as error:
        stated = {key for key in _LABEL_KEYS if changes.get(key) is not None}
        given = _LABEL_KEYS if stated - {"num_labels"} else stated
        kept = {key: value for key, value in raw.items() if key not in given}
        if len(kept) == len(raw):
            read_config(folder)  # raises, with a better fix
            raise type(error)(f"{folder}/{error}") from error
    return ClassifierConfig(kept)


class ClassifierConfig:
    """The keys of config.json as attributes, completed by the family's defaults.

    As in transformers, ids in `id2label` are numbers, and setting `num_labels` to another number
    gives the labels new names. `label2id` always follows `id2label`.
    """

    def __init__(self, raw: Mapping[str, Any], name_or_path: str = "") -> None:
        self.__dict__["_family"] = family_of(raw.get("model_type"))
        labels = parse_config(raw).head.labels
        hidden = (*_LABEL_KEYS, "quantization_config", "name_or_path", "_name_or_path")
        stated = {key: copy.deepcopy(value) for key, value in raw.items() if key not in hidden}
        values = {**_SHARED_DEFAULTS, **_family_defaults(self._family), **stated}
        self.__dict__["_unsaved"] = [key for key in _NOT_SAVED if key not in raw]
        self.__dict__["_values"] = values
        self.__dict__["name_or_path"] = name_or_path
        self.id2label = dict(enumerate(labels))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_values" not in self.__dict__:
            raise AttributeError(name)
        name = self._own_name(name)
        if name not in self._values:
            raise AttributeError(f"{name!r} is not a key of this {self._family.model_type} config")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "name_or_path":
            self.__dict__[name] = value
        elif name == "num_labels":
            self._set_num_labels(value)
        elif name == "id2label":
            by_id = _labels_by_id(value)
            self._values["id2label"] = by_id
            self._values["label2id"] = {label: index for index, label in by_id.items()}
        else:
            self._values[self._own_name(name)] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassifierConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ClassifierConfig {self.to_json_string()}"

    @property
    def num_labels(self) -> int:
        return len(self._values["id2label"])

    @property
    def use_return_dict(self) -> bool:
        return bool(self.return_dict)

    def changed(self, place: str, changes: Mapping[str, Any]) -> "ClassifierConfig":
        """Return a copy with other values; OptionError for unknown keys and contradictory labels.

        place: the call that the user wrote, for messages.
        """
        config = copy.deepcopy(self)
        keys = [*_LABEL_KEYS, *_SHARED_DEFAULTS, *_family_defaults(self._family), *self._values]
        known = list(dict.fromkeys([*keys, *self._aliases]))
        unknown = {key: value for key, value in changes.items() if key not in known}
        reject_unsupported(place, unknown, known)
        for key, value in changes.items():
            if key not in _LABEL_KEYS:
                setattr(config, key, value)
        _change_labels(config, place, {key: changes.get(key) for key in _LABEL_KEYS})
        if config.problem_type is not None:
            check_problem_type(config.problem_type, config.num_labels)
        config.to_model_config()
        return config

    def to_model_config(self, task: Task = "text-classification") -> ModelConfig:
        """Check the values, as `read_config` does, and translate them for a head."""
        return parse_config(self._values, task=task)

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of all values."""
        return copy.deepcopy(self._values)

    def to_diff_dict(self) -> dict[str, Any]:
        """Return what `save_pretrained` writes."""
        unsaved = [
            key
            for key in self._unsaved
            if key == "use_cache" or self._values.get(key) == _SHARED_DEFAULTS.get(key)
        ]
        return {key: value for key, value in self.to_dict().items() if key not in unsaved}

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return the values as JSON, with the ids of labels as strings."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"

    def save_pretrained(
        self, save_directory: str | Path, *positional: object, **options: Any
    ) -> None:
        """Write config.json."""
        reject_positional("config.save_pretrained", positional, ["save_directory"])
        neutral = {"push_to_hub": (False,), "token": (None,)}
        reject_unsupported("config.save_pretrained", options, ["save_directory"], neutral)
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(self.to_json_string(), encoding="utf-8")

    def update(self, config_dict: Mapping[str, Any]) -> None:
        """Set several values."""
        for key, value in config_dict.items():
            setattr(self, key, value)

    def get_text_config(self, **_options: object) -> "ClassifierConfig":
        """Return itself: there are no parts for other media."""
        return self

    @property
    def _aliases(self) -> Mapping[str, str]:
        return _OF_DISTILBERT if self._family.model_type == "distilbert" else {}

    def _own_name(self, name: str) -> str:
        return self._aliases.get(name, name)

    def _set_num_labels(self, count: object) -> None:
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise OptionError(f"num_labels must be a positive integer, got {count!r}")
        if count != self.num_labels:
            self.id2label = {index: f"LABEL_{index}" for index in range(count)}


def check_problem_type(problem_type: object, num_labels: int) -> None:
    """Raise OptionError for an unknown type, and for one label of which one is to be chosen."""
    if problem_type not in PROBLEM_TYPES:
        raise OptionError(
            f"problem_type is {problem_type!r}, expected one of {', '.join(PROBLEM_TYPES)}"
        )
    if problem_type == "single_label_classification" and num_labels == 1:
        raise OptionError(
            "problem_type 'single_label_classification' with one label: its loss is always 0. Use "
            "num_labels=2 for a yes-or-no question, or problem_type='regression' for a number"
        )


def _labels_by_id(value: object) -> dict[int, Any]:
    """Sort id2label by id; a list has the labels in that order."""
    given = dict(enumerate(value)) if isinstance(value, list | tuple) else value
    if not isinstance(given, Mapping):
        raise OptionError(f"id2label must map ids to labels, got {value!r}")
    return dict(sorted((int(index), label) for index, label in given.items()))


def _family_defaults(family: Family) -> dict[str, Any]:
    return {key: default for key, default in family.config_keys.values()}


def _change_labels(config: ClassifierConfig, place: str, labels: Mapping[str, Any]) -> None:
    id2label, label2id, num_labels = (labels[key] for key in _LABEL_KEYS)
    if label2id is not None and id2label is None:
        id2label = {index: label for label, index in label2id.items()}
    if id2label is not None:
        config.id2label = id2label
        if num_labels is not None and num_labels != config.num_labels:
            raise OptionError(
                f"{place}: num_labels={num_labels} contradicts the {config.num_labels} labels of "
                "id2label. Pass one of them"
            )
        if label2id is not None and dict(label2id) != config.label2id:
            raise OptionError(
                f"{place}: label2id={dict(label2id)} contradicts id2label={config.id2label}. "
                "Leave label2id out"
            )
    elif num_labels is not None:
        config.update({"num_labels": num_labels})

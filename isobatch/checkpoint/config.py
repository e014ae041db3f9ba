"""ModelConfig: the settings of config.json, under one set of names for all families.

Invariant: a setting that would change the answer and is not implemented is rejected here, never
ignored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from isobatch.checkpoint.families import Family, family_of
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.quantized import announces_int8
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import BlockSpec, PositionRule
from isobatch.types import ScoreActivation

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes and kinds of the encoder; `num_positions` counts the rows of its position table."""

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    hidden_act: str
    layer_norm_eps: float
    num_positions: int
    type_vocab_size: int
    pad_token_id: int | None
    positions: PositionRule

    @property
    def max_tokens(self) -> int:
        """Longest sequence: RoBERTa models reserve the first padding_idx + 1 positions."""
        return self.num_positions - self.positions.first

    @property
    def block(self) -> BlockSpec:
        """The specification of each of its layers."""
        return BlockSpec(
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
            activation=self.hidden_act,
            norm_eps=self.layer_norm_eps,
        )


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """The classification head: its hidden activation, its labels, and how scores are computed."""

    activation: str
    labels: tuple[str, ...]
    problem_type: ProblemType | None

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @property
    def score_activation(self) -> ScoreActivation:
        """The activation that transformers' text-classification pipeline chooses."""
        if self.problem_type == "regression":
            return "none"
        if self.problem_type == "multi_label_classification" or self.num_labels == 1:
            return "sigmoid"
        return "softmax"


@dataclass(frozen=True, slots=True)
class Dropouts:
    """Dropout probabilities, used in training only."""

    hidden: float
    attention: float
    attention_output: float
    classifier: float


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that is needed to build the model of one checkpoint.

    quantized: its file holds int8 weights, each with its scale.
    """

    family: Family
    encoder: EncoderConfig
    head: HeadConfig
    dropout: Dropouts
    quantized: bool = False


def read_config(folder: Path) -> ModelConfig:
    """Read config.json in `folder`. Raises CheckpointError if it is missing or not supported."""
    return parse_config(read_json(folder / "config.json"))


def parse_config(raw: Mapping[str, object]) -> ModelConfig:
    """Translate the content of a config.json."""
    family = family_of(raw.get("model_type"))
    _reject_unsupported(raw)
    return ModelConfig(
        family,
        _encoder(family, raw),
        _head(family, raw),
        _dropouts(family, raw),
        quantized=announces_int8(raw.get("quantization_config")),
    )


def _reject_unsupported(raw: Mapping[str, object]) -> None:
    if raw.get("is_decoder"):
        raise UnsupportedModelError(
            "config.json: is_decoder is true, but only encoders are supported"
        )
    kind = raw.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise UnsupportedModelError(
            f"config.json: position_embedding_type {kind!r} is not supported, only 'absolute'"
        )


def _encoder(family: Family, raw: Mapping[str, object]) -> EncoderConfig:
    hidden_size = _integer(family, raw, "hidden_size")
    num_heads = _integer(family, raw, "num_heads")
    if hidden_size % num_heads:
        raise CheckpointError(
            f"config.json: hidden_size {hidden_size} is not a multiple of the {num_heads} heads"
        )
    pad_token_id = _value(family, raw, "pad_token_id")
    if family.positions_from_padding and not isinstance(pad_token_id, int):
        raise CheckpointError(
            "config.json: pad_token_id is missing, and positions are counted from it"
        )
    return EncoderConfig(
        vocab_size=_integer(family, raw, "vocab_size"),
        embedding_size=_integer(family, raw, "embedding_size"),
        hidden_size=hidden_size,
        num_layers=_integer(family, raw, "num_layers"),
        num_heads=num_heads,
        intermediate_size=_integer(family, raw, "intermediate_size"),
        hidden_act=str(_value(family, raw, "hidden_act")),
        layer_norm_eps=_layer_norm_eps(family, raw),
        num_positions=_integer(family, raw, "num_positions"),
        type_vocab_size=_integer(family, raw, "type_vocab_size"),
        pad_token_id=cast("int | None", pad_token_id),
        positions=PositionRule(
            cast("int", pad_token_id) if family.positions_from_padding else None
        ),
    )


def _head(family: Family, raw: Mapping[str, object]) -> HeadConfig:
    problem_type = raw.get("problem_type")
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise CheckpointError(
            f"config.json: problem_type {problem_type!r} is unknown; "
            f"expected null or one of {', '.join(PROBLEM_TYPES)}"
        )
    return HeadConfig(
        family.head_activation, _labels(raw), cast("ProblemType | None", problem_type)
    )


def _labels(raw: Mapping[str, object]) -> tuple[str, ...]:
    id2label = raw.get("id2label")
    if id2label is None or id2label == {}:
        return tuple(f"LABEL_{index}" for index in range(_num_labels(raw)))
    if not isinstance(id2label, Mapping):
        raise CheckpointError(f"config.json: id2label must map ids to labels, got {id2label!r}")
    try:
        by_id = {int(key): str(label) for key, label in id2label.items()}
    except ValueError as error:
        raise CheckpointError(
            f"config.json: id2label has a key that is not a number: {error}"
        ) from None
    if sorted(by_id) != list(range(len(by_id))):
        raise CheckpointError(
            f"config.json: id2label must have the keys 0 to {len(by_id) - 1}, got {sorted(by_id)}"
        )
    if len(set(by_id.values())) < len(by_id):
        raise CheckpointError(f"config.json: id2label has a label twice: {list(by_id.values())}")
    return tuple(by_id[index] for index in range(len(by_id)))


def _num_labels(raw: Mapping[str, object]) -> int:
    count = raw.get("num_labels", 2)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise CheckpointError(f"config.json: num_labels must be a positive integer, got {count!r}")
    return count


def _dropouts(family: Family, raw: Mapping[str, object]) -> Dropouts:
    hidden = _probability(family, raw, "dropout.hidden", 0.0)
    return Dropouts(
        hidden=hidden,
        attention=_probability(family, raw, "dropout.attention", 0.0),
        attention_output=_probability(family, raw, "dropout.attention_output", 0.0),
        classifier=_probability(family, raw, "dropout.classifier", hidden),
    )


def _probability(family: Family, raw: Mapping[str, object], name: str, default: float) -> float:
    """Read a dropout; `default` where the file says null."""
    value = _value(family, raw, name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        key = family.config_keys[name][0]
        raise CheckpointError(f"config.json: {key} must be between 0 and 1, got {value!r}")
    return float(value)


def _value(family: Family, raw: Mapping[str, object], name: str) -> object:
    if name in family.fixed:
        return family.fixed[name]
    key, default = family.config_keys[name]
    return raw.get(key, default)


def _integer(family: Family, raw: Mapping[str, object], name: str) -> int:
    value = _value(family, raw, name)
    if name in family.fixed:
        return cast("int", value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        key = family.config_keys[name][0]
        raise CheckpointError(f"config.json: {key} must be a positive integer, got {value!r}")
    return value


def _layer_norm_eps(family: Family, raw: Mapping[str, object]) -> float:
    value = _value(family, raw, "layer_norm_eps")
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise CheckpointError(f"config.json: layer_norm_eps must be a small number, got {value!r}")
    return float(value)

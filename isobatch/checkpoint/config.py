"""ModelConfig: what config.json says, in our own words; the only place that reads its keys.

It knows no tensors and no tokenizer. Invariant: a setting that would change the answer and is not
implemented is refused here, never ignored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from isobatch.checkpoint.families import Family, family_of
from isobatch.checkpoint.quantised import announces_int8
from isobatch.core import Activation
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.files import read_json

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes and kinds of the encoder; `num_positions` are rows of its position table."""

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
    padding_idx: int | None

    @property
    def max_tokens(self) -> int:
        """Longest sequence: RoBERTa's family loses the positions up to its padding_idx."""
        return self.num_positions - (0 if self.padding_idx is None else self.padding_idx + 1)


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """The classification head: its hidden activation, its labels, and how scores are made."""

    activation: str
    labels: tuple[str, ...]
    problem_type: ProblemType | None

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @property
    def score_activation(self) -> Activation:
        """As transformers' text-classification pipeline chooses it."""
        if self.problem_type == "regression":
            return "none"
        if self.problem_type == "multi_label_classification" or self.num_labels == 1:
            return "sigmoid"
        return "softmax"


@dataclass(frozen=True, slots=True)
class Dropouts:
    """Probabilities in training; none of them has a part in inference."""

    hidden: float
    attention: float
    attention_output: float
    classifier: float


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that is needed to build the model of one checkpoint.

    quantised: its file holds int8 weights, each with its scale.
    """

    family: Family
    encoder: EncoderConfig
    head: HeadConfig
    dropout: Dropouts
    quantised: bool = False


def read_config(folder: Path) -> ModelConfig:
    """Read config.json in `folder`. CheckpointError if it is missing, torn or not implemented."""
    return parse_config(read_json(folder / "config.json"))


def parse_config(raw: Mapping[str, object]) -> ModelConfig:
    """Translate the content of a config.json."""
    family = family_of(raw.get("model_type"))
    _refuse_unimplemented(raw)
    return ModelConfig(
        family,
        _encoder(family, raw),
        _head(family, raw),
        _dropouts(family, raw),
        quantised=announces_int8(raw.get("quantization_config")),
    )


def _refuse_unimplemented(raw: Mapping[str, object]) -> None:
    if raw.get("is_decoder"):
        raise UnsupportedModelError(
            "config.json: is_decoder is true; only encoders are implemented"
        )
    kind = raw.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise UnsupportedModelError(
            f"config.json: position_embedding_type {kind!r} is not implemented, only 'absolute'"
        )


def _encoder(family: Family, raw: Mapping[str, object]) -> EncoderConfig:
    hidden_size = _integer(family, raw, "hidden_size")
    num_heads = _integer(family, raw, "num_heads")
    if hidden_size % num_heads:
        raise CheckpointError(
            f"config.json: hidden_size {hidden_size} is not a multiple of the {num_heads} heads"
        )
    factorised = "embedding_size" in family.config_keys
    typed = "type_vocab_size" in family.config_keys
    pad_token_id = _value(family, raw, "pad_token_id")
    if family.positions_from_padding and not isinstance(pad_token_id, int):
        raise CheckpointError("config.json: pad_token_id is missing; positions are counted from it")
    return EncoderConfig(
        vocab_size=_integer(family, raw, "vocab_size"),
        embedding_size=_integer(family, raw, "embedding_size") if factorised else hidden_size,
        hidden_size=hidden_size,
        num_layers=_integer(family, raw, "num_layers"),
        num_heads=num_heads,
        intermediate_size=_integer(family, raw, "intermediate_size"),
        hidden_act=str(_value(family, raw, "hidden_act")),
        layer_norm_eps=_layer_norm_eps(family, raw),
        num_positions=_integer(family, raw, "num_positions"),
        type_vocab_size=_integer(family, raw, "type_vocab_size") if typed else 0,
        pad_token_id=cast("int | None", pad_token_id),
        padding_idx=cast("int", pad_token_id) if family.positions_from_padding else None,
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
            f"config.json: id2label has a key that is no number: {error}"
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
    hidden = _probability(family, raw, "hidden", 0.0)
    return Dropouts(
        hidden=hidden,
        attention=_probability(family, raw, "attention", 0.0),
        attention_output=_probability(family, raw, "attention_output", 0.0),
        classifier=_probability(family, raw, "classifier", hidden),
    )


def _probability(family: Family, raw: Mapping[str, object], name: str, otherwise: float) -> float:
    """A dropout; `otherwise` where the family has none of that name or the file says null."""
    if f"dropout.{name}" not in family.config_keys:
        return otherwise
    value = _value(family, raw, f"dropout.{name}")
    if value is None:
        return otherwise
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        key = family.config_keys[f"dropout.{name}"][0]
        raise CheckpointError(f"config.json: {key} must be between 0 and 1, got {value!r}")
    return float(value)


def _value(family: Family, raw: Mapping[str, object], name: str) -> object:
    key, default = family.config_keys[name]
    return raw.get(key, default)


def _integer(family: Family, raw: Mapping[str, object], name: str) -> int:
    value = _value(family, raw, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        key = family.config_keys[name][0]
        raise CheckpointError(f"config.json: {key} must be a positive integer, got {value!r}")
    return value


def _layer_norm_eps(family: Family, raw: Mapping[str, object]) -> float:
    """DistilBERT has no such key: transformers writes 1e-12 into its layers."""
    if "layer_norm_eps" not in family.config_keys:
        return 1e-12
    value = _value(family, raw, "layer_norm_eps")
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise CheckpointError(f"config.json: layer_norm_eps must be a small number, got {value!r}")
    return float(value)

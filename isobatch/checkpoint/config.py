"""ModelConfig: the settings of config.json, under one set of names for all families.

Invariant: a setting that would change the answer and is not implemented is rejected here, never
ignored.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from isobatch.checkpoint.families import FAMILIES, Family, family_of
from isobatch.checkpoint.folder_kind import explain_missing_config, reject_adapters
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.label_map import read_labels
from isobatch.checkpoint.quantized import announces_int8
from isobatch.checkpoint.score_functions import (
    ProblemType,
    check_problem_type,
    score_activation,
    stated_activation,
)
from isobatch.checkpoint.unreadable import is_there
from isobatch.checkpoint.weight_files import StoredTensor, stored_tensors
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.specification import BlockSpec, PositionRule
from isobatch.types import ScoreActivation

CROSS_ENCODER_FILE = "config_sentence_transformers.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


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
    """The classification head: its hidden activation, its labels, and how scores are computed.

    stated_activation: of sentence-transformers, where it differs from that of transformers.
    """

    activation: str
    labels: tuple[str, ...]
    problem_type: ProblemType | None
    stated_activation: ScoreActivation | None = None

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @property
    def score_activation(self) -> ScoreActivation:
        """The activation of the scores: as sentence-transformers states it, or by default."""
        return self.stated_activation or self.pipeline_activation

    @property
    def pipeline_activation(self) -> ScoreActivation:
        """The activation that transformers' text-classification pipeline chooses."""
        return score_activation(self.problem_type, self.num_labels)


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
    saved_by: the class that config.json names, such as "BertForSequenceClassification".
    pruned_layers: layers from which transformers 4 or older removed attention heads.
    """

    family: Family
    encoder: EncoderConfig
    head: HeadConfig
    dropout: Dropouts
    quantized: bool = False
    saved_by: str | None = None
    pruned_layers: tuple[int, ...] = ()


def read_config(folder: Path) -> ModelConfig:
    """Read config.json in `folder`. Raises CheckpointError if it is missing or not supported."""
    raw = read_raw_config(folder)
    cross_encoder = folder / CROSS_ENCODER_FILE
    stated = read_json(cross_encoder) if cross_encoder.is_file() else {}
    try:
        return parse_config(raw, stated, _stored(folder))
    except CheckpointError as error:
        raise type(error)(f"{folder}/{error}") from error


def read_raw_config(folder: Path) -> dict[str, object]:
    """Read config.json as it is. Raises CheckpointError, also for a folder that is an adapter."""
    if not is_there(folder / "config.json"):
        raise explain_missing_config(folder)
    raw = read_json(folder / "config.json")
    reject_adapters(folder)
    return raw


def parse_config(
    raw: Mapping[str, object],
    cross_encoder: Mapping[str, object] | None = None,
    stored: Sequence[StoredTensor] = (),
) -> ModelConfig:
    """Translate the content of a config.json.

    cross_encoder: of config_sentence_transformers.json. stored: the tensors next to it, by which a
    message says what to write; none are needed.
    """
    family = family_of(_model_type(raw, stored))
    _reject_unsupported(raw)
    return ModelConfig(
        family,
        _encoder(family, raw),
        _head(family, raw, cross_encoder or {}, stored),
        _dropouts(family, raw),
        quantized=_is_quantized(raw.get("quantization_config"), stored),
        saved_by=_saved_by(raw),
        pruned_layers=_pruned_layers(raw.get("pruned_heads")),
    )


def _stored(folder: Path) -> Sequence[StoredTensor]:
    """List the tensors in `folder`; none if they cannot be read, which is reported by reading."""
    try:
        return stored_tensors(folder)
    except CheckpointError:
        return ()


def _saved_by(raw: Mapping[str, object]) -> str | None:
    architectures = raw.get("architectures")
    return str(architectures[0]) if isinstance(architectures, list) and architectures else None


def _model_type(raw: Mapping[str, object], stored: Sequence[StoredTensor]) -> object:
    """Return model_type; for a file without one, raise with the line to add."""
    model_type = raw.get("model_type")
    if model_type is not None:
        return model_type
    saved_by = _saved_by(raw) or ""
    classes = {name.replace("-", ""): name for name in FAMILIES}
    named = classes.get(saved_by.partition("For")[0].removesuffix("Model").lower())
    if named is not None:
        reason = f"architectures has {saved_by}"
    else:
        prefixes = {family.prefix: name for name, family in reversed(FAMILIES.items())}
        first = (tensor.name.partition(".")[0] + "." for tensor in stored)
        named = next((prefixes[each] for each in first if each in prefixes), None)
        reason = "its tensors are named so"
    if named is None or (saved_by and reason.startswith("its")):
        raise UnsupportedModelError(
            "config.json: has no model_type. Add the line of its family, one of: "
            + ", ".join(f'"model_type": "{name}",' for name in FAMILIES)
        )
    raise UnsupportedModelError(
        f'config.json: has no model_type. Add the line "model_type": "{named}", ({reason})'
    )


def _is_quantized(section: object, stored: Sequence[StoredTensor]) -> bool:
    """Return whether the weights are int8; raise for other schemes, and for floats under one."""
    try:
        return announces_int8(section)
    except UnsupportedModelError:
        if stored and all(tensor.dtype in _FLOATS for tensor in stored):
            method = section.get("quant_method") if isinstance(section, Mapping) else None
            raise CheckpointError(
                f"config.json: quantization_config announces weights quantized by {method!r}, but "
                f'all weights are floats ({stored[0].dtype}). Delete "quantization_config"'
            ) from None
        raise


def _pruned_layers(pruned: object) -> tuple[int, ...]:
    if not isinstance(pruned, Mapping):
        return ()
    return tuple(int(layer) for layer, heads in pruned.items() if heads)


def _reject_unsupported(raw: Mapping[str, object]) -> None:
    if raw.get("is_decoder"):
        raise UnsupportedModelError(
            "config.json: is_decoder is true, but only encoders are supported. If the model was "
            'trained as an encoder, write "is_decoder": false'
        )
    kind = raw.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise UnsupportedModelError(
            f"config.json: position_embedding_type {kind!r} is not supported, only 'absolute'. "
            "transformers 5 ignores it; to have its logits, write "
            '"position_embedding_type": "absolute"'
        )


def _encoder(family: Family, raw: Mapping[str, object]) -> EncoderConfig:
    hidden_size = _integer(family, raw, "hidden_size")
    num_heads = _integer(family, raw, "num_heads")
    if hidden_size % num_heads:
        raise CheckpointError(
            f"config.json: hidden_size {hidden_size} is not a multiple of the {num_heads} heads"
        )
    vocab_size = _integer(family, raw, "vocab_size")
    pad_token_id = _value(family, raw, "pad_token_id")
    if isinstance(pad_token_id, int) and pad_token_id >= vocab_size:
        raise CheckpointError(
            f"config.json: pad_token_id {pad_token_id} is not an id of the {vocab_size} tokens. "
            "Write the id of the tokenizer's padding token"
        )
    if family.positions_from_padding and not isinstance(pad_token_id, int):
        raise CheckpointError(
            "config.json: pad_token_id is missing, and positions are counted from it"
        )
    return EncoderConfig(
        vocab_size=vocab_size,
        embedding_size=_integer(family, raw, "embedding_size"),
        hidden_size=hidden_size,
        num_layers=_integer(family, raw, "num_layers"),
        num_heads=num_heads,
        intermediate_size=_integer(family, raw, "intermediate_size"),
        hidden_act=_hidden_act(family, raw),
        layer_norm_eps=_layer_norm_eps(family, raw),
        num_positions=_integer(family, raw, "num_positions"),
        type_vocab_size=_integer(family, raw, "type_vocab_size"),
        pad_token_id=cast("int | None", pad_token_id),
        positions=PositionRule(
            cast("int", pad_token_id) if family.positions_from_padding else None
        ),
    )


def _head(
    family: Family,
    raw: Mapping[str, object],
    cross_encoder: Mapping[str, object],
    stored: Sequence[StoredTensor],
) -> HeadConfig:
    labels = read_labels(raw, _head_rows(family, stored))
    problem_type = raw.get("problem_type")
    check_problem_type(problem_type, len(labels))
    known = cast("ProblemType | None", problem_type)
    stated = stated_activation(raw, cross_encoder, known, len(labels))
    return HeadConfig(family.head_activation, labels, known, stated)


def _head_rows(family: Family, stored: Sequence[StoredTensor]) -> int | None:
    """Return the number of the stored head's outputs; None without a head."""
    name = f"{family.head['head.output']}.weight"
    return next(
        (tensor.shape[0] for tensor in stored if f".{tensor.name}".endswith(f".{name}")), None
    )


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


def _hidden_act(family: Family, raw: Mapping[str, object]) -> str:
    value = _value(family, raw, "hidden_act")
    if not isinstance(value, str):
        key = family.config_keys["hidden_act"][0]
        raise CheckpointError(f'config.json: {key} must be a name such as "gelu", got {value!r}')
    return value


def _layer_norm_eps(family: Family, raw: Mapping[str, object]) -> float:
    value = _value(family, raw, "layer_norm_eps")
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise CheckpointError(f"config.json: layer_norm_eps must be a small number, got {value!r}")
    return float(value)

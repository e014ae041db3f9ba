"""ModelConfig: the settings of config.json, under one set of names for all families.

Invariant: a setting that would change the answer and is not implemented is rejected here, never
ignored.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isobatch.checkpoint.answer_tokens import AnswerTokens
from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families import FAMILIES, Family, family_of
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.folder_kind import explain_missing_config, reject_adapters
from isobatch.checkpoint.head_config import (
    HeadConfig,
    HeadOptions,
    HeadSource,
    VectorOptions,
    read_head,
    stated_task,
)
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.quantized import announces_int8
from isobatch.checkpoint.sentence_modules import SentenceModules, read_sentence_modules
from isobatch.checkpoint.unreadable import is_there
from isobatch.checkpoint.weight_files import StoredTensor, stored_tensors
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.types import Task

CROSS_ENCODER_FILE = "config_sentence_transformers.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Dropouts:
    """Dropout probabilities by place, used in training only.

    embeddings: of their rows. attention: of its weights. attention_output, feed_forward: of what is
    added to the rows. activation: of the rows that the feed-forward's last linear reads. distances:
    of their table. head_input: of the rows before the head's first linear. classifier: before its
    last one.
    """

    embeddings: float = 0.0
    attention: float = 0.0
    attention_output: float = 0.0
    activation: float = 0.0
    feed_forward: float = 0.0
    distances: float = 0.0
    head_input: float = 0.0
    classifier: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that is needed to build the model of one checkpoint.

    family: with the names that its head has for the task. task: that of the head.
    stated_task: the one that the files state; None where they state none.
    quantized: its file holds int8 weights, each with its scale.
    saved_by: the class that config.json names, such as "BertForSequenceClassification".
    pruned_layers: layers from which transformers 4 or older removed attention heads.
    """

    family: Family
    encoder: EncoderConfig
    head: HeadConfig
    dropout: Dropouts
    task: Task = "text-classification"
    stated_task: Task | None = None
    quantized: bool = False
    saved_by: str | None = None
    pruned_layers: tuple[int, ...] = ()


def read_config(
    folder: Path,
    task: Task = "text-classification",
    options: HeadOptions = VectorOptions(),  # noqa: B008  # immutable
) -> ModelConfig:
    """Read config.json in `folder`, and what is next to it, for `task`.

    options: of the vectors of "feature-extraction", or the tokens of a language model. Raises
    CheckpointError if a file is missing or not supported, MissingHeadError for vectors that no file
    says how to pool.
    """
    raw = read_raw_config(folder)
    cross_encoder = folder / CROSS_ENCODER_FILE
    stated = read_json(cross_encoder) if cross_encoder.is_file() else {}
    modules = None if isinstance(options, AnswerTokens) else read_sentence_modules(folder)
    try:
        return parse_config(raw, stated, _stored(folder), modules, task, options)
    except CheckpointError as error:
        raise type(error)(f"{folder}/{error}") from error


def read_stated_task(folder: Path) -> Task | None:
    """Return the task that the files in `folder` state, of any architecture.

    Raises CheckpointError for a file that cannot be read.
    """
    saved_by = _saved_by(read_raw_config(folder))
    return stated_task(saved_by, read_sentence_modules(folder))


def read_own_config(folder: Path, tensors: Collection[str] = ()) -> ModelConfig:
    """Read config.json for the task that the files say the checkpoint is for.

    Vectors that no file says how to pool are read for any pooling: the weights are the same.
    tensors: the names of its weights; where the files state no task and these have no head, it is
    read as an encoder. Raises as `read_config`.
    """
    config = read_config(folder)
    task = config.stated_task
    if task is None and tensors and not _has_head(config, tensors):
        task = "feature-extraction"
    if task in (None, config.task):
        return config
    pooling = "mean" if read_sentence_modules(folder) is None else None
    return read_config(folder, task, VectorOptions(pooling))


def _has_head(config: ModelConfig, tensors: Collection[str]) -> bool:
    output = f".{config.family.head.get('head.output')}.weight"
    names = (re.sub(r"\.modules_to_save\.[^.]+", "", name) for name in tensors)
    return any(f".{name}".endswith(output) for name in names)


def is_quantized(folder: Path) -> bool:
    """Return whether the weights in `folder` are int8; raises as `read_config` does."""
    section = read_raw_config(folder).get("quantization_config")
    try:
        return _is_quantized(section, _stored(folder))
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
    modules: SentenceModules | None = None,
    task: Task = "text-classification",
    options: HeadOptions = VectorOptions(),  # noqa: B008  # immutable
) -> ModelConfig:
    """Translate the content of a config.json; the others are as in HeadSource and `read_config`."""
    family = family_of(_model_type(raw, stored)).spelled_as([each.name for each in stored])
    values = family.values(raw)
    _reject_unsupported(family, values)
    encoder = family.encoder(values)
    if isinstance(options, AnswerTokens) and not encoder.layers[-1].attention.causal:
        raise UnsupportedModelError(
            f"config.json: {family.model_type} is not a language model, and answers by no token. "
            "Leave out true_token and false_token"
        )
    source = HeadSource(values, cross_encoder or {}, stored, modules)
    family, head = read_head(task, family, encoder.hidden_size, source, options)
    return ModelConfig(
        family,
        encoder,
        head,
        _dropouts(family, values, task),
        task,
        stated_task(_saved_by(raw), modules),
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
    classes = {re.sub("[-_]", "", name): name for name in FAMILIES}
    named = classes.get(saved_by.partition("For")[0].removesuffix("Model").lower())
    if named is not None:
        reason = f"architectures has {saved_by}"
    else:
        prefixes = Counter(family.prefix for family in FAMILIES.values())
        own = {family.prefix: name for name, family in reversed(FAMILIES.items())}
        first = (tensor.name.partition(".")[0] + "." for tensor in stored)
        named = next((own[each] for each in first if prefixes[each] == 1), None)
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
                f"config.json: quantization_config declares weights quantized by {method!r}, but "
                f'all weights are floats ({stored[0].dtype}). Delete "quantization_config"'
            ) from None
        raise


def _pruned_layers(pruned: object) -> tuple[int, ...]:
    if not isinstance(pruned, Mapping):
        return ()
    return tuple(int(layer) for layer, heads in pruned.items() if heads)


def _reject_unsupported(family: Family, values: ConfigValues) -> None:
    values.reject_others(family.only)
    if "is_causal" not in family.only and "is_causal" not in family.config_keys:
        values.reject_others({"is_causal": (False, None)})
    if values.raw.get("is_decoder") and "is_decoder" not in family.only:
        raise UnsupportedModelError(
            "config.json: is_decoder is true, but only encoders are supported. If the model was "
            'trained as an encoder, write "is_decoder": false'
        )
    kind = values.raw.get("position_embedding_type", "absolute")
    if kind != "absolute" and "position_embedding_type" not in family.only:
        raise UnsupportedModelError(
            f"config.json: position_embedding_type {kind!r} is not supported, only 'absolute'. "
            "transformers 5 ignores it; to have its logits, write "
            '"position_embedding_type": "absolute"'
        )


def _dropouts(family: Family, values: ConfigValues, task: Task) -> Dropouts:
    """Read them; "dropout.hidden" is that of all rows whose place has no key of its own."""
    hidden = values.probability("dropout.hidden", 0.0)
    classifier = values.probability("dropout.classifier", hidden)
    if task == "token-classification":  # some families have a key of its own for it
        classifier = values.probability("dropout.tokens", classifier)
    has_dense = "head.dense" in family.head
    pooler = values.probability("dropout.pooler", 0.0) if has_dense else 0.0
    return Dropouts(
        embeddings=values.probability("dropout.embeddings", hidden),
        attention=values.probability("dropout.attention", 0.0),
        attention_output=values.probability("dropout.attention_output", hidden),
        activation=values.probability("dropout.activation", 0.0),
        feed_forward=values.probability("dropout.feed_forward", hidden),
        distances=hidden,
        head_input=classifier if family.head_drops_input else pooler,
        classifier=classifier,
    )

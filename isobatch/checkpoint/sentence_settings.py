"""How a sentence-transformers folder reads texts: prompts, maximal length, lower case, similarity.

Next to modules.json, config_sentence_transformers.json and sentence_bert_config.json say so.
Invariant: a setting of theirs that changes a vector is applied, or rejected by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer, normalizers

from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer, read_tokenizer
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.sentence_modules import MODULES
from isobatch.checkpoint.source import ENCODER_SETTINGS
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.checkpoint.unreadable import is_there
from isobatch.errors import CheckpointError, UnsupportedModelError

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

_FILE = "config_sentence_transformers.json"

_NO_EFFECT = {
    "unpad_inputs": "speed",
    "document_length": "of encode_document, for late interaction",
    "query_length": "of encode_query, for late interaction",
    "query_expansion": "of late interaction, whose modules are not supported",
    "transformer_task": "the head of the checkpoint, which modules.json replaces",
}
"""Settings of the encoder that change no vector, each with the reason."""

_MODEL_ARGUMENTS = ("model_kwargs", "model_args")
_TOKENIZER_ARGUMENTS = ("processor_kwargs", "tokenizer_args")
_CONFIG_ARGUMENTS = ("config_kwargs", "config_args")
_LOADING = ("torch_dtype", "dtype", "attn_implementation", "add_pooling_layer", "device_map")
_REMOTE_CODE = "trust_remote_code"
"""sentence-transformers drops it from the file, too."""

_OWN_TASK = "feature-extraction"
_LAST_LAYER = {"method": "forward", "method_output_name": "last_hidden_state"}


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """The settings of a folder, as sentence-transformers has them by default if it has none.

    prompts: texts to put in front of others, by name. default_prompt: the name of the one that a
    text gets if none is named. tokenizer: settings that replace those of tokenizer_config.json.
    similarity: one of SIMILARITIES.
    """

    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    tokenizer: Mapping[str, object] = field(default_factory=dict)
    lower_case: bool = False
    similarity: str = "cosine"


def read_sentence_settings(folder: Path) -> SentenceSettings:
    """Read the settings of `folder`; the defaults without modules.json.

    Raises CheckpointError for a file that cannot be read or a value of another type,
    UnsupportedModelError for a setting that is not implemented.
    """
    if not is_there(folder / MODULES):
        return SentenceSettings()
    stated = read_json(folder / _FILE) if is_there(folder / _FILE) else {}
    if stated.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        stated = {}  # sentence-transformers too leaves out the prompts of another kind of model
    prompts = _prompts(folder / _FILE, stated)
    tokenizer, lower_case = _encoder_settings(folder)
    return SentenceSettings(
        prompts,
        _default_prompt(folder / _FILE, stated, prompts),
        tokenizer,
        lower_case,
        _similarity(stated),
    )


def read_sentence_encoder(
    folder: Path,
    max_tokens: int,
    read: Callable[[Path, Mapping[str, object]], CheckpointTokenizer] = read_tokenizer,
) -> TextEncoder:
    """Read the tokenizer in `folder` as its settings say; raises as `read_sentence_settings` does.

    max_seq_length replaces the tokenizer's own limit; `max_tokens`, the model's, holds always.
    read: reads the tokenizer, with settings that replace its own.
    """
    settings = read_sentence_settings(folder)
    tokenizer = read(folder, settings.tokenizer)
    special = tokenizer.backend.num_special_tokens_to_add(is_pair=False)
    if settings.tokenizer and tokenizer.model_max_length <= special:
        raise CheckpointError(
            f"{folder}: a maximal length of {tokenizer.model_max_length} leaves no room for a "
            f"text, because the tokenizer adds {special} tokens. Correct max_seq_length in "
            f"{ENCODER_SETTINGS[0]}"
        )
    if settings.lower_case:
        _add_lowercase(tokenizer.backend)
    return TextEncoder(tokenizer, max_tokens)


def _add_lowercase(tokenizer: Tokenizer) -> None:
    """Put a Lowercase before the normalizer, as sentence-transformers does, unless it has one."""
    own = tokenizer.normalizer
    parts = [own] if own else []
    if isinstance(own, normalizers.Sequence):
        parts = [own[index] for index in range(len(own))]
    if not any(isinstance(part, normalizers.Lowercase) for part in parts):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])


def _prompts(place: Path, stated: Mapping[str, object]) -> dict[str, str]:
    prompts = stated.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(
        isinstance(prompt, str | None) for prompt in prompts.values()
    ):
        raise CheckpointError(f"{place}: prompts must map names to texts, got {prompts!r}")
    return {str(name): prompt or "" for name, prompt in prompts.items()}


def _default_prompt(
    place: Path, stated: Mapping[str, object], prompts: Mapping[str, str]
) -> str | None:
    name = stated.get("default_prompt_name")
    if name is None or name in prompts:
        return None if name is None else str(name)
    raise CheckpointError(
        f"{place}: default_prompt_name is {name!r}, which is not one of its prompts "
        f"({', '.join(prompts) or 'there are none'}). Write the name of one, or null"
    )


def _similarity(stated: Mapping[str, object]) -> str:
    """Return the similarity; sentence-transformers too takes cosine for one that is not its own."""
    name = stated.get("similarity_fn_name")
    return name if isinstance(name, str) and name in SIMILARITIES else "cosine"


def _encoder_settings(folder: Path) -> tuple[dict[str, object], bool]:
    """Read the settings of the tokenizer, and whether texts are converted to lower case."""
    place = next((folder / name for name in ENCODER_SETTINGS if is_there(folder / name)), None)
    if place is None:
        return {}, False
    tokenizer: dict[str, object] = {}
    lower_case = False
    raw = read_json(place)
    ignored = _NO_EFFECT
    if raw.get("transformer_task", _OWN_TASK) != _OWN_TASK:
        ignored = _NO_EFFECT | dict.fromkeys(("modality_config", "module_output_name"), "its head")
    for key, value in raw.items():
        if value is None or value == {} or key in ignored:
            continue
        if key == "max_seq_length":
            tokenizer = {"model_max_length": _length(place, value), **tokenizer}
        elif key == "do_lower_case" and isinstance(value, bool):
            lower_case = value
        elif key in _TOKENIZER_ARGUMENTS and isinstance(value, dict):
            tokenizer |= {name: each for name, each in value.items() if name != _REMOTE_CODE}
        elif unsupported := _unsupported(key, value):
            raise UnsupportedModelError(
                f"{place}: {unsupported} is not supported. If it was not used in training, delete "
                "it"
            )
    return tokenizer, lower_case


def _unsupported(key: str, value: object) -> str | None:
    """Return a setting that may change the vectors; None for what sentence-transformers writes."""
    if key in (*_MODEL_ARGUMENTS, *_CONFIG_ARGUMENTS) and isinstance(value, dict):
        others = (name for name in value if name not in (*_LOADING, _REMOTE_CODE))
        return next((f"{key}.{name}" for name in others), None)
    if key == "modality_config" and isinstance(value, dict):
        text = value.get("text")
        named = {} if not isinstance(text, dict) else {name: text.get(name) for name in _LAST_LAYER}
        return None if named == _LAST_LAYER else f"{key}.text"
    if key == "module_output_name" and value == "token_embeddings":
        return None
    return key


def _length(place: Path, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(
            f"{place}: max_seq_length must be a positive number of tokens, got {value!r}"
        )
    return value

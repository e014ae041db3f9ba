"""Settings of a checkpoint's tokenizer, merged from its files as transformers 5.20 to 5.23 does.

The order of precedence is that of `PreTrainedTokenizerBase._from_pretrained`:
tokenizer_config.json, then, unless that has `added_tokens_decoder`, special_tokens_map.json over
it, added_tokens.json and the added tokens of tokenizer.json. Invariant: a setting that
transformers uses is used here, and one that cannot be is rejected by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from isobatch.checkpoint.conversion import convert_tokenizer_command
from isobatch.checkpoint.families import FAMILIES
from isobatch.checkpoint.json_files import read_json
from isobatch.errors import CheckpointError

TokenValue = str | AddedToken

NAMED_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""SPECIAL_TOKENS_ATTRIBUTES of transformers, in its order, which decides the ids of new tokens."""

PLAIN_CLASS = "PreTrainedTokenizerFast"
"""The class that reads tokenizer.json unchanged; transformers 5 calls it TokenizersBackend, too."""

_CLASS_ALIASES = {
    "BertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "LayoutLMTokenizer": "BertTokenizer",
    "LxmertTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "SqueezeBertTokenizer": "BertTokenizer",
    "DistilBertTokenizer": "DistilBertTokenizer",
    "RobertaTokenizer": "RobertaTokenizer",
    "BartTokenizer": "RobertaTokenizer",
    "LEDTokenizer": "RobertaTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "MvpTokenizer": "RobertaTokenizer",
    "MPNetTokenizer": "MPNetTokenizer",
    "XLMRobertaTokenizer": "XLMRobertaTokenizer",
    "CamembertTokenizer": "CamembertTokenizer",
    "AlbertTokenizer": "AlbertTokenizer",
    "DebertaV2Tokenizer": "DebertaV2Tokenizer",
    "LlamaTokenizer": "LlamaTokenizer",
    "Qwen2Tokenizer": "Qwen2Tokenizer",
    "PreTrainedTokenizer": PLAIN_CLASS,
    "TokenizersBackend": PLAIN_CLASS,
    "PythonBackend": PLAIN_CLASS,
}
"""The class that each `tokenizer_class`, without "Fast", means in transformers 5.20 to 5.23."""

_PYTHON_CLASSES = ("PreTrainedTokenizer", "PythonBackend")
"""Classes that transformers cannot build where config.json names them, and it has no own class of
the model_type; elsewhere it takes PLAIN_CLASS for them."""

_CLASS_OF_FAMILY = ("modernbert", "qwen2")
"""Families for which transformers ignores tokenizer_class, and takes the class of the family."""

_REJECTED = {
    "auto_map": "names a tokenizer in remote code, which is never run",
    "chat_control_tokens": "is not supported",
    "fast_tokenizer_files": "selects another tokenizer.json for each version of transformers",
    "fix_mistral_regex": "changes the pre-tokenizer of tokenizer.json",
    "gguf_file": "is not supported",
    "init_inputs": "passes unnamed arguments to the tokenizer's class",
    "merges": "is not supported: merges are read from tokenizer.json or merges.txt",
    "post_processor": "is not supported: it is read from tokenizer.json",
    "tokenizer_object": "is not supported",
    "tokenizer_padding": "is not supported: padding is read from tokenizer.json",
    "tokenizer_truncation": "is not supported: truncation is read from tokenizer.json",
    "trust_remote_code": "makes transformers follow other files",
    "vocab": "is not supported: the vocabulary is read from tokenizer.json or vocab.txt",
}
"""Keys of tokenizer_config.json that change what transformers does in ways that are not ours."""

_METHODS = (
    "add_special_tokens",
    "add_tokens",
    "apply_chat_template",
    "batch_decode",
    "clean_up_tokenization",
    "decode",
    "encode",
    "get_vocab",
    "model",
    "pad",
    "save_pretrained",
    "tokenize",
)
"""transformers raises AttributeError for a setting with the name of one of its methods."""

_TOKEN_FLAGS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """All that the files of `folder` say, except vocabulary and merges.

    class_name: one of the values of _CLASS_ALIASES. options: the merged keyword arguments of its
    class. added_tokens: tokens to add, by the id under which they are listed, which orders them.
    model_specific: special tokens with a name that is not in NAMED_TOKENS. stored: tokenizer.json,
    unless it does not exist or nothing of it is needed as JSON.
    """

    folder: Path
    class_name: str
    options: Mapping[str, Any]
    added_tokens: Mapping[int, AddedToken] = field(default_factory=dict)
    model_specific: Mapping[str, TokenValue] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = None

    @property
    def tokenizer_json(self) -> Path | None:
        """The path of tokenizer.json; None if it does not exist."""
        path = self.folder / "tokenizer.json"
        return path if path.is_file() else None

    def flag(self, name: str, default: bool) -> bool:
        """Return a Boolean option; raises CheckpointError for other types, as transformers does."""
        value = self.options.get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, got {value!r}")
        return value

    def error(self, name: str, problem: str) -> CheckpointError:
        """Return an error about the option `name`."""
        return CheckpointError(f'{self.folder / "tokenizer_config.json"}: "{name}" {problem}')


def read_optional_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file does not exist, as in old checkpoints."""
    return read_json(path) if path.is_file() else {}


def read_tokenizer_settings(
    folder: Path, overrides: Mapping[str, object] | None = None
) -> TokenizerSettings:
    """Read the settings in `folder`; `overrides` take precedence, as keyword arguments do there.

    Raises CheckpointError for settings that transformers rejects or that are not supported.
    """
    path = folder / "tokenizer_config.json"
    stated = read_optional_json(path)
    config = read_optional_json(folder / "config.json")
    class_name = _class_name(folder, stated, config)
    options = {key: value for key, value in stated.items() if key != "tokenizer_class"}
    options |= overrides or {}
    for key in options:
        if key in _METHODS or (key in _REJECTED and options[key]):
            reason = _REJECTED.get(key, "has the name of a method, which transformers rejects")
            raise CheckpointError(f'{path}: "{key}" {reason}. Remove it')
    if "additional_special_tokens" in options and not options.get("extra_special_tokens"):
        options["extra_special_tokens"] = options.pop("additional_special_tokens")
    model_specific = _pop_model_specific(options)
    stored = None
    if class_name != PLAIN_CLASS or "added_tokens_decoder" not in options:
        stored = read_optional_json(folder / "tokenizer.json") or None
    if "added_tokens_decoder" in options:
        listed = _listed_tokens(options.pop("added_tokens_decoder"), path)
    else:
        listed = _legacy_tokens(folder, options, model_specific, overrides or {})
        listed += _stored_tokens(folder, stored)  # which take the ids that both list
    options = {key: _convert(value) for key, value in options.items()}
    model_specific = _pop_custom_tokens(options) | model_specific
    by_content = {str(token): token for _, token in listed}  # also of one that has lost its id
    for name in NAMED_TOKENS:
        if options.get(name) is not None:
            options[name] = by_content.get(str(options[name]), options[name])
    return TokenizerSettings(folder, class_name, options, dict(listed), model_specific, stored)


def has_known_class(folder: Path) -> bool:
    """Return whether the class of the tokenizer in `folder` is one of _CLASS_ALIASES."""
    stated = read_optional_json(folder / "tokenizer_config.json")
    return _known_class(folder, stated, read_optional_json(folder / "config.json"))[0] is not None


def _known_class(
    folder: Path, stated: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[str | None, str]:
    """Return the class that `AutoTokenizer.from_pretrained` chooses, None for others, and why."""
    name = stated.get("tokenizer_class") or config.get("tokenizer_class")
    model_type = config.get("model_type")
    family = FAMILIES.get(str(model_type))
    if name:
        known = _CLASS_ALIASES.get(str(name).removesuffix("Fast"))
        problem = f"tokenizer_class {name!r} is not supported"
    else:
        known = family.tokenizer_class if family else None if model_type else PLAIN_CLASS
        problem = f"the tokenizer of model_type {model_type!r} is not supported"
    if name and family and model_type in _CLASS_OF_FAMILY:
        known = family.tokenizer_class
    if known == "LlamaTokenizer" and _is_byte_level(folder):
        known = PLAIN_CLASS
    registered = family is not None and model_type != "llama"
    if name in _PYTHON_CLASSES and not stated.get("tokenizer_class") and not registered:
        known = None
    return known, problem


def _class_name(folder: Path, stated: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the class of the tokenizer; CheckpointError for one that is not supported."""
    where = "tokenizer_config.json" if stated.get("tokenizer_class") else "config.json"
    known, problem = _known_class(folder, stated, config)
    if known is None:
        raise CheckpointError(
            f"{folder / where}: {problem}; supported: {', '.join(sorted(_CLASS_ALIASES))}, each "
            "also with Fast. A tokenizer that runs in Python cannot be used; if transformers loads "
            "this one with its Rust backend, convert it once: " + convert_tokenizer_command(folder)
        )
    return known


def _is_byte_level(folder: Path) -> bool:
    """Return whether tokenizer.json is of Llama 3, which transformers then reads unchanged."""
    path = folder / "tokenizer.json"
    return path.is_file() and '"ByteLevel"' in path.read_text("utf-8")


def _pop_model_specific(options: dict[str, Any]) -> dict[str, TokenValue]:
    """Take the special tokens with names of their own, such as "image_token", out of `options`."""
    found = _pop_custom_tokens(options)
    if isinstance(options.get("extra_special_tokens"), dict):
        found |= _convert(options.pop("extra_special_tokens"))
    if found:
        options.pop("model_specific_special_tokens", None)
        return found
    explicit = _convert(options.pop("model_specific_special_tokens", None) or {})
    return dict(explicit)


def _pop_custom_tokens(options: dict[str, Any]) -> dict[str, TokenValue]:
    return {
        key: options.pop(key)
        for key in list(options)
        if key.endswith("_token")
        and key not in NAMED_TOKENS
        and isinstance(options[key], str | AddedToken)
    }


def _listed_tokens(listed: object, path: Path) -> list[tuple[int, AddedToken]]:
    if not isinstance(listed, dict) or not all(isinstance(each, dict) for each in listed.values()):
        raise CheckpointError(f'{path}: "added_tokens_decoder" must map ids to token objects')
    return [(int(index), _added_token(token)) for index, token in listed.items()]


def listed_added_tokens(folder: Path, stated: Mapping[str, Any]) -> list[tuple[int, AddedToken]]:
    """Return the tokens that the files add to a vocabulary, with their ids.

    stated: tokenizer_config.json, whose added_tokens_decoder takes the place of added_tokens.json.
    """
    if "added_tokens_decoder" in stated:
        return _listed_tokens(stated["added_tokens_decoder"], folder / "tokenizer_config.json")
    return _legacy_tokens(folder, dict(stated), {}, {})


def _legacy_tokens(
    folder: Path,
    options: dict[str, Any],
    model_specific: dict[str, TokenValue],
    overrides: Mapping[str, object],
) -> list[tuple[int, AddedToken]]:
    """Merge special_tokens_map.json into `options`; return the tokens of added_tokens.json."""
    for key, value in read_optional_json(folder / "special_tokens_map.json").items():
        if not overrides.get(key):
            options[key] = _mapped_value(key, value, options)
    if isinstance(options.get("extra_special_tokens"), dict):
        model_specific |= _convert(options.pop("extra_special_tokens"))
    special = {str(options[name]) for name in NAMED_TOKENS if options.get(name)}
    special |= {str(token) for token in options.get("extra_special_tokens") or ()}
    return [
        (index, AddedToken(token, normalized=token not in special, special=token in special))
        for token, index in read_optional_json(folder / "added_tokens.json").items()
    ]


def _stored_tokens(folder: Path, stored: Mapping[str, Any] | None) -> list[tuple[int, AddedToken]]:
    listed = [] if stored is None else stored.get("added_tokens")
    if not isinstance(listed, list) or not all(isinstance(token, dict) for token in listed):
        raise CheckpointError(f'{folder / "tokenizer.json"}: "added_tokens" must list tokens')
    return [(token["id"], _added_token(token)) for token in listed]


def _mapped_value(key: str, value: Any, options: Mapping[str, Any]) -> Any:
    """Convert a value of special_tokens_map.json; a list of extra tokens extends the other."""
    if key != "extra_special_tokens":
        return _added_token(value, special=True) if isinstance(value, dict) else value
    if not isinstance(value, list):
        return value
    merged = list(options.get(key) or [])
    for token in value:
        converted = _added_token(token, special=True) if isinstance(token, dict) else token
        if converted not in merged:
            merged.append(converted)
    return merged


def _convert(value: Any) -> Any:
    """Replace objects with "__type": "AddedToken" by AddedToken, at any depth."""
    if isinstance(value, dict):
        if value.get("__type") == "AddedToken":
            return _added_token(value)
        return {key: _convert(each) for key, each in value.items()}
    return [_convert(each) for each in value] if isinstance(value, list) else value


def _added_token(stated: Mapping[str, Any], **flags: bool) -> AddedToken:
    return AddedToken(**{key: stated[key] for key in _TOKEN_FLAGS if key in stated} | flags)

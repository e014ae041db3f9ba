"""The tokenizer of a checkpoint: one object with all that any API needs to know of it.

Invariant: for every supported class the ids, token types, truncation and special tokens are those
of `AutoTokenizer` in transformers 5.20 to 5.23, or the folder is rejected.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import tokenizers
from tokenizers import AddedToken

from isobatch.checkpoint.conversion import convert_tokenizer_command, isobatch_convert
from isobatch.checkpoint.source import SENTENCEPIECE_FILES
from isobatch.checkpoint.stored_tokenizer import StoredTokenizer
from isobatch.checkpoint.tokenizer_classes import CLASSES, TokenizerClass
from isobatch.checkpoint.tokenizer_settings import (
    NAMED_TOKENS,
    PLAIN_CLASS,
    TokenizerSettings,
    TokenValue,
    read_tokenizer_settings,
)
from isobatch.errors import CheckpointError

NO_LIMIT = 1_000_000_000
"""transformers writes 1e30 into model_max_length where a tokenizer has no limit."""

TokenizerSide = Literal["right", "left"]

_FOREIGN_FILES = ("tekken.json", "tokenizer.model", "tiktoken.model")
"""Without tokenizer.json, transformers converts a file with one of these names in its name."""

_FOUND_FILES = {
    "bpe.codes": "from BertweetTokenizer or another that runs in Python and is not supported",
}


@dataclass(frozen=True, slots=True)
class CheckpointTokenizer:
    """A tokenizer as its files define it.

    backend: without padding and truncation. special_tokens: "pad_token" → "[PAD]" and so on.
    extra_special_tokens: those without a name. model_input_names: the columns that the model
    takes; without "token_type_ids" it gets zeros. model_max_length: in tokens, NO_LIMIT or more
    without a limit. settings: those of its files.
    """

    backend: tokenizers.Tokenizer
    special_tokens: Mapping[str, str]
    extra_special_tokens: tuple[str, ...]
    model_input_names: tuple[str, ...]
    model_max_length: int
    truncation_side: TokenizerSide
    padding_side: TokenizerSide
    clean_up_tokenization_spaces: bool
    settings: TokenizerSettings

    @property
    def passes_token_types(self) -> bool:
        """Whether the model gets the token types of a pair."""
        return "token_type_ids" in self.model_input_names


def read_tokenizer(
    folder: Path, overrides: Mapping[str, object] | None = None
) -> CheckpointTokenizer:
    """Read the tokenizer in `folder`; `overrides` replace settings of tokenizer_config.json.

    Raises CheckpointError if there is none, or if its files cannot be read or are not supported.
    """
    check_vocabulary_files(folder)
    settings = read_tokenizer_settings(folder, overrides)
    tokenizer_class = CLASSES[settings.class_name]
    _check_files(settings, tokenizer_class)
    try:
        return _build(settings, tokenizer_class)
    except CheckpointError:
        raise
    except BaseException as error:
        # The library raises bare Exception for files that it cannot read, and PanicException, which
        # derives from BaseException and cannot be imported, for some of them.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(
            f"{folder}: the tokenizer cannot be built from its files: {error}. Load it with "
            "transformers, which checks the files, and save it again"
        ) from error


def _build(settings: TokenizerSettings, tokenizer_class: TokenizerClass) -> CheckpointTokenizer:
    """Build as the class's __init__ does: backend, special tokens, added tokens, template."""
    plain = settings.class_name == PLAIN_CLASS
    stored = StoredTokenizer.parse(settings.stored) if settings.stored and not plain else None
    named = _named_tokens(settings, tokenizer_class)
    backend = tokenizer_class.build(settings, stored, named)
    extra = _extra_tokens(settings, tokenizer_class)
    components = stored.components if stored else backend
    options = dict(settings.options)
    if (truncation := components.truncation) is not None:
        options.setdefault("truncation_side", truncation["direction"])
    if (padding := components.padding) is not None:
        options.setdefault("padding_side", padding["direction"])
        # A stated null is a decision: only where the key is absent is the stored pad token used.
        if not tokenizer_class.special_tokens.get("pad_token") and "pad_token" not in options:
            named["pad_token"] = padding["pad_token"]
    backend.no_padding()
    backend.no_truncation()
    options.setdefault("padding_side", tokenizer_class.padding_side)
    named |= settings.model_specific
    backend.encode_special_tokens = settings.flag("split_special_tokens", False)
    _add_tokens(backend, settings, named, extra)
    backend.post_processor = tokenizer_class.template(settings, backend, named)
    return CheckpointTokenizer(
        backend,
        {name: str(token) for name, token in named.items() if token is not None},
        tuple(str(token) for token in extra),
        _input_names(settings, tokenizer_class),
        _max_length(settings),
        _side(settings, options, "truncation_side"),
        _side(settings, options, "padding_side"),
        bool(options.get("clean_up_tokenization_spaces", False)),
        settings,
    )


def _named_tokens(
    settings: TokenizerSettings, tokenizer_class: TokenizerClass
) -> dict[str, TokenValue | None]:
    """Return the special tokens by name; None for a name without a token."""
    named: dict[str, TokenValue | None] = dict.fromkeys(NAMED_TOKENS)
    named |= tokenizer_class.special_tokens
    for name in NAMED_TOKENS:
        if name not in settings.options:
            continue
        value = settings.options[name]
        if not isinstance(value, str | AddedToken | None):
            raise settings.error(name, f"must be a token, got {value!r}")
        default = tokenizer_class.special_tokens.get(name)
        if isinstance(value, str) and isinstance(default, AddedToken):
            value = AddedToken(value, lstrip=default.lstrip, special=True)
        named[name] = value
    return named


def _extra_tokens(settings: TokenizerSettings, tokenizer_class: TokenizerClass) -> list[TokenValue]:
    options = settings.options
    if "extra_special_tokens" in options:
        extra = options["extra_special_tokens"]
    else:
        extra = options.get("additional_special_tokens")
        extra = tokenizer_class.extra_special_tokens if extra is None else extra
    tokens = [] if extra is None else extra
    if not isinstance(tokens, list | tuple) or not all(
        isinstance(token, str | AddedToken) for token in tokens
    ):
        raise settings.error("extra_special_tokens", f"must be a list of tokens, got {extra!r}")
    return list(tokens)


def _add_tokens(
    backend: tokenizers.Tokenizer,
    settings: TokenizerSettings,
    named: Mapping[str, TokenValue | None],
    extra: list[TokenValue],
) -> None:
    """Add listed tokens by id, then special ones that are not among them, as transformers does.

    New tokens are numbered from the end of the vocabulary, not by the ids of the files.
    """
    tokens: list[Any] = [token for _, token in sorted(settings.added_tokens.items())]
    listed = backend.get_added_tokens_decoder()
    known = {listed[index].content for index in listed} | {str(token) for token in tokens}
    for token in (*named.values(), *extra):
        if token is not None and str(token) not in known and token not in tokens:
            tokens.append(token)
    names = {str(token) for token in named.values() if token}
    for index, token in enumerate(tokens):
        if isinstance(token, str):
            tokens[index] = AddedToken(token, special=True)
        elif str(token) in names:
            token.special = True
    if tokens:
        backend.add_tokens(tokens)


def _input_names(settings: TokenizerSettings, tokenizer_class: TokenizerClass) -> tuple[str, ...]:
    names = settings.options.get("model_input_names", tokenizer_class.model_input_names)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise settings.error("model_input_names", f"must be a list of names, got {names!r}")
    return tuple(names)


def _max_length(settings: TokenizerSettings) -> int:
    """Return the tokenizer's own limit in tokens; files of 2019 call it `max_len`."""
    name = "model_max_length" if "model_max_length" in settings.options else "max_len"
    limit = settings.options.get(name)
    if limit is None:
        return NO_LIMIT
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 1:
        raise settings.error(name, f"must be a positive number of tokens, got {limit!r}")
    return int(min(limit, NO_LIMIT))


def _side(settings: TokenizerSettings, options: Mapping[str, Any], name: str) -> TokenizerSide:
    side = options.get(name, "right")
    if side not in ("right", "left"):
        raise settings.error(name, f"must be 'right' or 'left', got {side!r}")
    return cast("TokenizerSide", side)


def check_vocabulary_files(folder: Path) -> None:
    """Raise CheckpointError, with the command, where a model of SentencePiece is all there is."""
    others = ("tokenizer.json", "vocab.txt", "vocab.json")
    if not folder.is_dir() or any((folder / name).is_file() for name in others):
        return
    found = [name for name in SENTENCEPIECE_FILES if (folder / name).is_file()]
    if found:
        raise CheckpointError(
            f"{folder}: contains no tokenizer.json; {found[0]} is a SentencePiece model. "
            'Convert it once, with pip install "isobatch[sentencepiece]": '
            f"{isobatch_convert(folder)}"
        )


def _check_files(settings: TokenizerSettings, tokenizer_class: TokenizerClass) -> None:
    """Raise CheckpointError, naming the files that are there, if no vocabulary can be read."""
    folder = settings.folder
    if settings.tokenizer_json:
        return
    names = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in names if any(each in name for each in _FOREIGN_FILES)]
    if tokenizer_class.files and not foreign and set(tokenizer_class.files) <= set(names):
        return
    needed = ", nor ".join(
        ["tokenizer.json", *filter(None, [" with ".join(tokenizer_class.files)])]
    )
    found = [f"{name} is {_FOUND_FILES[name]}" for name in names if name in _FOUND_FILES]
    found += [f"{name} is a vocabulary in another format" for name in foreign]
    raise CheckpointError(
        f"{folder}: contains no {needed}, which its tokenizer class {settings.class_name} needs"
        f"{''.join(f'; {each}' for each in found)}. "
        + _advice(folder, names, convertible=bool(foreign))
    )


def _advice(folder: Path, names: list[str], *, convertible: bool) -> str:
    for name, each in CLASSES.items():
        if each.files and set(each.files) <= set(names) and "bpe.codes" not in names:
            return (
                f"{' with '.join(each.files)} fits {name}: if the model was trained with that, set "
                f'"tokenizer_class": "{name}" in tokenizer_config.json'
            )
    if convertible:
        command = convert_tokenizer_command(folder)
        return f"If transformers loads it, save it as tokenizer.json, once: {command}"
    return "Copy tokenizer.json and tokenizer_config.json from the model that it was trained from"

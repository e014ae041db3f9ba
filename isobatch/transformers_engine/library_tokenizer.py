"""The tokenizer for the engine "transformers": ours where it has the class, else the library's own.

Invariant: it runs in Rust and encodes without padding, as every CheckpointTokenizer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isobatch.checkpoint.checkpoint_tokenizer import (
    NO_LIMIT,
    CheckpointTokenizer,
    check_vocabulary_files,
    read_tokenizer,
)
from isobatch.checkpoint.tokenizer_settings import (
    PLAIN_CLASS,
    TokenizerSettings,
    has_known_class,
)
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.transformers_engine.library import library, quiet


def read_library_tokenizer(
    folder: Path, overrides: Mapping[str, object] | None = None
) -> CheckpointTokenizer:
    """Read the tokenizer in `folder`; `overrides` replace settings of tokenizer_config.json.

    Raises CheckpointError for files that cannot be read, UnsupportedModelError for a tokenizer that
    runs in Python.
    """
    if has_known_class(folder):
        return read_tokenizer(folder, overrides)
    check_vocabulary_files(folder)
    try:
        with quiet():
            loaded = library().AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True, **(overrides or {})
            )
    except Exception as error:  # a broken file raises what its reader raises
        raise CheckpointError(
            f"{folder}: transformers cannot load its tokenizer: {error}"
        ) from error
    name = type(loaded).__name__
    backend: Any = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedModelError(
            f"{folder}: its tokenizer, {name}, runs in Python and has no fast version, which "
            "Isobatch needs. Use a checkpoint with another tokenizer"
        )
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = bool(loaded.split_special_tokens)
    special = {key: str(token) for key, token in loaded.special_tokens_map.items() if token}
    limit = loaded.model_max_length
    return CheckpointTokenizer(
        backend,
        {name: token for name, token in special.items() if name.endswith("_token")},
        tuple(str(token) for token in getattr(loaded, "extra_special_tokens", ()) or ()),
        tuple(loaded.model_input_names),
        NO_LIMIT if limit is None else int(min(limit, NO_LIMIT)),
        loaded.truncation_side,
        loaded.padding_side,
        bool(getattr(loaded, "clean_up_tokenization_spaces", False)),
        TokenizerSettings(folder, PLAIN_CLASS, dict(overrides or {})),
    )

"""Traits of a tokenizer: ids of ordinary words, its padding token, side and maximum length.

It works with transformers' tokenizers and Isobatch's own. Invariant: nothing here changes the
tokenizer, except `choose_pad`, which reports it; and transformers' log level is afterwards what it
was before.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from isobatch.audit.subject import Outputs, PaddedModel, PaddingSide, Rectangle
from isobatch.audit.targets.output_reader import SAMPLE_TEXTS
from isobatch.errors import CheckpointError
from isobatch.extras import needs_extra
from isobatch.transformers_engine.library import quiet

NUM_FILLERS = 8
_NO_LIMIT = 1e9  # transformers writes 1e30 where a tokenizer has no limit
_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token")


def audit_library(name: str) -> ModuleType:
    """Import the module `name`. OptionError, naming the extra `audit`, if it is not installed."""
    with needs_extra("audit", "auditing this kind of target"):
        return importlib.import_module(name)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress the warnings, log lines and progress bars of transformers."""
    with quiet(audit_library("transformers.utils.logging")):
        yield


def load_tokenizer(path: str | Path, revision: str | None = None) -> Any:
    """Load the tokenizer of a folder or hub id; CheckpointError says what was wrong."""
    auto = audit_library("transformers").AutoTokenizer
    try:
        with quiet_transformers():
            tokenizer = auto.from_pretrained(
                local_or_id(path), revision=revision, trust_remote_code=False
            )
    except Exception as error:  # a broken file raises what its reader raises
        raise CheckpointError(f"{path}: its tokenizer cannot be loaded: {error}") from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # made up where files are missing
        raise CheckpointError(
            f"{path}: no tokenizer with a vocabulary found; pass the folder that has one with "
            "--tokenizer"
        )
    return tokenizer


def local_or_id(path: str | Path) -> str:
    """Return a folder with its ~ resolved, or a hub id unchanged."""
    place = Path(path).expanduser()
    return str(place if place.exists() else path)


def shown_name(path: str) -> str:
    """Return the display name: the last part of a folder, which does not leak local paths."""
    place = Path(path).expanduser()
    return place.resolve().name if place.exists() else path


def padded_model(
    tokenizer: Any,
    forward: Callable[[Rectangle], Outputs],
    num_ids: int | None,
    encode: Callable[[str], list[int]] | None = None,
) -> PaddedModel:
    """Make a PaddedModel with all that the tokenizer determines.

    num_ids: the number of ids that the model has embeddings for. encode: default: as transformers'
    users do, with special tokens and truncation.
    """
    limit = getattr(tokenizer, "model_max_length", None)
    pad = tokenizer.pad_token_id
    return PaddedModel(
        encode=encode or (lambda text: encode_with(tokenizer, text)),
        forward=forward,
        pad_id=pad,
        filler_ids=_filler_ids(tokenizer, num_ids),
        padding_side=padding_side(tokenizer),
        num_ids=num_ids,
        tokenizer_limit=int(limit) if limit is not None and limit < _NO_LIMIT else None,
        pad_is_also=tuple(name for name in _NAMES if getattr(tokenizer, f"{name}_id", None) == pad),
    )


def encode_with(tokenizer: Any, text: str) -> list[int]:
    """Tokenize one text as transformers' users do, with special tokens and truncation."""
    with quiet_transformers():
        return [int(each) for each in tokenizer(text, truncation=True)["input_ids"]]


def _filler_ids(tokenizer: Any, num_ids: int | None) -> tuple[int, ...]:
    """Return ids of ordinary tokens, below `num_ids`, spread over the vocabulary; at least two."""
    special = set(tokenizer.all_special_ids)
    # Isobatch's own tokenizer needs no transformers, which may not be installed.
    with quiet_transformers() if "transformers" in sys.modules else nullcontext():
        found = {
            int(token_id)
            for text in SAMPLE_TEXTS
            for token_id in tokenizer(text, add_special_tokens=False)["input_ids"]
        }
    limit = len(tokenizer) if num_ids is None else num_ids
    ordinary = sorted(each for each in found - special if num_ids is None or each < num_ids)
    if len(ordinary) < 2:  # a vocabulary without any of these words
        ordinary = [each for each in range(limit) if each not in special]
    step = max(1, len(ordinary) // NUM_FILLERS)
    return tuple(ordinary[step // 2 :: step][:NUM_FILLERS])


def padding_side(tokenizer: Any) -> PaddingSide:
    """Return the side on which it pads."""
    return "left" if getattr(tokenizer, "padding_side", "right") == "left" else "right"


def gives_types(tokenizer: Any) -> bool:
    """Find out whether it returns token types, and gives each token of a single text the type 0."""
    with quiet_transformers():
        return set(tokenizer("a").get("token_type_ids", ())) == {0}


def labels_of(names: object) -> tuple[str, ...] | None:
    """Return the labels of a config's id2label in order; None if its keys are not numbers."""
    if not isinstance(names, dict) or not all(str(key).isdigit() for key in names):
        return None
    return tuple(str(names[key]) for key in sorted(names, key=int)) or None


def choose_pad(tokenizer: Any, name: str) -> dict[str, str]:
    """Make eos_token the padding token where there is none, as users do; return facts on it."""
    if tokenizer.pad_token_id is not None:
        return {"pad token": f"{tokenizer.pad_token} ({tokenizer.pad_token_id})"}
    if getattr(tokenizer, "eos_token", None) is None:
        raise CheckpointError(
            f"{name}: its tokenizer has neither a pad token nor an eos_token, so no batch can be "
            'padded; set one as "pad_token" in its tokenizer_config.json'
        )
    tokenizer.pad_token = tokenizer.eos_token
    return {
        "pad token": f"{tokenizer.pad_token} ({tokenizer.pad_token_id}): there was none, so "
        "eos_token was used, as is common"
    }

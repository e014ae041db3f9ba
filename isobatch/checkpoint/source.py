"""Locate a checkpoint: the bundled model, a folder, or a hub id, which is downloaded.

Invariant: only the files that a checkpoint needs are downloaded, with the card that states its
licence, and never a pickle, unless the caller asks for one to convert it.
"""

from collections.abc import Sequence
from pathlib import Path

from isobatch.checkpoint.unreadable import is_there, unreadable
from isobatch.errors import CheckpointError, OptionError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
"""All files that a tokenizer is read from; no checkpoint has all of them."""

SENTENCEPIECE_FILES = (
    "spm.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "sentencepiece.model",
    "tokenizer.model",
)
"""Models of SentencePiece, of which `isobatch convert` makes tokenizer.json."""

ENCODER_SETTINGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names of the file with the settings of sentence-transformers' encoder: the first one that exists
is read, and all but old versions write the first."""

CONFIG_FILES = (
    "config.json",
    "config_sentence_transformers.json",
    *ENCODER_SETTINGS,
)
"""All files that the configuration is read from."""

_WANTED = (
    *CONFIG_FILES,
    "modules.json",
    "[0-9]_*/config.json",
    "[0-9]_*/model.safetensors",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "README.md",
    *TOKENIZER_FILES,
    *SENTENCEPIECE_FILES,
)
"""None begins with *, which would match in sub-folders too; those of modules begin with a digit."""

_TO_CONVERT = (
    "pytorch_model.bin",
    "pytorch_model-*.bin",
    "pytorch_model.bin.index.json",
    "[0-9]_*/pytorch_model.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "LICENSE*",
    "NOTICE",
)
"""What `isobatch convert` reads besides: pickles and adapters."""

_HUB_SECONDS = 5.0
"""Timeout for the metadata request; downloads have none."""


def bundled_folder() -> Path:
    """Return the folder of the bundled checkpoint: sentiment of English sentences."""
    return Path(__file__).parent.parent / "bundled" / "sst2-minilm"


def checkpoint_name(path: str | Path | None) -> str:
    """Return a hub id as it is, or the name of a folder without its path, which stays private."""
    place = bundled_folder() if path is None else Path(path).expanduser()
    return place.resolve().name if place.exists() else str(path)


def locate_checkpoint(
    path: str | Path | None = None, revision: str | None = None, *, to_convert: bool = False
) -> Path:
    """Return a checkpoint's folder: the bundled one for None, a folder, or a hub id's snapshot.

    to_convert: of a hub id, download pickles and adapters too; none is opened here.

    An existing folder takes precedence over a hub id of the same name. Raises CheckpointError, and
    OptionError for a revision of a folder, which has none; "main", which transformers states by
    default, is the folder itself.
    """
    if path is None:
        _reject_revision("the bundled model", revision)
        return bundled_folder()
    folder = Path(path).expanduser()
    if is_there(folder):
        _reject_revision(f"{path}, a local folder,", revision)
        if folder.is_dir():
            return folder
        if folder.is_symlink() and not folder.exists():
            raise unreadable(folder, FileNotFoundError(str(folder)))
        raise CheckpointError(
            f"{path}: is a file. Use the folder that contains it: {folder.parent}"
        )
    if to_convert:
        return _from_hub(str(path), revision, _WANTED + _TO_CONVERT)
    return _from_hub(str(path), revision)


def _reject_revision(name: str, revision: str | None) -> None:
    if revision not in (None, "main"):
        raise OptionError(
            f"revision {revision!r} is of a model on the hub, and {name} has none. Omit the "
            "revision, or use the hub id"
        )


def _from_hub(name: str, revision: str | None, wanted: Sequence[str] = _WANTED) -> Path:
    # Imported here: it takes 0.3 s, which a local folder need not pay.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        # snapshot_download itself has no timeout for a hub that does not respond.
        model = HfApi().model_info(name, revision=revision or "main", timeout=_HUB_SECONDS)
        files = {each.rfilename for each in model.siblings or ()}
        if files & {"model.safetensors", "model.safetensors.index.json"}:
            wanted = [pattern for pattern in wanted if not pattern.startswith("pytorch_model")]
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(wanted)))
    except HFValidationError:
        raise CheckpointError(f"{name}: no such folder, and not the id of a hub model") from None
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"{name}: no such folder, and the hub rejected it: {error}"
        ) from error
    except Exception as error:  # noqa: BLE001 - errors of the HTTP library that the client uses
        return _from_cache(name, revision, wanted, error)


def _from_cache(name: str, revision: str | None, wanted: Sequence[str], cause: Exception) -> Path:
    """Fall back to an earlier download where the hub is unreachable."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(wanted), local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{name}: no such folder, and the hub is unreachable "
            f"({type(cause).__name__}: {cause}). Pass the path of a downloaded folder instead"
        ) from cause

"""Locate a checkpoint: the bundled model, a folder, or a hub id, which is downloaded.

Invariant: only the files that a checkpoint needs are downloaded, with the card that states its
licence, and never a pickle.
"""

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

CONFIG_FILES = ("config.json", "config_sentence_transformers.json")
"""All files that the configuration is read from."""

_WANTED = (
    *CONFIG_FILES,
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "README.md",
    *TOKENIZER_FILES,
)
"""None begins with *, which would match in sub-folders too."""

_HUB_SECONDS = 5.0
"""Timeout for the metadata request; downloads have none."""


def bundled_folder() -> Path:
    """Return the folder of the bundled checkpoint: sentiment of English sentences."""
    return Path(__file__).parent.parent / "bundled" / "sst2-minilm"


def checkpoint_name(path: str | Path | None) -> str:
    """Return a hub id as it is, or the name of a folder without its path, which stays private."""
    place = bundled_folder() if path is None else Path(path).expanduser()
    return place.resolve().name if place.exists() else str(path)


def locate_checkpoint(path: str | Path | None = None, revision: str | None = None) -> Path:
    """Return a checkpoint's folder: the bundled one for None, a folder, or a hub id's snapshot.

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
            f"{path}: is a file. Name the folder that contains it: {folder.parent}"
        )
    return _from_hub(str(path), revision)


def _reject_revision(name: str, revision: str | None) -> None:
    if revision not in (None, "main"):
        raise OptionError(
            f"revision {revision!r} is of a model on the hub, and {name} has none. Omit the "
            "revision, or name the hub id"
        )


def _from_hub(name: str, revision: str | None) -> Path:
    # Imported here: it takes 0.3 s, which a local folder need not pay.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        # snapshot_download itself has no timeout for a hub that does not respond.
        HfApi().model_info(name, revision=revision or "main", timeout=_HUB_SECONDS)
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_WANTED)))
    except HFValidationError:
        raise CheckpointError(f"{name}: no such folder, and not the id of a hub model") from None
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"{name}: no such folder, and the hub rejected it: {error}"
        ) from error
    except Exception as error:  # noqa: BLE001 - the errors of whichever HTTP library the client uses
        return _from_cache(name, revision, error)


def _from_cache(name: str, revision: str | None, cause: Exception) -> Path:
    """Fall back to an earlier download where the hub is unreachable."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(_WANTED), local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{name}: no such folder, and the hub is unreachable "
            f"({type(cause).__name__}: {cause}). Pass the path of a downloaded folder instead"
        ) from cause

"""The hub id and the commit of a folder of its cache, `models--OWNER--NAME/snapshots/COMMIT`."""

from pathlib import Path


def hub_source(folder: Path) -> tuple[str, str] | None:
    """Return the hub id and the commit of a downloaded folder; None for any other folder."""
    repository = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repository.startswith("models--"):
        return None
    return repository.removeprefix("models--").replace("--", "/"), folder.name

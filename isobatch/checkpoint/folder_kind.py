"""Folders that are not a checkpoint: LoRA adapters, and folders above or below one.

Invariant: an adapter's base model is never loaded in its place.
"""

import shlex
from pathlib import Path

from safetensors import SafetensorError, safe_open

from isobatch.checkpoint.conversion import python_command
from isobatch.checkpoint.hub_snapshot import hub_source
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.unreadable import unreadable
from isobatch.errors import CheckpointError, UnsupportedModelError

ADAPTER = "adapter_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_MERGEABLE = ("LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "BOFT", "VERA")
_HEADS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")


def explain_missing_config(folder: Path) -> CheckpointError:
    """Describe a folder without config.json by what it has."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        return unreadable(folder, error)
    if ADAPTER in names:
        return _describe_adapter(folder)
    inner = sorted(path.parent for path in folder.glob("*/config.json"))
    missing = f"{folder / 'config.json'}: no such file, and a checkpoint folder must contain it"
    if inner:
        shown = " or ".join(map(str, inner[:4]))
        return CheckpointError(f"{missing}. Name the folder inside that has it: {shown}")
    if (folder.parent / "config.json").is_file():
        return CheckpointError(f"{missing}. Name the folder above: {folder.parent}")
    if not names:
        return CheckpointError(f"{missing}; this one is empty")
    return CheckpointError(
        f"{missing}. Copy it from where the model was trained, or from the hub's page of its base "
        "model"
    )


def reject_adapters(folder: Path) -> None:
    """Raise UnsupportedModelError for a folder with adapter_config.json.

    transformers with PEFT would load its base model, also where whole weights are next to it.
    """
    if not (folder / ADAPTER).is_file():
        return
    if any((folder / name).is_file() for name in _WEIGHTS):
        remainder = shlex.quote(str(folder / ADAPTER))
        raise UnsupportedModelError(
            f"{folder}: has whole weights and {ADAPTER}, of which transformers takes the adapter "
            f"if PEFT is installed, else the weights. To use the weights: rm {remainder}"
        )
    raise _describe_adapter(folder)


def _describe_adapter(folder: Path) -> UnsupportedModelError:
    config = read_json(folder / ADAPTER)
    kind, base = str(config.get("peft_type")), config.get("base_model_name_or_path")
    is_one = f"{folder}: is an adapter ({ADAPTER}: {kind}), not a whole checkpoint"
    if kind not in _MERGEABLE:
        return UnsupportedModelError(
            f"{is_one}, and this kind cannot be merged into the weights of its base model "
            f"({base or 'not named'}). Only LoRA and its variants can"
        )
    named = str(base) if base else "BASE"
    unnamed = "" if base else ", which the file does not name: write it for BASE"
    return UnsupportedModelError(
        f"{is_one}. Merge it once into its base model{f' {base}' if base else unnamed}, with "
        f"pip install peft: {_merge_command(folder, named)}; then load {_merged_folder(folder)}"
    )


def _merged_folder(folder: Path) -> str:
    source = hub_source(folder)
    return f"{source[0].rpartition('/')[2]}-merged" if source else f"{folder}-merged"


def _merge_command(folder: Path, base: str) -> str:
    source = hub_source(folder)
    adapter, merged = source[0] if source else str(folder), _merged_folder(folder)
    labels = _num_labels(folder)
    given = repr(base)
    if labels:  # the base model's own head, perhaps of another size, is replaced by the adapter's
        given += f", num_labels={labels}, ignore_mismatched_sizes=True"
    tokenizer = adapter if _has_tokenizer(folder) else base
    return python_command(
        "from peft import PeftModel; "
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer; "
        f"base = AutoModelForSequenceClassification.from_pretrained({given}); "
        f"model = PeftModel.from_pretrained(base, {adapter!r}).merge_and_unload(); "
        f"model.save_pretrained({merged!r}); "
        f"AutoTokenizer.from_pretrained({tokenizer!r}).save_pretrained({merged!r})"
    )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json"))


def _num_labels(folder: Path) -> int | None:
    """Return the number of labels of the head that was trained with the adapter, if any was."""
    try:
        with safe_open(folder / _ADAPTER_WEIGHTS, framework="pt") as file:
            for name in list(file.keys()):
                if name.endswith(_HEADS):
                    return int(file.get_slice(name).get_shape()[0])
    except (SafetensorError, OSError):
        return None
    return None

"""Folders that are not a checkpoint: LoRA adapters, and folders above or below one.

Invariant: an adapter's base model is never loaded in its place.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from isobatch.checkpoint.conversion import flatten_command, isobatch_convert, python_command
from isobatch.checkpoint.hub_snapshot import hub_source
from isobatch.checkpoint.json_files import read_json, read_json_list
from isobatch.checkpoint.lora_settings import ADAPTER, unsupported_setting
from isobatch.checkpoint.unreadable import is_there, unreadable
from isobatch.checkpoint.weight_files import INDEX, PICKLE, PICKLE_INDEX, SINGLE
from isobatch.errors import CheckpointError, UnsupportedModelError

_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_WEIGHTS = (SINGLE, INDEX, PICKLE, PICKLE_INDEX)
_MERGEABLE = ("LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "BOFT", "VERA")
_MODELS = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "FEATURE_EXTRACTION": "AutoModel",
}
"""PEFT's name of a task → the class of transformers."""

_HEADS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")


def explain_missing_config(folder: Path) -> CheckpointError:
    """Describe a folder without config.json by what it has."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        return unreadable(folder, error)
    if ADAPTER in names:
        return describe_adapter(folder)
    if encoder := _encoder_folder(folder):
        return CheckpointError(
            f"{folder}: the encoder is in {encoder}, as old versions of sentence-transformers "
            f"saved it. Move its files up: {flatten_command(folder, encoder)}"
        )
    inner = sorted(path.parent for path in folder.glob("*/config.json"))
    missing = f"{folder / 'config.json'}: no such file, and a checkpoint folder must contain it"
    if inner:
        shown = " or ".join(map(str, inner[:4]))
        return CheckpointError(f"{missing}. Use the folder inside that has it: {shown}")
    if (folder.parent / "config.json").is_file():
        return CheckpointError(f"{missing}. Use the folder above: {folder.parent}")
    if not names:
        return CheckpointError(f"{missing}; this one is empty")
    return CheckpointError(
        f"{missing}. Copy it from where the model was trained, or from its base model's page on "
        "the hub"
    )


def _encoder_folder(folder: Path) -> str | None:
    """Return the folder of the encoder that modules.json names, if it is one with a config.json."""
    if not is_there(folder / "modules.json"):
        return None
    first, *_ = [*read_json_list(folder / "modules.json"), None]
    path = first.get("path") if isinstance(first, dict) else None
    if not isinstance(path, str) or not path or ".." in Path(path).parts:
        return None
    return path if is_there(folder / path / "config.json") else None


def reject_adapters(folder: Path) -> None:
    """Raise UnsupportedModelError for a folder with adapter_config.json.

    transformers with PEFT would load its base model, also where whole weights are next to it.
    """
    if (folder / ADAPTER).is_file():
        reject_unmergeable(folder)
        raise describe_adapter(folder)


def reject_unmergeable(folder: Path) -> None:
    """Raise UnsupportedModelError for an adapter that `isobatch convert` does not merge.

    Next to whole weights, it is not clear which is meant; other kinds than LoRA are PEFT's.
    """
    if any((folder / name).is_file() for name in _WEIGHTS):
        remainder = shlex.quote(str(folder / ADAPTER))
        raise UnsupportedModelError(
            f"{folder}: has whole weights and {ADAPTER}, and transformers uses the adapter if "
            f"PEFT is installed, otherwise the weights. To use the weights: rm {remainder}"
        )
    config = read_json(folder / ADAPTER)
    if config.get("peft_type") != "LORA" or unsupported_setting(config) is not None:
        raise describe_adapter(folder)


def describe_adapter(folder: Path) -> UnsupportedModelError:
    """Describe an adapter by its kind, with the command that merges it: ours, or PEFT's."""
    config = read_json(folder / ADAPTER)
    kind, base = str(config.get("peft_type")), config.get("base_model_name_or_path")
    is_one = f"{folder}: is an adapter ({ADAPTER}: {kind}), not a whole checkpoint"
    if kind not in _MERGEABLE:
        return UnsupportedModelError(
            f"{is_one}, and this kind cannot be merged into the weights of its base model "
            f"({base or 'not named'}). Only LoRA and its variants can"
        )
    named = str(base) if base else "BASE"
    unnamed = "" if base else ", which the file does not name: put it in place of BASE"
    into = f"Merge it once into its base model{f' {base}' if base else unnamed}"
    variant = unsupported_setting(config) if kind == "LORA" else kind
    if variant is None:
        command = isobatch_convert(folder, *(() if base else ("--base=BASE",)))
        return UnsupportedModelError(f"{is_one}. {into}: {command}")
    return UnsupportedModelError(
        f"{is_one}. {into}, with pip install peft, because `isobatch convert` does not merge "
        f"{variant}: {_merge_command(folder, named, config)}; then load {_merged_folder(folder)}"
    )


def _merged_folder(folder: Path) -> str:
    source = hub_source(folder)
    return f"{source[0].rpartition('/')[2]}-merged" if source else f"{folder}-merged"


def _merge_command(folder: Path, base: str, config: Mapping[str, object]) -> str:
    source = hub_source(folder)
    adapter, merged = source[0] if source else str(folder), _merged_folder(folder)
    labels = _num_labels(folder)
    given = repr(base)
    if labels:  # the base model's own head, perhaps of another size, is replaced by the adapter's
        given += f", num_labels={labels}, ignore_mismatched_sizes=True"
    model = _MODELS.get(str(config.get("task_type")), _MODELS["SEQ_CLS"])
    tokenizer = adapter if _has_tokenizer(folder) else base
    return python_command(
        "from peft import PeftModel; "
        f"from transformers import {model}, AutoTokenizer; "
        f"base = {model}.from_pretrained({given}); "
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

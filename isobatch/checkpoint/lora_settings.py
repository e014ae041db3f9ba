"""The settings of a LoRA adapter, read from adapter_config.json of PEFT.

Invariant: a setting that changes the merged weights and is not implemented is rejected by name.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isobatch.checkpoint.json_files import read_json
from isobatch.errors import CheckpointError

ADAPTER = "adapter_config.json"

_READ = {
    "alpha_pattern",
    "base_model_name_or_path",
    "init_lora_weights",
    "lora_alpha",
    "peft_type",
    "revision",
    "task_type",
    "use_rslora",
}
_WITHOUT_EFFECT = {
    "auto_mapping",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "runtime_config",
    "target_modules",
}
"""Settings of the training, and those that the tensors themselves show: ranks, biases, modules.

fan_in_fan_out: PEFT ignores it for linear layers, and supported families have no others.
"""

_KEEP_THE_BASE = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base model's weights as they are."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """base, revision: of the model that it was trained on. task_type: of PEFT, such as SEQ_CLS."""

    base: str | None
    revision: str | None
    task_type: str | None
    alpha: float
    alphas: Mapping[str, float]
    root_of_rank: bool

    def scale(self, module: str, rank: int) -> float:
        """Return the factor of B A for a module of that name, as PEFT does.

        Patterns are regular expressions that the last parts of the name match; the first counts.
        """
        alpha = next(
            (value for key, value in self.alphas.items() if _matches(key, module)), self.alpha
        )
        return alpha / (math.sqrt(rank) if self.root_of_rank else rank)


def _matches(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


def unsupported_setting(raw: Mapping[str, object]) -> str | None:
    """Name a setting of a LoRA adapter that is not implemented, such as DoRA; None without one."""
    others = (key for key in sorted(raw) if key not in _READ | _WITHOUT_EFFECT)
    if (key := next((key for key in others if raw[key]), None)) is not None:
        return key
    initial = raw.get("init_lora_weights")
    return None if initial in _KEEP_THE_BASE else f"init_lora_weights {initial!r}"


def read_lora_settings(folder: Path) -> LoraSettings:
    """Read the settings of an adapter of which none is unsupported. Raises CheckpointError."""
    raw = read_json(folder / ADAPTER)
    alphas = raw.get("alpha_pattern") or {}
    if not isinstance(alphas, Mapping):
        raise CheckpointError(f"{folder / ADAPTER}: alpha_pattern must be an object, got {alphas}")
    for pattern in alphas:
        try:
            re.compile(pattern)
        except re.error as error:
            raise CheckpointError(
                f"{folder / ADAPTER}: alpha_pattern has {pattern!r}, which is not a regular "
                f"expression ({error}). Correct it"
            ) from error
    return LoraSettings(
        base=_optional(raw.get("base_model_name_or_path")),
        revision=_optional(raw.get("revision")),
        task_type=_optional(raw.get("task_type")),
        alpha=_number(folder, "lora_alpha", raw.get("lora_alpha", 8)),
        alphas={key: _number(folder, "alpha_pattern", value) for key, value in alphas.items()},
        root_of_rank=bool(raw.get("use_rslora")),
    )


def _optional(value: object) -> str | None:
    return str(value) if value else None


def _number(folder: Path, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CheckpointError(f"{folder / ADAPTER}: {key} must be a number, got {value!r}")
    return float(value)

"""Checkpoints: a Hugging Face folder or hub id → ModelConfig and named float32 tensors.

`source` finds the folder, `config` reads config.json, `weights` the tensors; `families` is the data
behind both. Knows nothing of modules or numerics.
"""

from isobatch.checkpoint.config import (
    Dropouts,
    EncoderConfig,
    HeadConfig,
    ModelConfig,
    parse_config,
    read_config,
)
from isobatch.checkpoint.families import Family
from isobatch.checkpoint.source import bundled_folder, locate_checkpoint
from isobatch.checkpoint.weights import QuantisedTensor, hub_name, read_tensors, write_tensors

__all__ = [
    "Dropouts",
    "EncoderConfig",
    "Family",
    "HeadConfig",
    "ModelConfig",
    "QuantisedTensor",
    "bundled_folder",
    "hub_name",
    "locate_checkpoint",
    "parse_config",
    "read_config",
    "read_tensors",
    "write_tensors",
]

"""Checkpoints: a Hugging Face folder or hub id → ModelConfig and named float32 tensors.

`source` finds the folder, `config` reads config.json, `weights` the tensors; `families` is the data
behind both, `quantised` what both know of int8. Knows nothing of modules or numerics.
"""

from isobatch.checkpoint.accuracy import Agreement, read_agreements, write_agreements
from isobatch.checkpoint.config import (
    Dropouts,
    EncoderConfig,
    HeadConfig,
    ModelConfig,
    parse_config,
    read_config,
)
from isobatch.checkpoint.digest import checkpoint_digest
from isobatch.checkpoint.families import Family
from isobatch.checkpoint.quantised import QuantisedTensor, quantization_config
from isobatch.checkpoint.source import TOKENIZER_FILES, bundled_folder, locate_checkpoint
from isobatch.checkpoint.weights import (
    hub_name,
    read_stored_tensors,
    read_tensors,
    weight_files,
    write_tensors,
)

__all__ = [
    "TOKENIZER_FILES",
    "Agreement",
    "Dropouts",
    "EncoderConfig",
    "Family",
    "HeadConfig",
    "ModelConfig",
    "QuantisedTensor",
    "bundled_folder",
    "checkpoint_digest",
    "hub_name",
    "locate_checkpoint",
    "parse_config",
    "quantization_config",
    "read_agreements",
    "read_config",
    "read_stored_tensors",
    "read_tensors",
    "weight_files",
    "write_agreements",
    "write_tensors",
]

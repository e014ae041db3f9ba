"""Checkpoints: a Hugging Face folder or hub id → ModelConfig and named float32 tensors.

`source` locates the folder, `config` reads config.json, `weights` the tensors, `text_encoder`
the tokenizer; `families` is the data behind them, `quantized` the format of int8 weights.
"""

from isobatch.checkpoint.config import (
    Dropouts,
    EncoderConfig,
    HeadConfig,
    ModelConfig,
    parse_config,
    read_config,
    read_raw_config,
)
from isobatch.checkpoint.digest import checkpoint_digest, weights_digest
from isobatch.checkpoint.families import Family
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.quantized import QuantizedTensor, quantization_config
from isobatch.checkpoint.source import (
    CONFIG_FILES,
    TOKENIZER_FILES,
    bundled_folder,
    checkpoint_name,
    locate_checkpoint,
)
from isobatch.checkpoint.tensor_names import hub_name
from isobatch.checkpoint.weight_files import weight_files
from isobatch.checkpoint.weights import (
    read_stored_tensors,
    read_tensors,
    stored_shapes,
    write_tensors,
)

__all__ = [
    "CONFIG_FILES",
    "TOKENIZER_FILES",
    "Dropouts",
    "EncoderConfig",
    "Family",
    "HeadConfig",
    "ModelConfig",
    "QuantizedTensor",
    "bundled_folder",
    "checkpoint_digest",
    "checkpoint_name",
    "hub_name",
    "locate_checkpoint",
    "parse_config",
    "quantization_config",
    "read_config",
    "read_json",
    "read_raw_config",
    "read_stored_tensors",
    "read_tensors",
    "stored_shapes",
    "weight_files",
    "weights_digest",
    "write_tensors",
]

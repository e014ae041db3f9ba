"""Checkpoints: a Hugging Face folder or hub id → ModelConfig and named float32 tensors.

`source` locates the folder, `config` reads config.json, `weights` the tensors, `text_encoder`
the tokenizer; `families` is the data behind them, `quantized` the format of int8 weights.
"""

from isobatch.checkpoint.answer_tokens import AnswerTokens, read_answer_tokens
from isobatch.checkpoint.config import (
    Dropouts,
    ModelConfig,
    is_quantized,
    parse_config,
    read_config,
    read_own_config,
    read_raw_config,
    read_stated_task,
)
from isobatch.checkpoint.digest import checkpoint_digest, weights_digest
from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families import Family
from isobatch.checkpoint.head_config import (
    POOLINGS,
    HeadConfig,
    HeadOptions,
    VectorOptions,
    check_task,
)
from isobatch.checkpoint.json_files import read_json
from isobatch.checkpoint.output_folder import (
    TRAINING_RECORD,
    atomic_folder,
    copy_companions,
    require_free,
    trained_parent,
)
from isobatch.checkpoint.quantized import QuantizedTensor, quantization_config
from isobatch.checkpoint.source import (
    CONFIG_FILES,
    TOKENIZER_FILES,
    bundled_folder,
    checkpoint_name,
    locate_checkpoint,
)
from isobatch.checkpoint.tensor_names import hub_name, place_of
from isobatch.checkpoint.weight_files import weight_files
from isobatch.checkpoint.weights import (
    read_stored_tensors,
    read_tensors,
    stored_shapes,
    write_tensors,
)

__all__ = [
    "CONFIG_FILES",
    "POOLINGS",
    "TOKENIZER_FILES",
    "TRAINING_RECORD",
    "AnswerTokens",
    "Dropouts",
    "EncoderConfig",
    "Family",
    "HeadConfig",
    "HeadOptions",
    "ModelConfig",
    "QuantizedTensor",
    "VectorOptions",
    "atomic_folder",
    "bundled_folder",
    "check_task",
    "checkpoint_digest",
    "checkpoint_name",
    "copy_companions",
    "hub_name",
    "is_quantized",
    "locate_checkpoint",
    "parse_config",
    "place_of",
    "quantization_config",
    "read_answer_tokens",
    "read_config",
    "read_json",
    "read_own_config",
    "read_raw_config",
    "read_stated_task",
    "read_stored_tensors",
    "read_tensors",
    "require_free",
    "stored_shapes",
    "trained_parent",
    "weight_files",
    "weights_digest",
    "write_tensors",
]

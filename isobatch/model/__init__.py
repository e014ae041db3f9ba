"""The model: one forward over packed sequences, for inference and training, for every family."""

from isobatch.model.encoder_model import EncoderModel
from isobatch.model.loading import (
    empty_model,
    int8_weights,
    parameter_shapes,
    read_model,
    read_packed_model,
    select_kernels,
)

__all__ = [
    "EncoderModel",
    "empty_model",
    "int8_weights",
    "parameter_shapes",
    "read_model",
    "read_packed_model",
    "select_kernels",
]

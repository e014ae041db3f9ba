"""Reading a checkpoint for the drop-in models, and drawing the weights that it lacks.

A new head for an encoder, or for another number of labels, is drawn at random as in transformers,
with a warning. Invariant: only the head may be new without being requested; every tensor of the
encoder comes from the file, or the checkpoint is rejected.
"""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from isobatch.checkpoint import (
    Family,
    ModelConfig,
    hub_name,
    read_config,
    read_raw_config,
    read_tensors,
    stored_shapes,
)
from isobatch.checkpoint.quantized import announces_int8
from isobatch.compat.caller_line import caller_stacklevel
from isobatch.errors import NewWeightsWarning, TensorMismatchError
from isobatch.model import SequenceClassifier, empty_model, parameter_shapes, read_model

_OTHER_TASKS = (
    "classifier.*",
    "cls.*",
    "dropout.*",
    "discriminator_predictions.*",
    "generator_*",
    "lm_head.*",
    "pooler.*",
    "*.pooler.*",
    "pre_classifier.*",
    "qa_outputs.*",
    "score.*",
    "sequence_summary.*",
    "vocab_*",
)
"""Tensors of other heads, which a model with a new head does not read."""

Shapes = Mapping[str, torch.Size]


def read_encoder(
    folder: Path, config: ModelConfig, std: float, *, has_pooler: bool
) -> SequenceClassifier:
    """Read embeddings, blocks and the pooler, if the family has one, in eval mode.

    The rest of the head is zero: it is not used. Raises as `read_model` does.
    """
    model, prefix = empty_model(config), config.family.prefix
    others = (*_OTHER_TASKS, *(f"{prefix}{each}" for each in _OTHER_TASKS))
    family = replace(
        config.family,
        head={"head.dense": f"{prefix}pooler.dense"},
        ignored=(*config.family.ignored, *others),
    )
    for parameter in model.head.parameters():
        nn.init.zeros_(parameter)
    wanted = {
        name: shape
        for name, shape in parameter_shapes(model).items()
        if not name.startswith("head.") or (has_pooler and name.startswith("head.dense."))
    }
    stored = stored_shapes(folder, family, wanted)
    new = [name for name in wanted if name.startswith("head.") and name not in stored]
    _read(folder, model, replace(config, family=family), wanted, new)
    _draw_new(folder, model, family, new, std)
    return model


def read_classifier(
    folder: Path, config: ModelConfig, std: float, *, ignore_mismatched_sizes: bool
) -> SequenceClassifier:
    """Read the model, in eval mode, with a new head where the checkpoint has none.

    ignore_mismatched_sizes: also draw tensors whose shape is not that of `config`.
    Raises TensorMismatchError for other shapes without it, and as `read_model` does.
    """
    model, new = read_stored_weights(folder, config, ("",) if ignore_mismatched_sizes else ())
    _draw_new(folder, model, config.family, new, std)
    return model


def read_stored_weights(
    folder: Path, config: ModelConfig, may_differ: tuple[str, ...]
) -> tuple[SequenceClassifier, list[str]]:
    """Read what the checkpoint has of the classifier of `config`, in eval mode.

    Returns the model and the names of its parameters without a value: those of the head that the
    checkpoint lacks, and those of another shape, whose names must begin with one of `may_differ`.
    Raises as `read_classifier` does.
    """
    model = empty_model(config)
    wanted, family = parameter_shapes(model), config.family
    stored = stored_shapes(folder, family, wanted)
    missing = [name for name in wanted if name.startswith("head.") and name not in stored]
    other = [name for name, shape in stored.items() if shape != wanted[name]]
    wrong = [name for name in other if not name.startswith(may_differ)]
    if wrong and not _is_contradicted(folder, config, wrong):
        if config == read_config(folder):
            read_model(folder)  # raises, and says which key of config.json contradicts the file
        shapes = [(hub_name(family, name), stored[name], wanted[name]) for name in wrong]
        raise _mismatch(folder, shapes, tuple(family.head.values()))
    if missing or other:
        family = replace(family, ignored=(*family.ignored, *_OTHER_TASKS))
    new = [*missing, *(name for name in other if name not in wrong)]
    _read(folder, model, replace(config, family=family), wanted, new)
    return model, new


def draw_weights(model: SequenceClassifier, names: Collection[str], std: float) -> None:
    """Draw parameters from torch's generator, as transformers does: N(0, std), norms at 1 and 0.

    The rows of the pad token in the tables are zero.
    """
    encoder = model.config.encoder
    for name in names:
        owner, _, kind = name.rpartition(".")
        module, parameter = model.get_submodule(owner), model.get_parameter(name)
        with torch.no_grad():
            if isinstance(module, nn.LayerNorm):
                parameter.fill_(1.0 if kind == "weight" else 0.0)
            elif kind == "bias":
                parameter.zero_()
            else:
                parameter.normal_(0.0, std)
            if name == "embeddings.word.weight" and encoder.pad_token_id is not None:
                parameter[encoder.pad_token_id].zero_()
            if name == "embeddings.position.weight" and encoder.positions.padding_idx is not None:
                parameter[encoder.positions.padding_idx].zero_()


def _is_contradicted(folder: Path, config: ModelConfig, wrong: list[str]) -> bool:
    """Whether config.json itself has the sizes of the encoder that the file has not.

    Reading the tensors is then rejected with the key to correct.
    """
    of_head = any(name.startswith("head.") for name in wrong)
    return not of_head and config.encoder == read_config(folder).encoder


def _read(
    folder: Path, model: SequenceClassifier, config: ModelConfig, wanted: Shapes, new: list[str]
) -> None:
    """Read the wanted tensors except the new ones."""
    # of the file: the model itself is float32
    section = read_raw_config(folder).get("quantization_config")
    config = replace(config, quantized=announces_int8(section))
    # `assign`: the tensors become the parameters themselves, so that none exists twice.
    tensors: dict[str, Tensor] = {
        name: tensor.clone() for name, tensor in read_tensors(folder, config, wanted, new)
    }
    model.load_state_dict(tensors, strict=False, assign=True)


def _draw_new(
    folder: Path, model: SequenceClassifier, family: Family, new: list[str], std: float
) -> None:
    draw_weights(model, new, std)
    if new:
        shown = ", ".join(hub_name(family, name) for name in new)
        warnings.warn(
            f"{folder}: new weights were drawn for {shown}, as the checkpoint has none of this "
            "shape. Train the model before you use its predictions",
            NewWeightsWarning,
            stacklevel=caller_stacklevel(),
        )


def _mismatch(
    folder: Path, mismatches: list[tuple[str, torch.Size, torch.Size]], head: tuple[str, ...]
) -> TensorMismatchError:
    (name, found, expected), *_ = mismatches
    fix = "Leave sizes out of the call, or correct config.json"
    if name.startswith(head):
        fix = (
            "For a new, random head use ignore_mismatched_sizes=True, and train it; otherwise "
            "leave num_labels and id2label out"
        )
    return TensorMismatchError(
        f"{folder}: {name} has shape {list(found)}, but the configuration implies "
        f"{list(expected)}. {fix}"
    )

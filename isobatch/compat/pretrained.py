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
from isobatch.checkpoint.families.family import other_heads
from isobatch.checkpoint.quantized import announces_int8
from isobatch.checkpoint.weight_files import stored_tensors
from isobatch.compat.caller_line import caller_stacklevel
from isobatch.errors import NewWeightsWarning, OtherTaskWarning, TensorMismatchError
from isobatch.kernels import Norm
from isobatch.model import EncoderModel, empty_model, parameter_shapes, read_model

Shapes = Mapping[str, torch.Size]


def read_encoder(
    folder: Path, config: ModelConfig, std: float, *, has_pooler: bool
) -> EncoderModel:
    """Read embeddings, blocks and the pooler, if the family has one, in eval mode.

    The rest of the head is zero: it is not used. Raises as `read_model` does.
    """
    config = _spelled_as_stored(folder, config)
    model, prefix = empty_model(config), config.family.prefix
    family = replace(
        config.family.without_head(), head={"head.dense": f"{prefix}{config.family.pooler}"}
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
) -> EncoderModel:
    """Read the model, in eval mode, with a new head where the checkpoint has none.

    ignore_mismatched_sizes: also draw tensors whose shape is not that of `config`.
    Warns where the files say that the head is for another task: its tensors have the same names.
    Raises TensorMismatchError for other shapes without it, and as `read_model` does.
    """
    model, new = read_stored_weights(folder, config, ("",) if ignore_mismatched_sizes else ())
    _draw_new(folder, model, config.family, new, std)
    _warn_other_task(folder, model, new)
    return model


def read_stored_weights(
    folder: Path, config: ModelConfig, may_differ: tuple[str, ...]
) -> tuple[EncoderModel, list[str]]:
    """Read what the checkpoint has of the classifier of `config`, in eval mode.

    Returns the model and the names of its parameters without a value: those of the head that the
    checkpoint lacks, and those of another shape, whose names must begin with one of `may_differ`.
    Raises as `read_classifier` does.
    """
    config = _spelled_as_stored(folder, config)
    model = empty_model(config)
    wanted, family = parameter_shapes(model), config.family
    stored = stored_shapes(folder, family, wanted)
    missing = [name for name in wanted if name.startswith("head.") and name not in stored]
    other = [name for name, shape in stored.items() if shape != wanted[name]]
    wrong = [name for name in other if not name.startswith(may_differ)]
    if wrong and not _is_contradicted(folder, config, wrong):
        if config == read_config(folder, config.task):
            read_model(
                folder, config.task
            )  # raises, and says which key of config.json contradicts the file
        shapes = [(hub_name(family, name), stored[name], wanted[name]) for name in wrong]
        raise _mismatch(folder, shapes, tuple(family.head.values()))
    if missing or other:
        family = replace(family, ignored=(*family.ignored, *other_heads(family.prefix)))
    new = [*missing, *(name for name in other if name not in wrong)]
    _read(folder, model, replace(config, family=family), wanted, new)
    return model, new


def draw_weights(model: EncoderModel, names: Collection[str], std: float) -> None:
    """Draw parameters from torch's generator, as transformers does: N(0, std), norms at 1 and 0.

    The rows of the pad token in the tables are zero.
    """
    encoder = model.config.encoder
    for name in names:
        owner, _, kind = name.rpartition(".")
        module, parameter = model.get_submodule(owner), model.get_parameter(name)
        with torch.no_grad():
            if isinstance(module, Norm):
                parameter.fill_(1.0 if kind == "weight" else 0.0)
            elif kind == "bias":
                parameter.zero_()
            else:
                parameter.normal_(0.0, std)
            if name == "embeddings.word.weight" and encoder.pad_token_id is not None:
                parameter[encoder.pad_token_id].zero_()
            if name == "embeddings.position.weight" and encoder.positions.padding_idx is not None:
                parameter[encoder.positions.padding_idx].zero_()


def _spelled_as_stored(folder: Path, config: ModelConfig) -> ModelConfig:
    """Return the configuration with the names that the tensors in `folder` have."""
    names = [tensor.name for tensor in stored_tensors(folder)] if config.family.spellings else []
    return replace(config, family=config.family.spelled_as(names))


def _is_contradicted(folder: Path, config: ModelConfig, wrong: list[str]) -> bool:
    """Whether config.json itself has the sizes of the encoder that the file has not.

    Reading the tensors is then rejected with the key to correct.
    """
    of_head = any(name.startswith("head.") for name in wrong)
    return not of_head and config.encoder == read_config(folder).encoder


def _read(
    folder: Path, model: EncoderModel, config: ModelConfig, wanted: Shapes, new: list[str]
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
    folder: Path, model: EncoderModel, family: Family, new: list[str], std: float
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


def _warn_other_task(folder: Path, model: EncoderModel, new: Collection[str]) -> None:
    """Warn if config.json says that the tensors which were read of the head are for another task.

    The pooler of an encoder without a head is for none.
    """
    task, stated = model.config.task, model.config.stated_task
    names = [name for name, _ in model.named_parameters() if name.startswith("head.")]
    taken = [hub_name(model.config.family, name) for name in names if name not in new]
    if taken and stated not in (None, task, "feature-extraction"):
        warnings.warn(
            f"{folder}: is for {stated} (config.json says so), and its {', '.join(taken)} became "
            f"the head for {task}, as in transformers. Train the model before you use its "
            f"predictions, or use a checkpoint for {task}",
            OtherTaskWarning,
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

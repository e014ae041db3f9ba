"""Quantization of a checkpoint to int8: a folder of a quarter of the size, written atomically.

Values and scales are those that precision="int8" computes at load, so the logits are the same bits.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isobatch.ambient import isolated
from isobatch.checkpoint import (
    ModelConfig,
    QuantizedTensor,
    atomic_folder,
    copy_companions,
    hub_name,
    locate_checkpoint,
    quantization_config,
    read_json,
    read_own_config,
    read_tensors,
    require_free,
    weight_files,
    write_tensors,
)
from isobatch.checkpoint.sentence_modules import is_of_module
from isobatch.errors import CheckpointError
from isobatch.kernels import Linear, quantize_weight
from isobatch.model import EncoderModel, empty_model, int8_weights, parameter_shapes


@dataclass(frozen=True, slots=True)
class RoundingError:
    """Relative rounding error of the weights of one kind, over the layers: ‖W − Ŵ‖ ÷ ‖W‖."""

    kind: str
    num_tensors: int
    mean: float
    largest: float


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """Sizes of the weight files in bytes, and rounding errors."""

    source: str
    out: str
    source_bytes: int
    float32_bytes: int
    out_bytes: int
    rounding: tuple[RoundingError, ...]

    @property
    def num_tensors(self) -> int:
        return sum(each.num_tensors for each in self.rounding)


def quantize_checkpoint(
    source: str | Path | None, out: str | Path, revision: str | None = None
) -> QuantizeReport:
    """Write the checkpoint `source` (a folder, a hub id, None: the bundled one) in int8 to `out`.

    It may be for any task; modules of sentence-transformers are copied as they are.
    Raises OptionError if `out` is not a new or empty folder; CheckpointError if `source` cannot be
    read or is quantized already, or if `out` cannot be written, in which case it is removed.
    """
    folder, out = locate_checkpoint(source, revision), Path(out).expanduser().resolve()
    require_free(out, folder)
    config = read_own_config(folder)
    if config.quantized:
        raise CheckpointError(f"{folder}: is quantized already. Use the original checkpoint")
    model = empty_model(config)
    shapes = parameter_shapes(model)
    with isolated():
        tensors, rounding = _quantize_tensors(folder, config, model)
    with atomic_folder(out) as partial:
        write_tensors(partial, config.family, tensors)
        word_table = hub_name(config.family, "embeddings.word.weight").removesuffix(".weight")
        described = quantization_config(word_table, _kept_linears(model))
        _write_config(folder, partial, described)
        copy_companions([folder], partial)
        out_bytes = _size_of_weights(partial)
    modules = config.head.modules  # in files of their own, which are copied
    own = (shape for name, shape in shapes.items() if not is_of_module(name, modules))
    float32_bytes = 4 * sum(shape.numel() for shape in own)
    source_bytes = _size_of_weights(folder)
    return QuantizeReport(str(folder), str(out), source_bytes, float32_bytes, out_bytes, rounding)


def _quantize_tensors(
    folder: Path, config: ModelConfig, model: EncoderModel
) -> tuple[dict[str, Tensor | QuantizedTensor], tuple[RoundingError, ...]]:
    """Return every tensor in its output dtype, and the rounding errors by kind.

    Without those of modules of sentence-transformers, which have files of their own.
    """
    narrow = int8_weights(model)
    tensors: dict[str, Tensor | QuantizedTensor] = {}
    errors: dict[str, list[float]] = defaultdict(list)
    for name, tensor in read_tensors(folder, config, parameter_shapes(model)):
        if name in narrow:
            tensors[name] = rounded = quantize_weight(tensor)
            kind = name.split(".")[-2]  # blocks.3.attention.query.weight → query
            errors[kind].append(_relative_error(tensor, rounded.dequantize()))
        elif not is_of_module(name, config.head.modules):
            tensors[name] = tensor.clone()
    return tensors, tuple(
        RoundingError(kind, len(each), sum(each) / len(each), max(each))
        for kind, each in errors.items()
    )


def _relative_error(tensor: Tensor, rounded: Tensor) -> float:
    """Compute ‖W − Ŵ‖ ÷ ‖W‖ in place of `rounded`: a third copy of the word table is too large."""
    norm = torch.linalg.vector_norm(tensor)
    return float(torch.linalg.vector_norm(rounded.sub_(tensor)) / norm) if norm > 0 else 0.0


def _kept_linears(model: EncoderModel) -> list[str]:
    narrow, family = int8_weights(model), model.config.family
    linears = (name for name, module in model.named_modules() if isinstance(module, Linear))
    weights = (f"{name}.weight" for name in linears)
    folders = model.config.head.modules
    kept = (name for name in weights if name not in narrow and not is_of_module(name, folders))
    return [hub_name(family, weight).removesuffix(".weight") for weight in kept]


def _write_config(folder: Path, out: Path, described: Mapping[str, object]) -> None:
    """Copy config.json; add quantization_config and set dtype to float32, as for all the rest."""
    raw = read_json(folder / "config.json")
    raw |= {key: "float32" for key in ("dtype", "torch_dtype") if key in raw}
    raw["quantization_config"] = described
    text = json.dumps(raw, indent=2, ensure_ascii=False)
    (out / "config.json").write_text(text + "\n", encoding="utf-8")


def _size_of_weights(folder: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(folder))

"""From a checkpoint to one in int8: a folder of a quarter the size that loads wherever one does.

The values and scales are those that precision="int8" makes of the weights at load, and so are the
answers. It computes no text and prints nothing. Invariant: OUT is whole or not there at all.
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from isobatch.checkpoint import (
    TOKENIZER_FILES,
    ModelConfig,
    QuantizedTensor,
    hub_name,
    locate_checkpoint,
    quantization_config,
    read_config,
    read_json,
    read_tensors,
    weight_files,
    write_tensors,
)
from isobatch.errors import CheckpointError, OptionError
from isobatch.kernels import Linear, quantize_weight
from isobatch.model import SequenceClassifier, empty_model, int8_weights, parameter_shapes

_FOR_OTHERS = (
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
)
"""What Isobatch itself does not read, but transformers and people do."""


@dataclass(frozen=True, slots=True)
class RoundingError:
    """How far int8 is from the weights of one kind: ‖W − Ŵ‖ ÷ ‖W‖, over the layers."""

    kind: str
    num_tensors: int
    mean: float
    largest: float


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """What was written; sizes are of the weights alone, in bytes."""

    source: str
    out: str
    source_bytes: int
    float32_bytes: int
    out_bytes: int
    rounding: tuple[RoundingError, ...]

    @property
    def num_tensors(self) -> int:
        return sum(each.num_tensors for each in self.rounding)

    def as_dict(self) -> dict[str, object]:
        """The report as plain values, for JSON."""
        return asdict(self)


def quantize_checkpoint(source: str | Path | None, out: str | Path) -> QuantizeReport:
    """Write the checkpoint `source` (a folder, a hub id, None: the bundled one) in int8 to `out`.

    OptionError if `out` is not free, CheckpointError for a source that cannot be read or is int8
    already, or if `out` cannot be written; then nothing is left of it.
    """
    folder, out = locate_checkpoint(source), Path(out).expanduser().resolve()
    _require_free(out, folder)
    config = read_config(folder)
    if config.quantized:
        raise CheckpointError(f"{folder}: is quantized already; name the checkpoint before that")
    model = empty_model(config)
    shapes = parameter_shapes(model)
    tensors, rounding = _quantize(folder, config, model)
    with _whole_or_nothing(out) as partial:
        write_tensors(partial, config.family, tensors)
        _write_config(folder, partial, _kept_linears(model))
        _copy_companions(folder, partial)
        out_bytes = _size_of_weights(partial)
    float32_bytes = 4 * sum(shape.numel() for shape in shapes.values())
    source_bytes = _size_of_weights(folder)
    return QuantizeReport(str(folder), str(out), source_bytes, float32_bytes, out_bytes, rounding)


def _require_free(out: Path, folder: Path) -> None:
    if out == folder.resolve():
        raise OptionError(f"{out}: is the checkpoint itself; name another folder to write to")
    if out.exists() and not out.is_dir():
        raise OptionError(f"{out}: is a file; name a folder to write to")
    if out.is_dir() and any(out.iterdir()):
        raise OptionError(f"{out}: is not empty; name a new folder, or empty this one first")


def _quantize(
    folder: Path, config: ModelConfig, model: SequenceClassifier
) -> tuple[dict[str, Tensor | QuantizedTensor], tuple[RoundingError, ...]]:
    """Every tensor as it is to be written, and how well the rounded ones were met."""
    narrow = int8_weights(model)
    tensors: dict[str, Tensor | QuantizedTensor] = {}
    errors: dict[str, list[float]] = defaultdict(list)
    for name, tensor in read_tensors(folder, config, parameter_shapes(model)):
        if name in narrow:
            tensors[name] = rounded = quantize_weight(tensor)
            errors[_kind(name)].append(_relative_error(tensor, rounded.dequantize()))
        else:
            tensors[name] = tensor.clone()
    return tensors, tuple(
        RoundingError(kind, len(each), sum(each) / len(each), max(each))
        for kind, each in errors.items()
    )


def _kind(name: str) -> str:
    """The module alone: blocks.3.attention.query.weight → query."""
    return name.split(".")[-2]


def _relative_error(tensor: Tensor, rounded: Tensor) -> float:
    """‖W − Ŵ‖ ÷ ‖W‖. `rounded` is used up: a table of words is large, and here already twice."""
    length = torch.linalg.vector_norm(tensor)
    return float(torch.linalg.vector_norm(rounded.sub_(tensor)) / length) if length > 0 else 0.0


def _kept_linears(model: SequenceClassifier) -> list[str]:
    """Modules, by their names in the file, of the linears that stay float32."""
    narrow, family = int8_weights(model), model.config.family
    linears = (name for name, module in model.named_modules() if isinstance(module, Linear))
    kept = (f"{name}.weight" for name in linears if f"{name}.weight" not in narrow)
    return [hub_name(family, weight).removesuffix(".weight") for weight in kept]


@contextmanager
def _whole_or_nothing(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` at the end, or vanishes."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        try:
            yield partial
            partial.replace(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"{out}: cannot be written: {error}; name a new folder where you may write"
        ) from error


def _write_config(folder: Path, out: Path, kept_linears: list[str]) -> None:
    """The source's config.json, and what is int8; what is not is float32, whatever it was."""
    raw = read_json(folder / "config.json")
    raw |= {key: "float32" for key in ("dtype", "torch_dtype") if key in raw}
    raw["quantization_config"] = quantization_config(kept_linears)
    text = json.dumps(raw, indent=2, ensure_ascii=False)
    (out / "config.json").write_text(text + "\n", encoding="utf-8")


def _copy_companions(folder: Path, out: Path) -> None:
    for name in (*TOKENIZER_FILES, *_FOR_OTHERS):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


def _size_of_weights(folder: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(folder))

"""The modules of sentence-transformers after the encoder: pooling, dense layers, norms.

modules.json lists them, and each has a folder with its own config.json and weights. Invariant: a
setting that would change the vector and is not implemented is rejected by name; no class that a
file names is ever imported.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from isobatch.checkpoint.json_files import read_json, read_json_list
from isobatch.checkpoint.unreadable import is_there
from isobatch.checkpoint.weight_files import SINGLE, StoredTensor, list_names, stored_tensors
from isobatch.errors import CheckpointError, TensorMismatchError, UnsupportedModelError
from isobatch.specification import HeadStep, LinearStep, NormalizeStep, NormSpec, NormStep, Pool

MODULES = "modules.json"

_POOLS: Mapping[str, Pool] = {"cls": "first", "lasttoken": "last", "mean": "mean", "max": "max"}
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The flags of older files, in the order in which several are concatenated."""

_ACTIVATIONS = {
    "GELU": "gelu",
    "Identity": "linear",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
"""Classes of torch.nn; without a setting a dense layer has Tanh."""

_NORM = NormSpec(1e-5)
"""Of torch.nn.LayerNorm, which the module makes without another one."""

_LIBRARY = "sentence_transformers."
_VECTOR, _SCORES = "sentence_embedding", "scores"
"""The names of the vector that modules read and write, and of the output of a reranker."""

_ELSEWHERE = "Compute such vectors with sentence-transformers, or use another model"

_STORED = {"weight": ("linear.weight", "norm.weight"), "bias": ("linear.bias", "norm.bias")}


@dataclass(frozen=True, slots=True)
class SentenceModules:
    """pools, then steps; folders: of each step with weights, by its name.

    scores: whether the last step gives the scores of a reranker.
    """

    pools: tuple[Pool, ...]
    steps: tuple[HeadStep, ...]
    folders: Mapping[str, str]
    scores: bool


def read_sentence_modules(folder: Path) -> SentenceModules | None:
    """Read the modules of a sentence-transformers folder; None without modules.json or pooling.

    Raises CheckpointError for a file that cannot be read, UnsupportedModelError for a module or a
    setting that is not implemented.
    """
    if not is_there(folder / MODULES):
        return None
    pools: tuple[Pool, ...] | None = None
    steps: list[HeadStep] = []
    folders: dict[str, str] = {}
    scores = False
    for number, kind, path in _after_encoder(folder):
        place = f"{folder}/{path}/config.json"
        raw = _settings(folder / path, kind)
        if pools is None and kind != "Pooling":
            raise UnsupportedModelError(
                f"{folder / MODULES}: module {number} is {kind}; supported there: Pooling. "
                f"{_ELSEWHERE}"
            )
        if scores or (pools is not None and kind == "Pooling"):
            before = "a reranker's scores" if scores else "Pooling"
            raise UnsupportedModelError(
                f"{folder / MODULES}: module {number} is {kind}, which is not supported after "
                f"{before}. {_ELSEWHERE}"
            )
        if kind == "Pooling":
            pools = _pools(place, raw)
            continue
        scores = _gives_scores(place, raw)
        if kind in _READERS:
            step = _READERS[kind](place, f"{number}_{kind}", raw)
            folders[step.name] = path
            steps.append(step)
        elif kind == "Normalize":
            steps.append(NormalizeStep())
    return None if pools is None else SentenceModules(pools, tuple(steps), folders, scores)


def _after_encoder(folder: Path) -> list[tuple[int, str, str]]:
    """Return number, class and folder of each module after the encoder, which must be the first."""
    place = folder / MODULES
    modules = [
        (number, _class_of(place, number, named), path)
        for number, (named, path) in enumerate(_stated_modules(place))
    ]
    if modules and modules[0][2]:
        raise UnsupportedModelError(
            f"{place}: the encoder is in {modules[0][2]}, as old versions of sentence-transformers "
            "saved it. Load the model with it, and save it again"
        )
    return modules[1:]


def _stated_modules(place: Path) -> Iterator[tuple[str, str]]:
    """Yield the class of each module, with its package, and its folder; unsupported ones too."""
    for number, each in enumerate(read_json_list(place)):
        if not isinstance(each, dict) or not isinstance(each.get("type"), str):
            raise CheckpointError(f"{place}: module {number} has no type. Restore the file")
        path = str(each.get("path") or "")
        if ".." in Path(path).parts or Path(path).is_absolute() or (number and not path):
            raise CheckpointError(
                f"{place}: module {number} has the path {path!r}; expected a folder inside of this "
                "one. Restore the file"
            )
        yield each["type"], path


def _class_of(place: Path, number: int, named: str) -> str:
    """Return the name of a supported class without its package."""
    kind = named.rpartition(".")[2]
    if not named.startswith(_LIBRARY):
        raise UnsupportedModelError(
            f"{place}: module {number} is {named}, a class in remote code, which is never run. "
            f"{_ELSEWHERE}"
        )
    known = _KNOWN if number else ("Transformer",)
    if kind == "LogitScore":
        raise UnsupportedModelError(
            f"{place}: module {number} is LogitScore: a language model that ranks texts by its "
            "answer. Load it with isobatch.Reranker.from_pretrained(path, template=…), or use "
            "--template, with the template of its card"
        )
    if kind not in known:
        raise UnsupportedModelError(
            f"{place}: module {number} is {kind}; supported there: {', '.join(known)}. {_ELSEWHERE}"
        )
    return kind


def _settings(folder: Path, kind: str) -> Mapping[str, object]:
    """Read config.json of a module; older versions wrote none for one without settings."""
    path = folder / "config.json"
    return {} if kind in _WITHOUT_WEIGHTS and not is_there(path) else read_json(path)


def _gives_scores(place: str, raw: Mapping[str, object]) -> bool:
    """Return whether a module's output is the score of a reranker; raise if it is neither."""
    read = raw.get("module_input_name") or _VECTOR
    written = raw.get("module_output_name") or read
    if read != _VECTOR or written not in (_VECTOR, _SCORES):
        raise UnsupportedModelError(
            f"{place}: reads {read!r} and writes {written!r}; supported is a module that reads "
            f"{_VECTOR!r} and writes that or {_SCORES!r}. {_ELSEWHERE}"
        )
    return written == _SCORES


def _pools(place: str, raw: Mapping[str, object]) -> tuple[Pool, ...]:
    stated = raw.get("pooling_mode")
    if stated is None:
        modes: Sequence[object] = [mode for flag, mode in _FLAGS.items() if raw.get(flag)]
        modes = modes or ["mean"]
    else:
        modes = stated if isinstance(stated, list) else [stated]
    if not modes:
        raise CheckpointError(f"{place}: pooling_mode is empty. Write the mode of the training")
    unknown = [mode for mode in modes if str(mode) not in _POOLS]
    if unknown:
        raise UnsupportedModelError(
            f"{place}: pooling {list_names(map(str, unknown))} is not supported; supported: "
            + f"{', '.join(_POOLS)}. {_ELSEWHERE}"
        )
    if raw.get("include_prompt") is False:
        raise UnsupportedModelError(
            f"{place}: include_prompt is false, and pooling without the prompt is not supported. "
            "If the texts have no prompt, write true"
        )
    return tuple(_POOLS[str(mode)] for mode in modes)


def _read_dense(place: str, name: str, raw: Mapping[str, object]) -> HeadStep:
    if raw.get("use_residual"):
        raise UnsupportedModelError(
            f"{place}: use_residual is true, which is not supported. {_ELSEWHERE}"
        )
    path = raw.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = _ACTIVATIONS.get(str(path).rpartition(".")[2])
    if activation is None or not str(path).startswith("torch.nn."):
        raise UnsupportedModelError(
            f"{place}: activation_function {path!r} is not supported; supported are the classes "
            f"of torch.nn {', '.join(_ACTIVATIONS)}. {_ELSEWHERE}"
        )
    inner, outer = _size(place, raw, "in_features"), _size(place, raw, "out_features")
    return LinearStep(name, inner, outer, activation, bias=bool(raw.get("bias", True)))


def _read_norm(place: str, name: str, raw: Mapping[str, object]) -> HeadStep:
    return NormStep(name, _size(place, raw, "dimension"), _NORM)


_READERS: Mapping[str, Callable[[str, str, Mapping[str, object]], HeadStep]] = {
    "Dense": _read_dense,
    "LayerNorm": _read_norm,
}
_WITHOUT_WEIGHTS = ("Normalize", "Dropout")
"""Of which dropout is for training only."""

_KNOWN = ("Pooling", *_READERS, *_WITHOUT_WEIGHTS)


def _size(place: str, raw: Mapping[str, object], key: str) -> int:
    value = raw.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(
            f"{place}: {key} must be a positive integer, got {value!r}. Restore the file"
        )
    return value


def module_tensors(
    folder: Path, folders: Mapping[str, str], shapes: Mapping[str, torch.Size]
) -> Iterator[tuple[str, StoredTensor]]:
    """Yield our name of each tensor of the modules, and where it is stored.

    shapes: by our names, "head.2_Dense.weight". Raises CheckpointError for a folder without
    safetensors, TensorMismatchError for missing, unexpected or misshapen tensors.
    """
    for step, path in folders.items():
        wanted = {name: shape for name, shape in shapes.items() if _step_of(name) == step}
        stored = {tensor.name: tensor for tensor in stored_tensors(folder / path)}
        for name, shape in wanted.items():
            tensor = _take(folder / path, stored, name.rpartition(".")[2])
            if tensor.shape != tuple(shape):
                raise TensorMismatchError(
                    f"{tensor.path}: {tensor.name} has the shape {list(tensor.shape)}, and its "
                    f"config.json says {list(shape)}. Restore both from one source"
                )
            yield name, tensor
        if stored:
            raise TensorMismatchError(
                f"{folder / path / SINGLE}: unexpected: {list_names(sorted(stored))}. Restore it "
                "from where the model was saved"
            )


def is_of_module(name: str, folders: Mapping[str, str]) -> bool:
    """Return whether the tensor `name`, one of ours, is stored in a folder of a module."""
    return name.startswith("head.") and _step_of(name) in folders


def _step_of(name: str) -> str:
    return name.removeprefix("head.").rpartition(".")[0]


def _take(folder: Path, stored: dict[str, StoredTensor], kind: str) -> StoredTensor:
    for name in _STORED[kind]:
        if name in stored:
            return stored.pop(name)
    raise TensorMismatchError(
        f"{folder / SINGLE}: {_STORED[kind][0]} is missing. Restore the file from where the model "
        "was saved"
    )


def module_files(folder: Path) -> Iterable[Path]:
    """List the files of the modules that a vector depends on, the weights among them."""
    if not (folder / MODULES).is_file():
        return
    yield folder / MODULES
    for _, path in _stated_modules(folder / MODULES):
        for name in ("config.json", SINGLE):
            if path and (folder / path / name).is_file():
                yield folder / path / name

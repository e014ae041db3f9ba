"""The start of a conversion: the weights of a folder, or of an adapter merged with its base.

Invariant: weights and config.json are of one model, and the tokenizer is that of the folder itself
wherever it has one.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from isobatch.checkpoint import (
    Family,
    ModelConfig,
    copy_companions,
    hub_name,
    locate_checkpoint,
    place_of,
    read_own_config,
    read_raw_config,
)
from isobatch.checkpoint.conversion import isobatch_convert
from isobatch.checkpoint.folder_kind import reject_unmergeable
from isobatch.checkpoint.lora_settings import read_lora_settings
from isobatch.checkpoint.sentence_modules import is_of_module
from isobatch.checkpoint.tensor_names import read_name
from isobatch.checkpoint.unreadable import is_there
from isobatch.convert.lora_merge import merge, sort_adapter
from isobatch.convert.merged_config import write_merged_config
from isobatch.convert.state_dicts import (
    StateDict,
    read_folder,
    read_safetensors_file,
    read_state_dict,
)
from isobatch.errors import CheckpointError, OptionError, TensorMismatchError
from isobatch.model import empty_model, parameter_shapes

_SAFETENSORS, _PICKLE = "adapter_model.safetensors", "adapter_model.bin"


@dataclass(frozen=True, slots=True)
class Source:
    """folders: the checkpoint, then the base model of an adapter. tensors: with merged sums.

    renamed: of tensors that were merged under the names of the adapter. merged, replaced: names.
    """

    folders: tuple[Path, ...]
    stored: StateDict
    tensors: Mapping[str, Tensor]
    renamed: Mapping[str, str] = field(default_factory=dict)
    merged: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.folders[0]


def read_source(folder: Path, file: Path | None, place: Path) -> Source:
    """Read the weights of `folder`, or of one `file` in it, and copy its other files to `place`."""
    read_raw_config(folder)
    stored = read_state_dict(file) if file else read_folder(folder)
    shutil.copyfile(folder / "config.json", place / "config.json")
    copy_companions([folder], place)
    return Source((folder,), stored, stored.tensors)


def read_adapter(folder: Path, base: str | Path | None, place: Path) -> Source:
    """Merge the adapter in `folder` with its base model, and write the other files to `place`.

    Raises UnsupportedModelError for an adapter that is not merged here, with PEFT's command.
    """
    reject_unmergeable(folder)
    settings = read_lora_settings(folder)
    base_folder = _locate_original(folder, base, settings.base, settings.revision)
    read_raw_config(base_folder)
    stored = _read_adapter_weights(folder)
    adapter = sort_adapter(folder, stored.tensors)
    whole = read_folder(base_folder)
    folders = (folder, base_folder)
    stated = next(each for each in folders if is_there(each / "config.json"))
    write_merged_config(place, stated, settings, adapter.replaced)
    copy_companions(folders, place)
    config = read_own_config(place, [*whole.tensors, *adapter.replaced])
    family, expected = config.family.spelled_as(list(whole.tensors)), expected_shapes(config)
    wanted = {hub_name(family, name) for name in expected}
    named = {read_name(name, family, wanted): each for name, each in whole.tensors.items()}
    if len(named) < len(whole.tensors):
        raise TensorMismatchError(
            f"{base_folder}: has several tensors of one name. Convert it first: "
            f"{isobatch_convert(base_folder)}"
        )
    public = {hub_name(family.public, name) for name in expected}
    modules = {f"{module}.weight" for module in adapter.matrices}
    if modules & (public - wanted):  # the adapter has the names of transformers' modules
        named, family, wanted = _respell(named, family, expected), family.public, public

    def read(name: str) -> str:
        return read_name(name, family, wanted)

    tensors, merged = merge(folder, named, adapter, settings, read)
    return Source(
        folders,
        StateDict(tensors, stored.files + whole.files, stored.others + whole.others),
        tensors,
        {name: read(name) for name in whole.tensors if read(name) != name},
        merged,
        tuple(read(name) for name in adapter.replaced),
    )


def _respell(
    tensors: Mapping[str, Tensor], family: Family, names: Iterable[str]
) -> dict[str, Tensor]:
    """Return the tensors by the names of transformers' modules, fused ones split; names: ours."""
    places = {name: (place_of(family, name), place_of(family.public, name)) for name in names}
    respelled = {
        public.name: tensors[own.name].chunk(own.of)[own.index].clone()
        for own, public in places.values()
        if own.name in tensors
    }
    known = {own.name for own, _ in places.values()}
    return respelled | {name: each for name, each in tensors.items() if name not in known}


def expected_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Return the shapes of the tensors that the file must have, by our names.

    Without those of modules of sentence-transformers, which have files of their own.
    """
    shapes = parameter_shapes(empty_model(config))
    folders = config.head.modules
    return {name: shape for name, shape in shapes.items() if not is_of_module(name, folders)}


def _locate_original(
    folder: Path, given: str | Path | None, named: str | None, revision: str | None
) -> Path:
    if given is not None:
        return locate_checkpoint(given, to_convert=True)
    if named is None:
        raise OptionError(
            f"{folder}: does not name the base model of the adapter. Specify it: --base "
            "FOLDER_OR_ID"
        )
    try:
        return locate_checkpoint(named, None if Path(named).exists() else revision, to_convert=True)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: is an adapter of {named}, which is not available: {error}. If the model is "
            "in another place, name it: --base FOLDER_OR_ID"
        ) from error


def _read_adapter_weights(folder: Path) -> StateDict:
    if is_there(folder / _SAFETENSORS):
        return read_safetensors_file(folder / _SAFETENSORS)
    if is_there(folder / _PICKLE):
        return read_state_dict(folder / _PICKLE)
    raise CheckpointError(
        f"{folder}: has neither {_SAFETENSORS} nor {_PICKLE}. Copy the adapter's weights into it"
    )

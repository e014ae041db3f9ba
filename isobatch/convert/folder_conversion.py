"""Conversion of one checkpoint folder: read, merged, renamed, checked, then written at once.

Invariant: the output is a folder that loads for the task of the checkpoint, or there is none.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from isobatch.ambient import isolated
from isobatch.checkpoint import (
    ModelConfig,
    atomic_folder,
    hub_name,
    locate_checkpoint,
    read_own_config,
    read_raw_config,
    read_stated_task,
    read_tensors,
    require_free,
)
from isobatch.checkpoint.conversion import Renaming, drop_command
from isobatch.checkpoint.families import FAMILIES
from isobatch.checkpoint.lora_settings import ADAPTER
from isobatch.checkpoint.sentence_modules import MODULES, read_sentence_modules
from isobatch.checkpoint.tensor_names import (
    current_norm_name,
    describe_renaming,
    find_renaming,
    read_name,
)
from isobatch.checkpoint.unreadable import is_there
from isobatch.checkpoint.weight_files import PICKLE, SINGLE, StoredTensor, list_names
from isobatch.checkpoint.weights import match_tensors, save_tensors
from isobatch.convert.report import ConvertReport, WrittenWeights
from isobatch.convert.sources import Source, expected_shapes, read_adapter, read_source
from isobatch.convert.state_dicts import dtype_counts, first_names, read_state_dict, separate
from isobatch.convert.tokenizer_conversion import convert_tokenizer
from isobatch.errors import CheckpointError, OptionError, TensorMismatchError
from isobatch.model import empty_model, parameter_shapes

_NORMS = "gamma and beta of LayerNorm are weight and bias (TensorFlow)"
_UNTRAINED = "the untrained copy of a module that PEFT trained"


def convert_checkpoint(
    source: str | Path,
    out: str | Path,
    *,
    revision: str | None = None,
    base: str | Path | None = None,
    drop: Collection[str] = (),
) -> ConvertReport:
    """Write the checkpoint `source` to the new or empty folder `out`, as safetensors.

    source: a folder, one file in it, or a hub id. base: of an adapter, in place of the model that
    it names. drop: leave out the tensors whose names begin so. Raises CheckpointError for files
    that cannot be read, are more than tensors, or are not the weights of the task, OptionError for
    arguments that do not apply; then `out` is not written.
    """
    folder, file = _locate(source, revision)
    out = Path(out).expanduser().resolve()
    require_free(out, folder)
    with isolated(), atomic_folder(out) as partial, _errors_about(folder, partial):
        if file is None and is_there(folder / ADAPTER):
            found = read_adapter(folder, base, partial)
        elif base is not None:
            raise OptionError(f"base is for adapters, and {folder} is not one. Omit it")
        else:
            found = read_source(folder, file, partial)
        tokenizer = convert_tokenizer(partial)
        modules = _convert_modules(found.folders, partial)
        model_type = read_raw_config(partial).get("model_type")
        if isinstance(model_type, str) and model_type not in FAMILIES:
            written = _keep_names(found, tuple(drop), partial, model_type)
        else:
            written = _convert_weights(found, tuple(drop), partial)
        source_bytes = found.stored.num_bytes + sum(path.stat().st_size for path in modules)
        out_bytes = sum(path.stat().st_size for path in partial.rglob(SINGLE))
    read = [str(path.relative_to(found.folder)) for path in modules]
    return ConvertReport(
        source=str(source),
        out=str(out),
        read=(*(path.name for path in found.stored.files), *read),
        base=str(found.folders[1]) if len(found.folders) > 1 else None,
        written=written,
        merged=found.merged,
        replaced=found.replaced,
        source_bytes=source_bytes,
        out_bytes=out_bytes,
        tokenizer=tokenizer,
    )


def _locate(source: str | Path, revision: str | None) -> tuple[Path, Path | None]:
    """Return the folder of the checkpoint, and the file in it where `source` is one."""
    path = Path(source).expanduser()
    if path.is_file():
        return locate_checkpoint(path.absolute().parent, revision), path
    return locate_checkpoint(source, revision, to_convert=True), None


@contextmanager
def _errors_about(folder: Path, partial: Path) -> Iterator[None]:
    """Name `folder` in errors about the temporary folder, which is removed by then."""
    try:
        yield
    except CheckpointError as error:
        said = str(error)
        if str(partial) not in said:
            raise
        named = said.replace(str(partial / SINGLE), str(folder)).replace(str(partial), str(folder))
        raise type(error)(named) from error


def _convert_modules(folders: tuple[Path, ...], place: Path) -> list[Path]:
    """Convert the weights of modules of sentence-transformers; return the pickles."""
    owner = next((folder for folder in folders if is_there(folder / MODULES)), folders[0])
    converted = []
    modules = read_sentence_modules(place)
    for name in modules.folders.values() if modules else ():
        path = owner / name / PICKLE
        if is_there(path) and not is_there(owner / name / SINGLE):
            held = read_state_dict(path)
            tensors, _ = separate(path, held.tensors, held.tensors, held.num_bytes)
            (place / name).mkdir(exist_ok=True)
            save_tensors(place / name, tensors)
            converted.append(path)
    return converted


def _convert_weights(found: Source, drop: tuple[str, ...], place: Path) -> WrittenWeights:
    """Write the weights to `place`, renamed and checked by reading them as any checkpoint."""
    dropped = dict.fromkeys(found.stored.others, "not a tensor of the model")
    tensors = _drop(found.folder, found.tensors, drop, dropped)
    config = read_own_config(place, tensors)
    config = replace(config, family=config.family.spelled_as(list(tensors)))
    expected = expected_shapes(config)
    tensors, renamed, reasons = _rename(found.folder, config, expected, tensors, dropped)
    stored = [_describe(found, name, tensor) for name, tensor in tensors.items()]
    matched = match_tensors(found.folder, config, expected, stored)
    wanted = {matched[hub_name(config.family, name)].name for name in expected}
    kept, tied = separate(found.folder, tensors, wanted, found.stored.num_bytes)
    save_tensors(place, kept)
    for _ in read_tensors(place, config, parameter_shapes(empty_model(config))):
        pass  # each is checked as it is read: its shape, its dtype, and that its numbers are finite
    return WrittenWeights(
        family=config.family.model_type,
        task=config.task,
        num_tensors=len(kept),
        dtypes=dtype_counts(kept.values()),
        renamed={**found.renamed, **renamed},
        reasons=tuple(reasons),
        dropped=dropped | tied,
    )


def _keep_names(
    found: Source, drop: tuple[str, ...], place: Path, model_type: str
) -> WrittenWeights:
    """Write the weights of an architecture that only transformers computes, under their names.

    It checks names and shapes when it loads them.
    """
    dropped = dict.fromkeys(found.stored.others, "not a tensor of the model")
    tensors = _drop(found.folder, found.tensors, drop, dropped)
    kept, tied = separate(found.folder, tensors, first_names(tensors), found.stored.num_bytes)
    save_tensors(place, kept)
    return WrittenWeights(
        family=model_type,
        task=read_stated_task(place) or "text-classification",
        num_tensors=len(kept),
        dtypes=dtype_counts(kept.values()),
        renamed={},
        reasons=('names and shapes are checked by engine="transformers" alone',),
        dropped=dropped | tied,
    )


def _drop(
    folder: Path, tensors: Mapping[str, Tensor], drop: tuple[str, ...], dropped: dict[str, str]
) -> dict[str, Tensor]:
    for prefix in drop:
        named = [name for name in tensors if name.startswith(prefix)]
        if not prefix or not named:
            raise OptionError(f"--drop {prefix}: no tensor of {folder} has a name that begins so")
        dropped |= dict.fromkeys(named, f"as asked for: --drop {prefix}")
    return {name: tensor for name, tensor in tensors.items() if name not in dropped}


def _rename(
    folder: Path,
    config: ModelConfig,
    expected: Collection[str],
    tensors: Mapping[str, Tensor],
    dropped: dict[str, str],
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Take off what wrappers, PEFT and TensorFlow add to names.

    Returns the tensors by their new names, those names by the stored ones, and the reasons. Raises
    TensorMismatchError for two tensors of one name.
    """
    wanted = {hub_name(config.family, name) for name in expected}
    renaming = Renaming()
    if not wanted <= {read_name(name, config.family, wanted) for name in tensors}:
        renaming = find_renaming(folder, config.family, wanted, list(tensors)) or renaming
    reasons = describe_renaming(renaming)
    names: dict[str, str] = {}
    for stored in tensors:
        plain = renaming(stored)
        if plain is None:
            dropped[stored] = _UNTRAINED
            continue
        names[stored] = current_norm_name(plain)
        if names[stored] != plain and _NORMS not in reasons:
            reasons.append(_NORMS)
    counted = Counter(names.values())
    if twice := [stored for stored, new in names.items() if counted[new] > 1]:
        raise TensorMismatchError(
            f"{folder}: {list_names(twice)} would have the same name, {names[twice[0]]}. Drop the "
            f"one that is not used, such as: {drop_command(folder, twice[:1])}"
        )
    renamed = {stored: new for stored, new in names.items() if new != stored}
    return {new: tensors[stored] for stored, new in names.items()}, renamed, reasons


def _describe(found: Source, name: str, tensor: Tensor) -> StoredTensor:
    """Describe a tensor for checks that name its file: the only one, or the folder."""
    files = found.stored.files
    path = files[0] if len(files) == 1 else found.folder
    return StoredTensor(path, name, str(tensor.dtype), tuple(tensor.shape))

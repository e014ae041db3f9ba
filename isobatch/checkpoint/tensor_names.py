"""The names of tensors: ours, Hugging Face's, and those that files have in place of them.

`find_tensors` accepts what transformers accepts: TensorFlow's names of a layer norm, and an encoder
without its prefix, or with a second one. Anything else is rejected with the command that renames
or drops the tensors. Invariant: no name is taken for another where two could be meant.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from isobatch.checkpoint.config import ModelConfig
from isobatch.checkpoint.conversion import Renaming, drop_command, isobatch_convert
from isobatch.checkpoint.families import FAMILIES, Family
from isobatch.checkpoint.families.family import TensorPart
from isobatch.checkpoint.weight_files import StoredTensor, list_names
from isobatch.errors import MissingHeadError, TensorMismatchError, UnsupportedModelError

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module.")
_WRITERS = {
    "module.": "torch.nn.DataParallel",
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
    "base_model.model.": "PEFT",
    "model.": "a module around the model, such as Lightning's",
    "net.": "a module around the model, such as Lightning's",
}
_LAYER = re.compile(r"(?<=blocks\.)(?:\d+|\{i\})(?=\.)")
"""The number of a layer in our names."""
_SAVED_BY_PEFT = re.compile(r"\.modules_to_save\.[^.]+")
_ORIGINAL = ".original_module."
_QUANTIZED = {
    "SCB": "bitsandbytes",
    "absmax": "bitsandbytes",
    "quant_map": "bitsandbytes",
    "qweight": "GPTQ or AWQ",
    "qzeros": "GPTQ or AWQ",
    "g_idx": "GPTQ",
    "_data": "quanto",
    "weight_scale_inv": "fp8",
    "weight_packed": "compressed-tensors",
}
_OTHER_HEADS = {
    "qa_outputs.": "question answering",
    "cls.seq_relationship.": "pre-training",
    "cls.predictions.": "masked language modelling",
    "decoder.": "masked language modelling",
    "lm_head.": "masked language modelling",
    "vocab_projector.": "masked language modelling",
    "generator_predictions.": "masked language modelling",
    "predictions.": "masked language modelling",
    "discriminator_predictions.": "replaced-token detection",
}


def hub_name(family: Family, name: str) -> str:
    """Translate our tensor `name`, e.g. "blocks.3.up.weight", into Hugging Face's.

    Several of ours may be parts of one of theirs.
    """
    return place_of(family, name).name


def place_of(family: Family, name: str) -> TensorPart:
    """Return where our tensor `name` is: Hugging Face's name, and which part of its rows."""
    prefix, _, kind = name.rpartition(".")
    layer = "".join(_LAYER.findall(prefix))
    prefix = _LAYER.sub("{i}", prefix)
    if prefix in family.head:
        return TensorPart(f"{family.head[prefix]}.{kind}", 0, 1)
    theirs = family.names[prefix]
    part = theirs if isinstance(theirs, TensorPart) else TensorPart(theirs, 0, 1)
    return replace(part, name=f"{family.prefix}{part.name.format(i=layer)}.{kind}")


def find_tensors(
    folder: Path, family: Family, wanted: Collection[str], stored: Iterable[StoredTensor]
) -> dict[str, StoredTensor]:
    """Map each stored tensor's name, as transformers reads it, to where it is.

    wanted: Hugging Face's names of all tensors that the model has. Raises TensorMismatchError for
    two tensors of one name.
    """
    found: dict[str, StoredTensor] = {}
    for tensor in stored:
        name = read_name(tensor.name, family, wanted)
        if name in found:
            raise TensorMismatchError(
                f"{folder}: {found[name].name} and {tensor.name} are both read as {name}. Drop the "
                f"one that is not used, such as: {drop_command(folder, [tensor.name])}"
            )
        found[name] = tensor
    return found


def read_name(name: str, family: Family, wanted: Collection[str]) -> str:
    """Translate one name as transformers does: its norms, and the prefix of its encoder."""
    name = current_norm_name(name)
    # transformers strips the prefix and any one character after it, and so does this.
    base = family.prefix.removesuffix(".")
    if name.startswith(base) and name[len(family.prefix) :] in wanted:
        return name[len(family.prefix) :]
    return family.prefix + name if family.prefix + name in wanted else name


def current_norm_name(name: str) -> str:
    """Return the name with weight and bias for gamma and beta, TensorFlow's of a layer norm."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def compare_names(
    folder: Path,
    config: ModelConfig,
    wanted: Collection[str],
    found: Mapping[str, StoredTensor],
) -> None:
    """Raise TensorMismatchError unless `found` are the tensors `wanted`, and say what to do.

    Raises MissingHeadError if only the head is missing, UnsupportedModelError for weights that are
    quantized.
    """
    family, saved_by = config.family, config.saved_by
    missing = [name for name in wanted if name not in found]
    unexpected = [
        name
        for name in found
        if name not in wanted and not any(fnmatchcase(name, each) for each in family.ignored)
    ]
    if missing:
        reject_renamed(folder, family, wanted, [tensor.name for tensor in found.values()])
    if missing or unexpected:
        _reject_quantized(folder, unexpected)
    head = {name for name in wanted if name.startswith(_head_prefixes(family))}
    if head and (head <= set(missing) or (saved_by or "").endswith("ForQuestionAnswering")):
        raise MissingHeadError(_describe_missing_head(folder, config, sorted(head), found))
    if missing or unexpected:
        complaints = [f"{folder}: the tensors are not those of a {family.model_type} classifier"]
        complaints += [f"missing: {list_names(sorted(missing))}"] if missing else []
        complaints += [f"unexpected: {list_names(sorted(unexpected))}"] if unexpected else []
        fix = _describe_fix(folder, family, wanted, missing, unexpected, saved_by)
        raise TensorMismatchError("; ".join(complaints) + fix)


def _head_prefixes(family: Family) -> tuple[str, ...]:
    """List the prefixes of the head itself; BERT's pooler belongs to its pre-trained encoder."""
    return tuple(
        f"{theirs}."
        for ours, theirs in family.head.items()
        if not theirs.startswith(family.prefix) and ours not in family.pretrained_head
    )


# ------------------------------------------------------------------------------ renamed tensors


def reject_renamed(
    folder: Path, family: Family, wanted: Collection[str], names: Collection[str]
) -> None:
    """Raise TensorMismatchError with the command, if a renaming gives all tensors.

    names: as stored. Raises also as `find_renaming` does.
    """
    renaming = find_renaming(folder, family, wanted, names)
    if renaming is not None:
        raise TensorMismatchError(
            f"{folder}: {'; '.join(describe_renaming(renaming))}. Rename them: "
            f"{isobatch_convert(folder)}"
        )


def find_renaming(
    folder: Path, family: Family, wanted: Collection[str], names: Collection[str]
) -> Renaming | None:
    """Find the renaming of `names`, as stored, that gives all `wanted` tensors; None without one.

    Raises TensorMismatchError for LoRA matrices, which no renaming merges, and for several trained
    heads of PEFT, of which only the user knows the right one.
    """
    if merged := [name for name in names if ".lora_A." in name or ".lora_B." in name]:
        raise TensorMismatchError(
            f"{folder}: contains LoRA matrices that are not merged, such as {merged[0]}. Save it "
            "again with the code that trained it: model = model.merge_and_unload(); "
            "model.save_pretrained(new_folder)"
        )
    heads = {name: match[0] for name in names if (match := _SAVED_BY_PEFT.search(name))}
    copies = sorted(set(heads.values()))
    if len(copies) > 1:
        unused = [name for name, copy in heads.items() if copy != copies[0]]
        raise TensorMismatchError(
            f"{folder}: has {len(copies)} trained heads by PEFT, {', '.join(copies)}. Drop the "
            f"others, such as: {drop_command(folder, unused)}"
        )
    return _search_renaming(family, wanted, names)


def describe_renaming(renaming: Renaming) -> list[str]:
    """Say what is in the names that `renaming` removes, and which software writes it."""
    found = []
    if renaming.dropped:
        found.append(
            "the head is under modules_to_save, where PEFT puts the trained copy; original_module "
            "is the untrained one"
        )
    found += [
        f"the names of its tensors contain {part!r} ({_WRITERS[part]})"
        for part in renaming.removed
        if part in _WRITERS
    ]
    if renaming.prefix:
        writer = _WRITERS.get(renaming.prefix)
        shown = f" ({writer})" if writer else ""
        found.append(f"the names of its tensors begin with {renaming.prefix!r}{shown}")
    return found


def _search_renaming(
    family: Family, wanted: Collection[str], names: Collection[str]
) -> Renaming | None:
    """Find a renaming after which all wanted tensors are there, each once."""
    copies = {match[0] for name in names if (match := _SAVED_BY_PEFT.search(name))}
    removed = [*copies]
    removed += [part for part in _WRAPPERS[:-1] if any(part in name for name in names)]
    dropped = _ORIGINAL if copies else ""
    renamed = [new for name in names if (new := Renaming((*removed,), "", dropped)(name))]
    heads = [name for name in wanted if name.startswith(_head_prefixes(family))]
    last = max(heads or wanted)  # an encoder alone has no head
    prefixes = sorted({name.removesuffix(last) for name in renamed if name.endswith(f".{last}")})
    for prefix in ("", *prefixes):
        renaming = Renaming((*removed,), prefix, dropped)
        results = [new for name in names if (new := renaming(name))]
        read = [read_name(name, family, wanted) for name in results]
        if renaming != Renaming() and set(wanted) <= set(read) and len(set(read)) == len(read):
            return renaming
    return None


def _reject_quantized(folder: Path, unexpected: Iterable[str]) -> None:
    for name in unexpected:
        ending = name.rpartition(".")[2]
        if ending in _QUANTIZED:
            raise UnsupportedModelError(
                f"{folder}: {name} is of weights quantized by {_QUANTIZED[ending]}, which are not "
                "supported. Start from the checkpoint before it was quantized, and run `isobatch "
                "quantize` on that"
            )


# ------------------------------------------------------------------------------ explanations


def _describe_missing_head(
    folder: Path, config: ModelConfig, head: Iterable[str], found: Collection[str]
) -> str:
    family, saved_by = config.family, config.saved_by
    kind = "Token" if config.task == "token-classification" else "Sequence"
    missing = (
        f"{folder}: no {kind.lower()}-classification head for model_type {family.model_type!r}: "
        f"missing {list_names(head)}. "
    )
    advice = f"Fine-tune it, or use a checkpoint saved by a ...For{kind}Classification class"
    for other in FAMILIES.values():
        own = other.prefix != family.prefix and other.prefix != "model."  # of many architectures
        if own and any(name.startswith(other.prefix) for name in found):
            return (
                f"{missing}The tensors begin with {other.prefix!r}. In config.json, write "
                f'"model_type": "{other.model_type}" if that is the model'
            )
    if (folder / "modules.json").is_file() and (folder / "1_Pooling").exists():
        return f"{missing}It is an embedding model of sentence-transformers. {advice}"
    if saved_by and saved_by.endswith("ForCausalLM"):
        return (
            f"{missing}It is a language model, as config.json says. If it ranks texts by its "
            "answer (yes or no), load it with isobatch.Reranker.from_pretrained(path, "
            "true_token=…, false_token=…, template=…), or use --true-token, --false-token and "
            "--template, as its card says"
        )
    for prefix, task in _OTHER_HEADS.items():
        if any(name.startswith(prefix) for name in found):
            return f"{missing}It has a head for {task} ({prefix}*). {advice}"
    if saved_by and "For" in saved_by and not saved_by.endswith("ForSequenceClassification"):
        return f"{missing}config.json says that it was saved by {saved_by}. {advice}"
    return f"{missing}It is an encoder without a head, or with one for another task. {advice}"


def _describe_fix(
    folder: Path,
    family: Family,
    wanted: Collection[str],
    missing: Collection[str],
    unexpected: Collection[str],
    saved_by: str | None,
) -> str:
    """Return the sentence that fixes it, from the blank on; empty where there is none."""
    heads = tuple(f".{name}." for name in family.head.values())
    if likely := [name for name in unexpected if any(head in f".{name}" for head in heads)]:
        return (
            f". {likely[0]} seems to belong to a classification head: load the file with the code "
            "that trained it, and save only the model with its save_pretrained(new_folder)"
        )
    drop = drop_command(folder, _distinct_prefixes(unexpected, wanted))
    layers = _num_layers(family, {*wanted, *unexpected} - {*missing})
    others = [name for name in (*missing, *unexpected) if _layer(family, name) is None]
    if layers and not others and not (missing and unexpected):
        key = family.config_keys["num_layers"][0]
        fix = f'. There are {layers} layers: in config.json, write "{key}": {layers}'
        return fix if missing else f"{fix}; or drop the layers that transformers ignores: {drop}"
    if not missing:
        return f". transformers ignores them; if the model does not use them, drop them: {drop}"
    if saved_by and not saved_by.endswith("ForSequenceClassification"):
        return (
            f". config.json says that it was saved by {saved_by}, which has another head. Use a "
            "checkpoint saved by a ...ForSequenceClassification class"
        )
    return (
        ". transformers would draw the missing ones at random. Restore the file that was saved "
        "after training"
    )


def _num_layers(family: Family, names: Iterable[str]) -> int:
    """Count the layers of `names`; 0 if a number or a tensor of a layer is missing."""
    sizes = Counter(layer for name in names if (layer := _layer(family, name)) is not None)
    complete = len(set(sizes.values())) == 1 and sizes.keys() == {*range(len(sizes))}
    return len(sizes) if complete else 0


def _layer(family: Family, name: str) -> int | None:
    beginning = hub_name(family, "blocks.{i}.up.weight").partition("{i}")[0]
    number = name.removeprefix(beginning).partition(".")[0]
    return int(number) if name.startswith(beginning) and number.isdecimal() else None


def _distinct_prefixes(names: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """Return the shortest dotted beginnings of `names` that no wanted name has."""
    wanted = list(wanted)

    def shortest(name: str) -> str:
        parts = name.split(".")
        beginnings = (".".join(parts[:count]) + "." for count in range(1, len(parts)))
        return next(
            (each for each in beginnings if not any(other.startswith(each) for other in wanted)),
            name,
        )

    return {shortest(name) for name in names}

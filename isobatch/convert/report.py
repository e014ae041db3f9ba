"""The result of a conversion: files read, tensors renamed, merged and left out, sizes."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """The file that was written. task: of the checkpoint. dtypes: number of tensors of each.

    renamed: stored name → new name; reasons say why. dropped: stored name → reason; also the
    entries of a pickle that are not tensors.
    """

    family: str
    task: str
    num_tensors: int
    dtypes: Mapping[str, int]
    renamed: Mapping[str, str]
    reasons: tuple[str, ...]
    dropped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """read: names of the files of the weights. base: folder of an adapter's base model.

    merged: tensors to which a product of LoRA was added; replaced: those that the adapter has as a
    whole. tokenizer: the model of SentencePiece that tokenizer.json was made of. Sizes are in
    bytes, of the files of weights, those of modules included.
    """

    source: str
    out: str
    read: tuple[str, ...]
    base: str | None
    written: WrittenWeights
    merged: tuple[str, ...]
    replaced: tuple[str, ...]
    source_bytes: int
    out_bytes: int
    tokenizer: str | None = None

"""Families: the supported architectures, one file each; nothing about a family is anywhere else."""

from isobatch.checkpoint.families.albert import ALBERT
from isobatch.checkpoint.families.bart import BART
from isobatch.checkpoint.families.bert import BERT
from isobatch.checkpoint.families.deberta import DEBERTA_V2
from isobatch.checkpoint.families.decoders import LLAMA, QWEN2, QWEN3
from isobatch.checkpoint.families.distilbert import DISTILBERT
from isobatch.checkpoint.families.electra import ELECTRA
from isobatch.checkpoint.families.family import Family
from isobatch.checkpoint.families.gte import GTE, NEW
from isobatch.checkpoint.families.modernbert import MODERNBERT
from isobatch.checkpoint.families.mpnet import MPNET
from isobatch.checkpoint.families.nomic_bert import NOMIC_BERT
from isobatch.checkpoint.families.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA
from isobatch.errors import UnsupportedModelError

FAMILIES = {
    family.model_type: family
    for family in (
        *(DISTILBERT, BERT, ROBERTA, XLM_ROBERTA, CAMEMBERT, ELECTRA),
        *(MODERNBERT, GTE, NEW, NOMIC_BERT),
        *(MPNET, DEBERTA_V2, BART),
        *(ALBERT, QWEN3, QWEN2, LLAMA),
    )
}

__all__ = ["FAMILIES", "Family", "family_of"]


_ELSEWHERE = (
    '. engine="transformers" (--model-engine transformers) computes any architecture of that '
    "library, one text at a time; training and quantize do not"
)


def family_of(model_type: object) -> Family:
    """Return the family with that `model_type`; raises UnsupportedModelError otherwise."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        spelled = {name.replace("-", ""): name for name in FAMILIES}
        plain = str(model_type).lower().replace("-", "").replace("_", "")
        fix = f'. Write "model_type": "{spelled[plain]}"' if plain in spelled else ""
        raise UnsupportedModelError(
            f"config.json: model_type {model_type!r} is not supported; supported: "
            + ", ".join(FAMILIES)
            + (fix or _ELSEWHERE)
        )
    return FAMILIES[model_type]

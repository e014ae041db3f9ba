"""Families: the supported architectures, one file each; nothing about a family is anywhere else."""

from isobatch.checkpoint.families.bert import BERT
from isobatch.checkpoint.families.distilbert import DISTILBERT
from isobatch.checkpoint.families.electra import ELECTRA
from isobatch.checkpoint.families.family import Family
from isobatch.checkpoint.families.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA
from isobatch.errors import UnsupportedModelError

FAMILIES = {
    family.model_type: family
    for family in (DISTILBERT, BERT, ROBERTA, XLM_ROBERTA, CAMEMBERT, ELECTRA)
}

__all__ = ["FAMILIES", "Family", "family_of"]


def family_of(model_type: object) -> Family:
    """Return the family with that `model_type`; raises UnsupportedModelError otherwise."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        spelled = {name.replace("-", ""): name for name in FAMILIES}
        plain = str(model_type).lower().replace("-", "").replace("_", "")
        fix = f'. Write "model_type": "{spelled[plain]}"' if plain in spelled else ""
        raise UnsupportedModelError(
            f"config.json: model_type {model_type!r} is not supported; supported: "
            + ", ".join(FAMILIES)
            + fix
        )
    return FAMILIES[model_type]

"""The record of a checkpoint's accuracy in each precision: precisions.json beside its weights.

It is made by `isobatch precisions --save` and read where precision="auto" is asked for. It knows
files and no model. Invariant: a record that was made with other weights counts as none.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from isobatch.checkpoint.digest import weights_digest
from isobatch.core import PRECISIONS, Precision
from isobatch.errors import CheckpointError
from isobatch.files import read_json

RECORD = "precisions.json"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How near a precision came to fp32 on some texts; `label_agreement` is a share, 0 to 1."""

    num_texts: int
    label_agreement: float
    largest_logit_difference: float


def read_agreements(folder: Path) -> dict[Precision, Agreement]:
    """What was shown for the weights in `folder`; empty without a record of these weights.

    CheckpointError for a record that cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    record = read_json(path)
    if record.get("weights_sha256") != weights_digest(folder):
        return {}
    shown = record.get("precisions")
    try:
        return {name: Agreement(**shown[name]) for name in PRECISIONS if name in shown}  # type: ignore[operator,index]
    except TypeError as error:
        raise CheckpointError(
            f"{path}: not a record of precisions ({error}); make it again with "
            "`isobatch precisions --save`, or delete it"
        ) from None


def write_agreements(folder: Path, agreements: Mapping[Precision, Agreement]) -> Path:
    """Write the record of the weights in `folder`, whole or not at all; returns its path."""
    record = {
        "weights_sha256": weights_digest(folder),
        "reference": "fp32",
        "precisions": {name: asdict(agreement) for name, agreement in agreements.items()},
    }
    path = folder / RECORD
    partial = folder / f"{RECORD}.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path

"""The audit's verdicts on real architectures, compared with a measurement that uses no audit."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from benchmarks.audit.architectures import ARCHITECTURES, Architecture, write_architecture
from isobatch.audit import audit, open_subject

FAULTY = {
    "fnet": "mask-dropped",
    "yoso": "mask-dropped",
    "convbert": "pads-leak",
    "nystromformer": "pads-leak",
    "canine": "pad-amount-counts",
}
TEXTS = ("film", "a dull film", "the plot was good and the cast was very funny")
PADS = 7
ROUNDING = 1e-4
"""Rounding in float32 stays below it; faults move logits by 1e-2 and more."""

each_architecture = pytest.mark.parametrize(
    "architecture", ARCHITECTURES, ids=lambda each: each.name
)


@each_architecture
def test_the_verdict_agrees_with_the_measurement(
    architecture: Architecture, tmp_path: Path
) -> None:
    folder = write_architecture(architecture, tmp_path / architecture.name)
    report = audit(open_subject(f"transformers:{folder}"), quick=True)
    bugs = [each.name for each in report.findings if each.severity == "bug"]
    assert bugs == ([FAULTY[architecture.name]] if architecture.name in FAULTY else [])


@each_architecture
def test_masked_pads_move_logits_in_the_faulty_architectures_only(
    architecture: Architecture, tmp_path: Path
) -> None:
    moves = list(moves_by_masked_pads(write_architecture(architecture, tmp_path)))
    assert len(moves) == len(TEXTS)
    assert (max(moves) > ROUNDING) == (architecture.name in FAULTY), moves


def moves_by_masked_pads(folder: Path) -> Iterator[float]:
    """The largest change of a logit by masked pads on the tokenizer's side, for each text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id

    def logits(ids: Sequence[int], mask: Sequence[int]) -> Tensor:
        with torch.inference_mode():
            row: Tensor = model(torch.tensor([ids]), attention_mask=torch.tensor([mask])).logits[0]
        return row

    for text in TEXTS:
        ids, pads = tokenizer(text)["input_ids"], [tokenizer.pad_token_id] * PADS
        ones, zeros = [1] * len(ids), [0] * PADS
        left = tokenizer.padding_side == "left"
        padded, mask = (pads + ids, zeros + ones) if left else (ids + pads, ones + zeros)
        yield float((logits(ids, ones) - logits(padded, mask)).abs().max())


def test_every_faulty_architecture_is_audited() -> None:
    assert {each.name for each in ARCHITECTURES} >= FAULTY.keys()

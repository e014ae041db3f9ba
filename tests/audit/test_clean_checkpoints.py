"""No false alarm: sound checkpoints of every family, of many shapes and seeds, have no bug."""

import itertools
from pathlib import Path

import pytest
import transformers
from tiny_checkpoints import BERT_FAMILIES, FAMILIES, Tiny, random_model, write_checkpoint
from tokenizer_folders import write_tokenizer

from isobatch.audit import audit, open_subject
from isobatch.audit.targets import subject_of_model

TEXTS = (
    "Today is a nice day!",
    "Never again.",
    "A gripping film, with a cast that is better than its plot, and never a dull minute in it.",
)

SHAPES = (
    {"num_labels": 2, "num_layers": 1},
    {"num_labels": 3, "hidden_act": "gelu_new"},
    {"num_labels": 1, "num_heads": 2, "head_dim": 16},
)

CLEAN = [
    Tiny(family, seed=seed, **shape)
    for family, shape, seed in itertools.product(BERT_FAMILIES, SHAPES, range(3))
]


def folder_of(family: str, parent: Path) -> Path:
    """A tokenizer's folder, made once for each family."""
    folder = parent / family
    if not folder.exists():
        write_tokenizer(folder, family, options={"model_max_length": 512})
    return folder


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clean")


def test_there_are_fifty_clean_checkpoints() -> None:
    assert len(set(CLEAN)) >= 50


@pytest.mark.parametrize("tiny", CLEAN, ids=lambda t: f"{t.model_type}-{t.num_labels}-{t.seed}")
def test_a_clean_checkpoint_raises_no_alarm(tiny: Tiny, parent: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder_of(tiny.model_type, parent))
    report = audit(subject_of_model(random_model(tiny), tokenizer), TEXTS, quick=True)
    assert report.verdict != "bug", report.findings
    assert {"mask-honoured", "pad-amount"} <= {each.probe for each in report.probes}


@pytest.mark.parametrize("family", FAMILIES)
def test_run_by_isobatch_every_family_is_exact(family: str, parent: Path) -> None:
    folder = folder_of(f"{family}", parent)
    write_checkpoint(folder, Tiny(family))
    report = audit(open_subject(str(folder)), TEXTS, quick=True)
    assert report.verdict == "exact", report.findings

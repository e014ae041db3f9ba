"""Texts that fail alone, and settings that are wrong, are never called faults of the batch."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import transformers
from tiny_checkpoints import fill_randomly
from tokenizer_folders import write_wordpiece_folder

from isobatch.audit import AuditReport, audit, subject_of
from isobatch.audit.targets import subject_of_model
from isobatch.audit.targets.tokenizer_traits import load_tokenizer
from isobatch.errors import AuditError

TEXTS = ("a fine film", "dull", "never a dull minute in it, and so on and on and on and on", "good")
POSITIONS = 16


def model(tokenizer: Any, positions: int = POSITIONS, missing_ids: int = 0) -> Any:
    """A tiny model with too few positions, or embeddings, for its tokenizer."""
    sizes: dict[str, Any] = dict(
        vocab_size=max(tokenizer.get_vocab().values()) + 1 - missing_ids,
        max_position_embeddings=positions,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    config = transformers.BertConfig(**sizes)
    return fill_randomly(transformers.BertForSequenceClassification(config)).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_wordpiece_folder(tmp_path)
    edit(tmp_path, model_max_length=512)
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    path = folder / "tokenizer_config.json"
    raw = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(raw | changes))


def configuration_faults(report: AuditReport) -> list[str]:
    assert not any("batch-fails" in each.name for each in report.findings)
    return [each.name for each in report.findings if each.severity == "configuration"]


def test_too_few_positions_are_named_and_the_line_of_the_message_mends_them(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    report = audit(subject_of_model(model(tokenizer), tokenizer), TEXTS)
    assert report.verdict == "configuration"
    assert configuration_faults(report) == ["too-few-positions"]
    assert report.num_texts == 3
    first = report.probes[0]
    assert (first.probe, first.status) == ("texts-alone", "configuration")
    assert "'never a dull minute" in first.summary
    assert f"the model {POSITIONS} positions" in report.findings[0].cause
    line = re.search(r'Write ("model_max_length": \d+) into tokenizer_config', first.summary)
    assert line is not None
    edit(folder, **json.loads(f"{{{line[1]}}}"))
    mended = load_tokenizer(folder)
    report = audit(subject_of_model(model(mended), mended), TEXTS)
    assert configuration_faults(report) == []
    assert report.num_texts == 4


def test_ids_without_embedding_are_named(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    last = max(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    called = subject_of_model(model(tokenizer, 512, missing_ids=1), tokenizer)
    report = audit(called, (*TEXTS, f"good {last}"), quick=True)
    assert configuration_faults(report) == ["ids-beyond-table"]
    assert "the model" in report.findings[0].cause


def test_a_padding_token_without_embedding_is_named(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    sized = model(tokenizer, 512)
    tokenizer.add_special_tokens({"pad_token": "[NEW]"})
    report = audit(subject_of_model(sized, tokenizer), TEXTS, quick=True)
    assert configuration_faults(report) == ["pad-id-beyond-table"]
    sized.resize_token_embeddings(len(tokenizer))
    assert configuration_faults(audit(subject_of_model(sized, tokenizer), TEXTS, quick=True)) == []


@pytest.mark.parametrize(
    "special", ["\N{GRINNING FACE} fine", "word " * 300, "never a dull minute in it"]
)
def test_one_text_that_fails_alone_is_named_and_the_others_are_audited(special: str) -> None:
    def predict(texts: Sequence[str]) -> list[list[float]]:
        if special in texts:
            raise ValueError("not this one")
        return [[len(text), text.count("a") - 0.5] for text in texts]

    report = audit(subject_of(predict), (*TEXTS, special), quick=True)
    assert (report.verdict, configuration_faults(report)) == ("configuration", ["text-fails"])
    assert report.num_texts == len({*TEXTS, special} - {special})
    assert "not this one" in report.findings[0].cause
    exact = {each.probe for each in report.probes if each.status == "exact"}
    assert {"order", "neighbours", "company-length"} <= exact


def test_a_batch_that_alone_fails_is_still_a_fault_of_the_batch() -> None:
    def predict(texts: Sequence[str]) -> list[list[float]]:
        if len(texts) > 1:
            raise ValueError("one at a time")
        return [[len(text), 0.5] for text in texts]

    report = audit(subject_of(predict), TEXTS, quick=True)
    assert report.verdict == "bug"
    assert [each.name for each in report.findings] == ["batch-fails"]


def test_a_system_that_accepts_no_text_alone_cannot_be_audited() -> None:
    def predict(texts: Sequence[str]) -> list[list[float]]:
        if len(texts) == 1:
            raise ValueError("two at least")
        return [[len(text), 0.5] for text in texts]

    with pytest.raises(AuditError, match=r"no result alone.*two at least"):
        audit(subject_of(predict), TEXTS, quick=True)

"""Every planted fault is caught and named; sound models of the same make pass.

The white box takes token ids too; the black box takes texts alone, where some faults cannot be
distinguished, and the name says no more than is known.
"""

from pathlib import Path

import pytest
import transformers
from planted import Closed, Planted, predictor, tokenizer_in

from isobatch.audit import AuditReport, audit, subject_of
from isobatch.audit.targets import subject_of_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizer") / "wordpiece"


def opened(model: Planted, folder: Path, side: str = "right") -> AuditReport:
    return audit(subject_of_model(model, tokenizer_in(folder, side)), quick=True)


def called(model: Planted, folder: Path, side: str = "right", **mistakes: bool) -> AuditReport:
    predict = predictor(model, tokenizer_in(folder, side), **mistakes)
    return audit(subject_of(predict, "predict"), quick=True)


def bugs(report: AuditReport) -> list[str]:
    return [finding.name for finding in report.findings if finding.severity == "bug"]


WHITE = {
    "mask dropped": "mask-dropped",
    "mask inverted": "mask-inverted",
    "mean over pads": "pads-pooled",
    "mask one too many": "mask-off-by-one",
    "mask one too few": "mask-off-by-one",
    "batch norm": "batch-statistics",
    "per-tensor int8": "tensor-wide-scales",
    "padding id taken for position": "padding-id-positions",
}


@pytest.mark.parametrize(("fault", "name"), WHITE.items())
def test_a_planted_fault_is_named(fault: str, name: str, folder: Path) -> None:
    report = opened(Planted(fault), folder)
    assert report.verdict == "bug"
    assert bugs(report) == [name]


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("mask dropped", "mask-dropped"),
        ("mask inverted", "mask-inverted"),
        ("mask one too many", "mask-off-by-one"),
        ("mask one too few", "mask-off-by-one"),
    ],
)
def test_a_fault_of_the_mask_is_named_without_hidden_states(
    fault: str, name: str, folder: Path
) -> None:
    assert bugs(opened(Closed(fault, head="first"), folder)) == [name]


def test_a_head_that_reads_the_last_column_is_named(folder: Path) -> None:
    report = opened(Planted(head="column"), folder)
    assert bugs(report) == ["last-column-read"]


def test_positions_shifted_by_left_padding_are_named(folder: Path) -> None:
    report = opened(Planted(head="last"), folder, side="left")
    assert bugs(report) == ["left-padding-shifts-positions"]


BLACK = {
    "mask dropped": "padding-counts",
    "mask inverted": "padding-counts",
    "mean over pads": "padding-counts",
    "mask one too many": "padding-counts",
    "mask one too few": "padding-counts",
    "batch norm": "rows-mixed",
    "per-tensor int8": "rows-mixed",
}


@pytest.mark.parametrize(("fault", "name"), BLACK.items())
def test_a_planted_fault_is_caught_by_texts_alone(fault: str, name: str, folder: Path) -> None:
    report = called(Planted(fault), folder)
    assert report.verdict == "bug"
    assert bugs(report) == [name]


def test_a_forgotten_mask_is_caught_by_texts_alone(folder: Path) -> None:
    assert bugs(called(Planted(), folder, forget_mask=True)) == ["padding-counts"]


def test_a_last_column_is_caught_by_texts_alone(folder: Path) -> None:
    assert bugs(called(Planted(head="column"), folder)) == ["padding-counts"]


def test_left_padding_is_caught_by_texts_alone(folder: Path) -> None:
    assert bugs(called(Planted(head="last"), folder, side="left")) == ["padding-counts"]


def test_a_forgotten_order_is_named_by_texts_alone(folder: Path) -> None:
    assert bugs(called(Planted(), folder, sort=True)) == ["order-not-restored"]


@pytest.mark.parametrize("head", ["mean", "first", "last"])
@pytest.mark.parametrize("seed", range(2))
def test_a_sound_model_has_no_bug(head: str, seed: int, folder: Path) -> None:
    white, black = Planted(head=head, seed=seed), Planted(head=head, seed=seed)
    for report in (opened(white, folder), called(black, folder)):
        assert bugs(report) == [], report.findings


def test_dropout_that_is_left_on_is_named(folder: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        num_labels=3,
    )
    model = transformers.BertForSequenceClassification(config).train()
    report = audit(subject_of_model(model, tokenizer_in(folder)), quick=True)
    assert bugs(report) == ["not-repeatable"]


def test_a_tokenizer_without_a_limit_is_reported(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path / "unlimited")
    tokenizer.model_max_length = int(1e30)
    config = transformers.BertConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=128,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    report = audit(subject_of_model(model, tokenizer), ["A fine film.", "Dull."], quick=True)
    (found,) = (each for each in report.probes if each.probe == "truncation")
    assert found.status == "note"
    assert "ends in an error" in found.summary
    assert found.summary.endswith("no limit of its own, the model one of 128 tokens")
    assert report.verdict != "bug"

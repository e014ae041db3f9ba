"""Which precision is chosen: as given, by default, and for "auto" by a record of these weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier, precision
from isobatch.checkpoint import bundled_folder
from isobatch.errors import CheckpointError, InputError, OptionError
from isobatch.kernels import selection
from isobatch.precision import (
    MIN_TEXTS,
    RECORD,
    PrecisionAgreement,
    choose_precision,
    compare_precisions,
    read_agreements,
    save_agreements,
    write_agreements,
)
from isobatch.types import Precision

CPU = torch.device("cpu")
GOOD = PrecisionAgreement(num_texts=500, label_agreement=0.995, largest_logit_difference=0.1)
POOR = PrecisionAgreement(num_texts=500, label_agreement=0.98, largest_logit_difference=0.9)
TEXTS = ["Today is a nice day!", "But what about tomorrow? Im not sure.", "dull", ""]


def loader(folder: Path) -> Callable[[Precision], Classifier]:
    return lambda precision: Classifier.from_pretrained(folder, precision=precision)


@pytest.fixture
def folder(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A checkpoint without a record."""
    shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "checkpoint")
    return write_wordpiece_folder(tmp_path / "checkpoint")


@pytest.fixture(autouse=True)
def all_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a machine that computes every precision, for the choice."""
    monkeypatch.setattr(precision, "supported_precisions", lambda _device: ("fp32", "bf16", "int8"))


def chosen(folder: Path, asked: str | None = "auto") -> tuple[Precision, str]:
    choice = choose_precision(folder, asked, CPU)
    return choice.precision, choice.reason


def test_fp32_is_the_default(folder: Path) -> None:
    assert chosen(folder, None) == ("fp32", "the default")


@pytest.mark.parametrize("name", ["fp32", "bf16", "int8"])
def test_a_named_precision_is_used_with_or_without_a_record(folder: Path, name: str) -> None:
    assert chosen(folder, name) == (name, "as requested")


def test_an_unknown_precision_is_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="must be one of fp32, bf16, int8, auto, got 'fp64'"):
        chosen(folder, "fp64")


def test_auto_is_fp32_without_a_record(folder: Path) -> None:
    name, reason = chosen(folder)
    assert name == "fp32"
    assert reason.count("was not verified for these weights; see `isobatch precisions`") == 2


def test_auto_is_the_fastest_precision_in_the_record(folder: Path) -> None:
    write_agreements(folder, {"bf16": GOOD, "int8": GOOD})
    assert chosen(folder) == ("int8", "99.50% of 500 texts have fp32's label")


def test_auto_leaves_out_a_precision_with_poor_agreement(folder: Path) -> None:
    write_agreements(folder, {"bf16": GOOD, "int8": POOR})
    name, reason = chosen(folder)
    assert name == "bf16"
    assert reason.startswith("int8 skipped (only 98.00% of 500 texts")


def test_auto_leaves_out_a_record_of_few_texts(folder: Path) -> None:
    few = PrecisionAgreement(MIN_TEXTS - 1, 1.0, 0.0)
    write_agreements(folder, {"int8": few})
    name, reason = chosen(folder)
    assert name == "fp32"
    assert f"verified on only {MIN_TEXTS - 1} texts" in reason


def test_a_record_of_other_weights_is_ignored(folder: Path) -> None:
    write_agreements(folder, {"int8": GOOD})
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    assert read_agreements(folder) == {}
    assert chosen(folder)[0] == "fp32"


@pytest.mark.parametrize("offered", [("fp32",), ("fp32", "bf16")])
def test_auto_leaves_out_a_precision_that_the_machine_cannot_compute(
    folder: Path, offered: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "supported_precisions", lambda _device: offered)
    write_agreements(folder, {"bf16": GOOD, "int8": GOOD})
    name, reason = chosen(folder)
    assert name == offered[-1]
    assert "int8 skipped (not supported on this machine)" in reason


@pytest.mark.parametrize(
    "text",
    ["{", '{"weights_sha256": 1, "precisions"', '["int8"]'],
    ids=["torn", "cut", "list"],
)
def test_a_corrupt_record_is_an_error_that_names_it(folder: Path, text: str) -> None:
    (folder / RECORD).write_text(text)
    with pytest.raises(CheckpointError, match=RECORD):
        chosen(folder)


@pytest.mark.parametrize("shown", [None, {"int8": {"texts": 3}}, {"int8": 3}])
def test_a_record_without_figures_is_an_error(folder: Path, shown: object) -> None:
    path = write_agreements(folder, {})
    record = json.loads(path.read_text()) | {"precisions": shown}
    path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="Create it again"):
        chosen(folder)


# ----------------------------------------------------------------------- bundled model


def test_the_bundled_model_has_a_record_and_auto_uses_it(
    bundled_classifier: Callable[[str], Classifier],
) -> None:
    shown = read_agreements(bundled_folder())
    assert {name: each.num_texts for name, each in shown.items()} == {"bf16": 6735, "int8": 6735}
    classifier, int8 = Classifier.from_pretrained(precision="auto"), bundled_classifier("int8")
    assert classifier.precision == "int8"
    assert "of 6,735 texts" in classifier.precision_reason
    assert int8.precision_reason == "as requested"
    assert np.array_equal(classifier.logits(TEXTS), int8.logits(TEXTS))


@pytest.fixture
def own_precisions(all_precisions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to those that this machine supports."""
    monkeypatch.setattr(precision, "supported_precisions", selection.supported_precisions)


@pytest.mark.usefixtures("own_precisions")
def test_precisions_are_compared_with_fp32_on_the_same_texts(
    bundled_classifier: Callable[[str], Classifier],
) -> None:
    results = compare_precisions(bundled_classifier, TEXTS)
    assert results[0].precision == "fp32"
    assert results[0].agreement == PrecisionAgreement(len(TEXTS), 1.0, 0.0)
    fp32 = bundled_classifier("fp32").logits(TEXTS)
    for result in results[1:]:
        logits = bundled_classifier(result.precision).logits(TEXTS)
        difference = float(np.abs(logits - fp32).max())
        assert result.agreement.largest_logit_difference == difference > 0
        assert result.texts_per_second > 0


def test_the_label_of_a_single_logit_is_its_sign() -> None:
    logits = np.array([[0.5], [-0.5], [0.1]], dtype=np.float32)
    others = np.array([[0.4], [0.5], [0.2]], dtype=np.float32)
    found = precision._agreement(others, logits, "sigmoid")
    assert found.label_agreement == pytest.approx(2 / 3)


def test_all_labels_of_a_text_must_agree() -> None:
    logits = np.array([[2.0, 1.0], [2.0, -1.0]], dtype=np.float32)
    others = np.array([[2.0, -0.1], [2.0, -2.0]], dtype=np.float32)
    assert precision._agreement(others, logits, "sigmoid").label_agreement == 0.5
    assert precision._agreement(others, logits, "softmax").label_agreement == 1.0


def test_a_regression_has_no_labels_to_compare(tmp_path: Path, tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert", num_labels=1, problem_type="regression")
    folder = write_wordpiece_folder(
        Path(shutil.copytree(tiny_folder(tiny), tmp_path / "m")), "bert"
    )
    with pytest.raises(OptionError, match="precisions are compared by labels"):
        compare_precisions(lambda _: Classifier.from_pretrained(folder), ["a"])


def test_a_comparison_without_texts_is_refused() -> None:
    with pytest.raises(InputError, match="no texts"):
        compare_precisions(pytest.fail, [])


@pytest.mark.usefixtures("own_precisions")
def test_a_record_is_kept_in_a_folder_and_of_enough_texts_only(folder: Path) -> None:
    results = compare_precisions(loader(folder), TEXTS)
    with pytest.raises(OptionError, match=f"at least {MIN_TEXTS}"):
        save_agreements(folder, results)
    with pytest.raises(OptionError, match="use a checkpoint folder"):
        save_agreements(None, results)
    assert not (folder / RECORD).exists()
    many = compare_precisions(
        loader(folder), [f"{number} {TEXTS[0]}" for number in range(MIN_TEXTS)]
    )
    assert save_agreements(folder, many) == folder / RECORD
    shown = read_agreements(folder)
    assert shown == {each.precision: each.agreement for each in many if each.precision != "fp32"}

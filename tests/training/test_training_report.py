"""The report of a training: its content, its safety, and the same bytes for the same training."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tiny_checkpoints import Tiny, TinyFolder
from training.trained_models import labelled_texts, make_trained
from training.whole_checkpoints import write_whole

from isobatch.errors import OptionError
from isobatch.training.output import training_report
from isobatch.training.output.learning_curves import validation_loss
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.output.training_report import check_report_libraries, render_training_report
from isobatch.training.recipe import TrainingTask


class _Text(HTMLParser):
    """The texts of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.elements: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.parts).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_folder: TinyFolder) -> Path:
    return write_whole(tmp_path_factory.mktemp("base") / "tiny", Tiny("bert"), tiny_folder)


@pytest.fixture(scope="module")
def trained(base: Path) -> TrainedModel:
    return make_trained(base, number=400)


def page_of(trained: TrainedModel) -> _Text:
    return _Text(render_training_report(trained, "Training of x"))


def section(page: _Text, heading: str, following: str) -> str:
    found = re.search(f"{heading} (.*?) {following}", page.words)
    assert found, page.words
    return found[1]


def test_a_page_has_curves_confusion_and_calibration_before_and_after(
    trained: TrainedModel,
) -> None:
    page = page_of(trained)
    assert page.elements.count("svg") == 4
    temperature = trained.calibrated.temperature
    assert f"The temperature {temperature.value} was fitted on 210 validation texts" in page.words
    assert "Before: calibration error" in page.words
    assert "With the temperature: calibration error" in page.words
    assert "The weights are those after step 30 of 40, the best of 4 evaluations by" in page.words
    assert re.search(r"weights best so far 10 1 .* 20 1 .* 30 2 .* 40 2 ", page.words), "epochs"
    accuracy = f"{100 * trained.metrics['accuracy']:.1f} %"
    assert f"Accuracy {accuracy} by which the best weights were chosen" in page.words
    assert len(page.ids) == len({*page.ids}), "two charts have no id in common"


@pytest.mark.parametrize(("task", "pictures"), [("multi", 3), ("regression", 2)])
def test_each_task_has_a_page(base: Path, task: TrainingTask, pictures: int) -> None:
    page = page_of(make_trained(base, task))
    assert page.elements.count("svg") == pictures
    assert ("a regression has no probabilities" in page.words) == (task == "regression")


def test_of_many_labels_the_frequent_ones_are_shown(
    trained: TrainedModel, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multi = make_trained(base, "multi", number=60, held_out=30)
    assert "that most texts have" not in page_of(multi).words
    monkeypatch.setattr(training_report, "MAX_DECIDED", 1)
    shown = section(page_of(multi), "Labels", "Calibration")
    counts = multi.validation.targets.sum(axis=0)
    frequent, rare = ("bad", "good") if counts[0] >= counts[1] else ("good", "bad")
    assert f" {frequent} " in shown
    assert f" {rare} " not in shown
    assert "Of 2 labels these are the 1 that most texts have." in shown


def test_a_metric_without_a_value_is_a_dash(base: Path) -> None:
    trained = make_trained(base, "regression", number=60, held_out=30)
    events = [
        {**each, "value": math.nan} if each["event"] == "evaluation" else each
        for each in trained.events
    ]
    page = page_of(replace(trained, events=events))
    assert "nan" not in page.words.lower()
    assert " – average " in page.words


def test_a_page_without_a_temperature_says_why(base: Path) -> None:
    page = page_of(make_trained(base, number=60, held_out=30))
    assert page.elements.count("svg") == 3
    assert "No temperature was used: 30 validation texts are too few: it takes 200" in page.words


def test_suspected_errors_are_not_among_the_mistakes(trained: TrainedModel) -> None:
    page = page_of(trained)
    suspected = section(page, "Suspected label errors", "Worst mistakes")
    mistakes = section(page, "Worst mistakes", "Texts training texts")
    places = re.compile(r"news\.csv: line \d+")
    in_both = [places.findall(part) for part in (suspected, mistakes)]
    assert all(in_both), "there are some of each kind"
    assert not {*in_both[0]} & {*in_both[1]}
    wrong = {f"news.csv: line {row + 2}" for row in range(190, 400) if row % 11 == 7}
    assert len(wrong & {*in_both[0]}) > 0.8 * len(in_both[0]), "most of them were really wrong"


def test_a_perfect_model_has_neither(base: Path) -> None:
    trained = make_trained(base, number=60, held_out=30)
    after = replace(trained.calibrated.after, logits=trained.validation.targets * 5)
    page = page_of(replace(trained, calibrated=replace(trained.calibrated, after=after)))
    assert section(page, "Suspected label errors", "Worst mistakes").startswith("None: no")
    assert section(page, "Worst mistakes", "Texts training texts") == "None."


def test_the_texts_are_counted(base: Path) -> None:
    texts = labelled_texts("single", 60)
    texts.texts[41] = texts.texts[4].upper()  # in the training texts, with another label
    texts.texts[5] = texts.texts[5] + " never again" * 40
    texts.texts[44] = texts.texts[44] + " never again" * 40
    page = page_of(make_trained(base, texts=texts, held_out=30))
    shown = section(page, "Texts training texts", "Recipe")
    assert "truncated 1 of training, 1 of validation, at 48 tokens" in shown
    assert "duplicates across the split 1 validation text equal to a training text" in shown
    assert "equal texts with different labels 1 text " in shown
    listed = shown.partition("Equal texts with different labels")[2]
    assert "news.csv: line 6" in listed
    assert "news.csv: line 43" in listed
    assert "Note: 1 validation text also among the training texts" in page.words


def test_nothing_of_the_outside_is_markup(base: Path) -> None:
    evil = "<script>alert(1)</script>"
    texts = labelled_texts("single", 60, (evil, "good"))
    texts.texts[:] = [f"{evil} {text}" for text in texts.texts]
    texts.places[:] = [f"{evil}{place}" for place in texts.places]
    page = render_training_report(make_trained(base, texts=texts, held_out=30), evil)
    assert "script" not in _Text(page).elements
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert "http" not in re.sub(r"http-equiv|xmlns\S*", "", page), "no network"


def test_the_same_training_gives_the_same_page(trained: TrainedModel) -> None:
    first = render_training_report(trained, "x")
    slower = [{**each, "seconds": 1e6} for each in trained.events]
    assert render_training_report(replace(trained, events=slower), "x") == first


def test_a_missing_library_is_named_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    check_report_libraries()
    monkeypatch.setattr(training_report, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"'jinja2' is not installed.*isobatch\[train\]"):
        check_report_libraries()


def test_the_validation_loss_has_the_units_of_the_training_loss() -> None:
    """A regression learns standardized numbers."""
    assert validation_loss("regression", {"rmse": 50.0}, [100.0]) == 0.25
    assert validation_loss("regression", {"rmse": 50.0}, [100.0, 2.0]) is None
    assert validation_loss("single", {"log_loss": 0.5}, ()) == 0.5


def test_weighted_classes_are_not_advised_again(trained: TrainedModel) -> None:
    assert not trained.has_class_weights
    weighted = replace(trained, record={"options": {"class_weights": "balanced"}})
    assert weighted.has_class_weights

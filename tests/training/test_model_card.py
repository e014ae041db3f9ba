"""The model card: metadata that the hub reads, and nothing that is not known here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard, ModelCardData
from tiny_checkpoints import Tiny, TinyFolder
from training.trained_models import labelled_texts, make_trained
from training.whole_checkpoints import write_whole

from isobatch.training.output.model_card import render_model_card
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.recipe import TrainingTask


@pytest.fixture
def base(tmp_path: Path, tiny_folder: TinyFolder) -> Path:
    return write_whole(tmp_path / "tiny", Tiny("bert"), tiny_folder)


def card_of(trained: TrainedModel, name: str = "my-model") -> tuple[ModelCardData, str]:
    card = ModelCard(render_model_card(trained, name))
    assert isinstance(card.data, ModelCardData)
    return card.data, card.text


def test_the_metadata_is_read_by_the_hub_s_classes(base: Path) -> None:
    trained = make_trained(base)
    data, _ = card_of(trained)
    assert data.pipeline_tag == "text-classification"
    assert data.library_name == "transformers"
    assert data.model_name == "my-model"
    found = {(each.metric_type, each.metric_name): each for each in data.eval_results}
    assert found.keys() == {
        ("accuracy", "accuracy"), ("f1", "macro F1"), ("log_loss", "log loss")
    }  # fmt: skip
    accuracy = found["accuracy", "accuracy"]
    assert accuracy.metric_value == pytest.approx(trained.metrics["accuracy"], abs=1e-6)
    assert (accuracy.dataset_name, accuracy.dataset_type) == ("news.csv", "news-csv")
    assert (accuracy.dataset_split, accuracy.dataset_revision) == ("validation", "ab" * 32)
    assert found["f1", "macro F1"].metric_args == {"average": "macro"}


@pytest.mark.parametrize("task", ["single", "multi", "regression"])
def test_no_number_is_called_a_test(base: Path, task: TrainingTask) -> None:
    text = render_model_card(make_trained(base, task), "my-model").lower()
    assert "validation" in text
    assert "test" not in text.replace("latest", "")
    assert "decided which weights" in text


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        (None, {}),
        ("# A model\n", {}),
        ("---\nlanguage: en\n---\n", {}),
        ("---\nlicense: apache-2.0\n---\n", {"license": "apache-2.0"}),
        ("\ufeff---\nlicense: mit\n---\n", {"license": "mit"}),
        (
            "---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\n---\n",
            {"license": "other", "license_name": "own", "license_link": "LICENSE"},
        ),
        ("---\nlicense: [mit, other]\n---\n", {}),
        ("---\nlicense: {\n---\n", {}),
    ],
)
def test_a_licence_is_copied_and_never_guessed(
    base: Path, readme: str | None, expected: dict[str, str]
) -> None:
    if readme is not None:
        (base / "README.md").write_text(readme, encoding="utf-8")
    data, text = card_of(make_trained(base, number=30, held_out=10))
    keys = ("license", "license_name", "license_link")
    assert {key: data.get(key) for key in keys if data.get(key)} == expected
    assert ("could not be read" in text) == (readme is not None and "{" in readme)


def test_the_checkpoint_is_named_by_its_hub_id_or_in_words(base: Path) -> None:
    local, text = card_of(make_trained(base, number=30, held_out=10))
    assert local.base_model is None, "a folder's name is not an id"
    assert "the checkpoint tiny of the family Bert" in text
    assert str(base.parent) not in text
    trained = make_trained(base, number=30, held_out=10)
    start = replace(trained.start, hub=("owner/name", "abc123"))
    hub, text = card_of(replace(trained, start=start))
    assert hub.base_model == "owner/name"
    assert "[owner/name](https://huggingface.co/owner/name)" in text
    assert "commit abc123" in text


def test_texts_of_python_have_no_file(base: Path) -> None:
    trained = make_trained(base, number=30, held_out=10)
    facts = replace(trained.facts, files=(), validation_files=())
    data, text = card_of(replace(trained, facts=facts))
    assert data.eval_results[0].dataset_name == "texts passed in Python"
    assert data.eval_results[0].dataset_revision is None
    assert "SHA-256" not in text


def test_names_have_no_effect_on_the_markup(base: Path) -> None:
    texts = labelled_texts("single", 60, ("a|b", "*c*\n# d <script>"))
    _, text = card_of(make_trained(base, texts=texts, held_out=20), 'a"b')
    assert "| a\\|b |" in text
    assert "| \\*c\\* \\# d \\<script\\> |" in text
    assert 'from_pretrained("a\\"b")' in text


def test_many_labels_are_counted(base: Path) -> None:
    texts = labelled_texts("single", 240)
    texts.values[:] = [f"label {index % 60}" for index in range(240)]
    _, text = card_of(make_trained(base, texts=texts, held_out=120))
    assert "| label 49 |" in text
    assert "| label 50 |" not in text
    assert "and 10 other labels." in text


def test_a_temperature_is_stated(base: Path) -> None:
    trained = make_trained(base)
    value = trained.calibrated.temperature.value
    assert (
        f"The temperature {value}, fitted on 210 validation texts, is part" in card_of(trained)[1]
    )
    few = make_trained(base, number=30, held_out=10)
    assert "temperature" not in card_of(few)[1].replace("teacher temperature", "")


def test_a_metric_without_a_value_is_left_out(base: Path) -> None:
    trained = make_trained(base, "regression", number=30, held_out=10)
    after = replace(trained.calibrated.after, metrics={"rmse": 1.0, "pearson": np.nan})
    data, text = card_of(replace(trained, calibrated=replace(trained.calibrated, after=after)))
    assert [each.metric_type for each in data.eval_results] == ["rmse"]
    assert "| pearson | – |" in text

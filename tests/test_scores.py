"""Scores and labels: ranks go by logits, activations by the settings of both libraries.

The right values are those of CrossEncoder.predict of sentence-transformers 6.2 for one label, and
of transformers' pipeline for the rest.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier
from isobatch.checkpoint import write_tensors
from isobatch.errors import CheckpointError
from isobatch.model import read_model
from isobatch.page import LessonPage
from isobatch.scope import describe_scope
from isobatch.tasks import rank_logits, score_logits

TEXT = "a b c"
SECTION = "config_sentence_transformers.json"

Checkpoint = Callable[..., Path]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Write a checkpoint with these settings, and with these logits for every text."""

    def write(
        num_labels: int = 1, logits: tuple[float, ...] | None = None, **settings: object
    ) -> Path:
        folder = tmp_path / f"model {len(list(tmp_path.iterdir()))}"
        write_checkpoint(folder, Tiny("bert", num_layers=1, num_labels=num_labels))
        write_wordpiece_folder(folder, "bert")
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        if logits is not None:
            model = read_model(folder)
            with torch.no_grad():
                model.get_parameter("head.output.weight").zero_()
                model.get_parameter("head.output.bias").copy_(torch.tensor(logits))
            write_tensors(folder, model.config.family, dict(model.named_parameters()))
        return folder

    return write


# ----------------------------------------------------------------------------- saturated scores

SATURATED = (50.0, 60.0, 60.0, 40.0)
MULTI = "multi_label_classification"


@pytest.fixture
def saturated(checkpoint: Checkpoint) -> Classifier:
    """All sigmoids are 1.0 in double precision; the second logit is the first of the highest."""
    folder = checkpoint(num_labels=4, logits=SATURATED, problem_type=MULTI)
    return Classifier.from_pretrained(folder)


def test_a_saturated_sigmoid_does_not_choose_the_label(saturated: Classifier) -> None:
    prediction = saturated(TEXT)
    assert prediction.logits == SATURATED
    assert set(prediction.scores.values()) == {1.0}
    assert (prediction.label, prediction.score) == ("LABEL_1", 1.0)


def test_a_saturated_sigmoid_does_not_choose_the_order(saturated: Classifier) -> None:
    ranked = saturated.ranked(np.array(SATURATED, dtype=np.float32))
    order = ["LABEL_1", "LABEL_2", "LABEL_0", "LABEL_3"]
    assert [each["label"] for each in ranked] == order
    assert [each["score"] for each in ranked] == [1.0] * 4


def test_a_saturated_softmax_does_not_choose_the_order(checkpoint: Checkpoint) -> None:
    classifier = Classifier.from_pretrained(checkpoint(3, logits=(0.0, -900.0, -800.0)))
    assert list(classifier(TEXT).scores.values()) == [1.0, 0.0, 0.0]
    ranked = classifier.ranked(np.array((0.0, -900.0, -800.0), dtype=np.float32))
    assert [each["label"] for each in ranked] == ["LABEL_0", "LABEL_2", "LABEL_1"]


def test_the_page_chooses_by_logits(saturated: Classifier) -> None:
    data = LessonPage.from_pretrained(saturated.folder).data(["a b", "a"], random_batches=False)
    labels = {result.label for sentence in data.sentences for result in sentence.results}
    assert labels == {"LABEL_1"}


def test_equal_logits_keep_the_order_of_the_checkpoint() -> None:
    assert rank_logits([1.0, 2.0, 2.0, -3.0, 2.0]) == [1, 2, 4, 0, 3]
    assert rank_logits([0.0, -0.0]) == [0, 1]


# ------------------------------------------------------------------------------- cross-encoders

IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


def new(path: object) -> Mapping[str, object]:
    """The setting as sentence-transformers 4 and 5 save it."""
    return {"sentence_transformers": {"activation_fn": path, "version": "5.1.0"}}


def old(path: object) -> Mapping[str, object]:
    """As versions 2 and 3 saved it."""
    return {"sbert_ce_default_activation_function": path}


@pytest.mark.parametrize("spelled", [new, old])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (IDENTITY, "none"),
        ("torch.nn.Identity", "none"),
        (SIGMOID, "sigmoid"),
        ("torch.nn.Sigmoid", "sigmoid"),
        (None, "sigmoid"),
    ],
)
def test_one_label_is_scored_as_by_cross_encoder_predict(
    checkpoint: Checkpoint,
    spelled: Callable[[object], Mapping[str, object]],
    path: object,
    expected: str,
) -> None:
    classifier = Classifier.from_pretrained(checkpoint(**spelled(path)))
    prediction = classifier((TEXT, "d"))
    (logit,) = prediction.logits
    assert prediction.score == score_logits([logit], expected)[0]  # type: ignore[arg-type]
    assert classifier.config.head.pipeline_activation == "sigmoid"
    assert describe_scope(classifier, "a model").score_activation == expected


def test_the_file_of_version_6_is_read(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    stated = {"model_type": "CrossEncoder", "activation_fn": IDENTITY, "prompts": {}}
    (folder / SECTION).write_text(json.dumps(stated))
    assert Classifier.from_pretrained(folder).score_activation == "none"
    (folder / SECTION).write_text(json.dumps(stated | {"activation_fn": "torch.nn.Tanh"}))
    with pytest.raises(CheckpointError, match=f"{SECTION}: activation_fn is 'torch.nn.Tanh'"):
        read_model(folder)
    (folder / SECTION).write_text(json.dumps({"model_type": "SentenceTransformer"}))
    assert Classifier.from_pretrained(folder).score_activation == "sigmoid"


def test_two_files_that_disagree_are_refused(checkpoint: Checkpoint) -> None:
    folder = checkpoint(**new(SIGMOID))
    stated = {"model_type": "CrossEncoder", "activation_fn": IDENTITY}
    (folder / SECTION).write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match=r"sentence_transformers\.activation_fn is") as caught:
        read_model(folder)
    assert 'Delete "sentence_transformers.activation_fn"' in str(caught.value)
    (folder / SECTION).write_text(json.dumps(stated | {"activation_fn": SIGMOID}))
    assert Classifier.from_pretrained(folder).score_activation == "sigmoid"


@pytest.mark.parametrize("num_labels", [2, 3])
@pytest.mark.parametrize("problem_type", [None, MULTI, "regression"])
def test_several_labels_are_scored_as_by_transformers_under_identity(
    checkpoint: Checkpoint, problem_type: str | None, num_labels: int
) -> None:
    folder = checkpoint(num_labels, problem_type=problem_type, **new(IDENTITY))
    expected = {None: "softmax", MULTI: "sigmoid", "regression": "none"}[problem_type]
    assert Classifier.from_pretrained(folder).score_activation == expected


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "path"),
    [
        (1, None, "torch.nn.modules.activation.Tanh"),
        (1, None, "torch.nn.modules.activation.Softmax"),
        (1, None, "my_package.Calibrated"),
        (1, None, "my_package.Identity"),
        (1, None, 3),
        (1, "regression", SIGMOID),
        (1, MULTI, IDENTITY),
        (3, None, SIGMOID),
        (3, "regression", SIGMOID),
        (3, None, "torch.nn.modules.activation.Tanh"),
        (3, MULTI, "torch.nn.modules.activation.Softmax"),
    ],
)
@pytest.mark.parametrize("spelled", [new, old])
def test_another_activation_is_refused_with_its_place(
    checkpoint: Checkpoint,
    spelled: Callable[[object], Mapping[str, object]],
    path: object,
    num_labels: int,
    problem_type: str | None,
) -> None:
    settings = spelled(path)
    folder = checkpoint(num_labels, problem_type=problem_type, **settings)
    with pytest.raises(CheckpointError) as caught:
        Classifier.from_pretrained(folder)
    (key,) = settings
    assert f"{folder}/config.json: {key}" in str(caught.value)
    assert f"is {path!r}" in str(caught.value)
    assert "elete " in str(caught.value)


def test_a_softmax_that_transformers_computes_too_is_accepted(checkpoint: Checkpoint) -> None:
    folder = checkpoint(3, **new("torch.nn.modules.activation.Softmax"))
    assert Classifier.from_pretrained(folder).score_activation == "softmax"


# -------------------------------------------------------------------------------- problem types


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "is_accepted"),
    [
        (1, "single_label_classification", False),
        (2, "single_label_classification", True),
        (1, MULTI, True),
        (1, "regression", True),
        (3, "regression", True),
    ],
)
def test_problem_types_are_accepted_as_by_transformers(
    checkpoint: Checkpoint, num_labels: int, problem_type: str, is_accepted: bool
) -> None:
    import transformers

    folder = checkpoint(num_labels, problem_type=problem_type)
    with ExitStack() as theirs, ExitStack() as ours:
        if not is_accepted:
            theirs.enter_context(pytest.raises(ValueError, match="requires `num_labels > 1`"))
            ours.enter_context(pytest.raises(CheckpointError, match="needs at least 2 labels"))
        with theirs:
            transformers.AutoConfig.from_pretrained(folder)
        with ours:
            read_model(folder)

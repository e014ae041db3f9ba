"""pipeline(...) against transformers' own: the same shapes, keys, order and scores."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from compat.conftest import Checkpoint
from tiny_checkpoints import Tiny
from tokenizer_folders import SENTENCES
from transformers.pipelines.pt_utils import KeyDataset

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier, pipeline
from isobatch.errors import InputError, OptionError

TEXTS = list(SENTENCES[:3])
PAIR = {"text": SENTENCES[0], "text_pair": "nice"}
LONG = "nice day " * 40

INPUTS = {
    "text": TEXTS[0],
    "empty": "",
    "list": TEXTS,
    "list of one": TEXTS[:1],
    "pair": PAIR,
    "list of pairs": [PAIR, {"text": "a"}],
    "list of lists of a pair": [[["a", "b"]]],
    "dataset": KeyDataset([{"x": text} for text in TEXTS], "x"),
}
OPTIONS = [
    {},
    {"top_k": None},
    {"top_k": 1},
    {"top_k": 2},
    {"top_k": 5},
    {"function_to_apply": "none"},
    {"function_to_apply": "SIGMOID", "top_k": 2},
    {"function_to_apply": "softmax"},
    {"batch_size": 2},
    {"truncation": True, "max_length": 5, "padding": "max_length"},
]
MODELS = [
    Tiny("distilbert", num_labels=3),
    Tiny("roberta", num_labels=1),
    Tiny("bert", num_labels=1, problem_type="regression"),
    Tiny("bert", num_labels=3, problem_type="multi_label_classification"),
]


def shape(answer: Any) -> Any:
    """Iterators as lists, scores rounded; keys in order."""
    if isinstance(answer, dict):
        return [(key, round(v, 4) if isinstance(v, float) else v) for key, v in answer.items()]
    if isinstance(answer, list):
        return [type(answer).__name__, *map(shape, answer)]
    if not isinstance(answer, str):
        return ["iterator", *map(shape, answer)]
    return answer


def both(folder: Path, **options: Any) -> list[Any]:
    return [
        pipeline("text-classification", model=str(folder), **options),
        transformers.pipeline("text-classification", model=str(folder), device=-1, **options),
    ]


@pytest.mark.parametrize("tiny", MODELS, ids=lambda tiny: f"{tiny.num_labels} {tiny.problem_type}")
def test_answers_are_those_of_transformers(tiny: Tiny, checkpoint: Checkpoint) -> None:
    ours, theirs = both(checkpoint(tiny))
    for name, inputs in INPUTS.items():
        for options in OPTIONS:
            found, expected = (shape(each(inputs, **options)) for each in (ours, theirs))
            assert found == expected, (name, options)


def test_options_of_the_pipeline_hold_for_every_call(checkpoint: Checkpoint) -> None:
    for options in ({"top_k": None}, {"top_k": 2}, {"function_to_apply": "none"}, {"top_k": 1}):
        pipes = both(checkpoint(MODELS[0]), **options)
        for inputs in (TEXTS[0], TEXTS, PAIR):
            for given in ({}, {"top_k": 1}):
                found, expected = (shape(pipe(inputs, **given)) for pipe in pipes)
                assert found == expected, (options, inputs, given)


def test_generators_are_read_one_batch_ahead(checkpoint: Checkpoint) -> None:
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    ours, theirs = both(checkpoint(MODELS[0]))
    answers = ours(texts())
    assert read == []
    assert next(answers)["label"] == ours(TEXTS[0])[0]["label"]
    assert read == TEXTS[:1]
    expected = [shape(answer) for answer in theirs(text for text in TEXTS)]
    assert [shape(answer) for answer in ours(texts())] == expected
    assert [shape(answer) for answer in ours(iter(TEXTS), batch_size=2)] == expected


def test_scores_are_those_of_the_classifier(checkpoint: Checkpoint) -> None:
    folder = checkpoint(MODELS[0])
    predictions = Classifier.from_pretrained(folder)(TEXTS)
    ranked = pipeline(model=folder, top_k=None)(TEXTS)
    for answer, prediction in zip(ranked, predictions, strict=True):
        assert {each["label"]: each["score"] for each in answer} == prediction.scores
        assert answer[0]["label"] == prediction.label


def test_a_saturated_score_does_not_decide(checkpoint: Checkpoint) -> None:
    folder = checkpoint(MODELS[3])
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([800.0, 900.0, -5.0]))
    pipe = pipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(folder), top_k=2)
    (answer,) = pipe("a")
    assert answer == [{"label": "LABEL_1", "score": 1.0}, {"label": "LABEL_0", "score": 1.0}]


def test_without_a_model_it_is_the_bundled_one() -> None:
    for task in ("sentiment-analysis", "text-classification", None):
        (answer,) = pipeline(task, device=-1)("I love this film.")
        assert answer["label"] == "POSITIVE"
        assert answer["score"] > 0.9
    assert pipeline("sentiment-analysis", device="cpu").device == torch.device("cpu")
    assert pipeline("sentiment-analysis")([]) == []


def test_loaded_objects_and_saving(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = checkpoint(MODELS[0])
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, batch_size=2)
    pipe.save_pretrained(tmp_path)
    model.config.id2label = {0: "a", 1: "b", 2: "c"}
    assert {answer["label"] for answer in pipe(TEXTS)} <= {"a", "b", "c"}
    theirs = transformers.pipeline("text-classification", model=str(tmp_path))
    model.config.id2label = theirs.model.config.id2label
    assert shape(pipe(TEXTS)) == shape(theirs(TEXTS))


def test_a_text_too_long_names_the_options_that_cut_it(checkpoint: Checkpoint) -> None:
    tiny = Tiny("distilbert", num_labels=3)
    pipe = pipeline(model=checkpoint(tiny))
    too_long = LONG * 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tokenizer, as in transformers
        with pytest.raises(InputError, match=r"text 1: .*truncation=True, max_length=512$"):
            pipe(["a", too_long])
        answers = pipe(["a", too_long], truncation=True, max_length=512)
    assert answers[0] == pipe("a")[0]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (("a", "b"), '"text_pair"'),
        (7, "got int"),
        (None, "got NoneType"),
        (["a", 1], "text 1: .*got int"),
        (["a", ["a", "b"]], 'text 1: .*"text_pair"'),
        ({"txt": "a"}, r"text 0: .*keys \['txt'\]"),
        ({"text": ["a", "b"]}, "two strings"),
        (["a", "b\ud800"], "text 1"),
    ],
)
def test_inputs_that_are_not_texts_are_named(
    inputs: Any, words: str, checkpoint: Checkpoint
) -> None:
    with pytest.raises(InputError, match=words):
        pipeline(model=checkpoint(MODELS[0]))(inputs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nonsense": 1}, "nonsense=1 is not supported.*top_k"),
        ({"return_all_scores": True}, "top_k=None"),
        ({"top_k": 0}, "top_k must be a positive integer"),
        ({"top_k": "a"}, "top_k"),
        ({"batch_size": 0}, "batch_size"),
        ({"function_to_apply": "relu"}, "none, sigmoid, softmax"),
        ({"stride": 2}, "stride=2"),
    ],
)
def test_options_that_are_not_supported_are_named(
    options: dict[str, Any], words: str, checkpoint: Checkpoint
) -> None:
    folder = checkpoint(MODELS[0])
    with pytest.raises(OptionError, match=words):
        pipeline(model=folder)("a", **options)
    with pytest.raises(OptionError, match=words):
        pipeline(model=folder, **options)
    assert pipeline(model=folder)("a", return_all_scores=False)


def test_none_in_a_call_leaves_the_option_of_the_pipeline(checkpoint: Checkpoint) -> None:
    ours, theirs = both(checkpoint(MODELS[0]), function_to_apply="none", batch_size=2)
    for options in ({"function_to_apply": None}, {"batch_size": None}, {"top_k": None}):
        assert shape(ours(TEXTS, **options)) == shape(theirs(TEXTS, **options))


def test_answers_for_a_dataset_have_its_length(checkpoint: Checkpoint) -> None:
    for pipe in both(checkpoint(MODELS[0])):
        answers = pipe(INPUTS["dataset"])
        assert len(answers) == len(TEXTS) == len([*answers])
    with pytest.raises(TypeError, match="has no len"):
        len(pipeline(model=checkpoint(MODELS[0]))(iter(TEXTS)))


def test_labels_can_be_renamed_by_a_list(checkpoint: Checkpoint) -> None:
    pipe = pipeline(model=checkpoint(MODELS[0]))
    pipe.model.config.id2label = ["A", "B", "C"]
    assert {each["label"] for each in pipe(TEXTS[0], top_k=None)} == {"A", "B", "C"}
    with pytest.raises(OptionError, match="id2label must map ids to labels, got 5"):
        pipe.model.config.id2label = 5


def test_arguments_of_loading_may_be_in_model_kwargs(checkpoint: Checkpoint) -> None:
    folder = checkpoint(MODELS[0])
    kwargs = {"dtype": torch.float32, "device_map": "cpu"}
    plain = pipeline(model=folder)(TEXTS)
    assert pipeline(model=folder, model_kwargs=kwargs, trust_remote_code=True)(TEXTS) == plain
    with pytest.raises(OptionError, match="dtype is an argument and also in model_kwargs"):
        pipeline(model=folder, model_kwargs=kwargs, dtype=torch.float32)


@pytest.mark.parametrize("task", ["zero-shot-classification", "fill-mask", "nonsense"])
def test_other_tasks_are_named(task: str) -> None:
    with pytest.raises(OptionError, match="supported: text-classification, sentiment-analysis"):
        pipeline(task)


def test_objects_of_other_kinds_are_named(checkpoint: Checkpoint) -> None:
    folder = checkpoint(MODELS[0])
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with pytest.raises(OptionError, match="pass tokenizer="):
        pipeline(model=model)
    with pytest.raises(OptionError, match="AutoTokenizer"):
        pipeline(model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder))
    with pytest.raises(OptionError, match="AutoModelForSequenceClassification"):
        pipeline(model=transformers.AutoModel.from_pretrained(folder))

"""AutoModelForTokenClassification, words of the tokenizer and pipeline("ner"): as transformers."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from claims.promise import same_bits
from tiny_checkpoints import FAMILIES, Tiny, pad_left, pad_right, random_ids, write_checkpoint
from tiny_token_models import BIO, write_token_checkpoint, write_word_tagger

import isobatch
from isobatch import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    TokenClassifier,
    pipeline,
)
from isobatch.errors import (
    InputError,
    IsobatchWarning,
    NewWeightsWarning,
    OptionError,
    OtherTaskWarning,
)

TEXTS = ["Today is a nice day!", "A gripping film", "It doesn't work, and 2,718 is 3.14 %."]
PLAIN = ("O", "PERSON", "PLACE")
WORDS = [["Today", "is", "a", "nice", "day!"], ["film"]]

Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a random token classifier of a family: never write into it."""

    def write(family: str, labels: tuple[str, ...] = BIO) -> Path:
        return write_token_checkpoint(tmp_path_factory.mktemp(family), Tiny(family), labels)

    return cache(write)


def theirs(folder: Path) -> Any:
    return transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_loss_and_states_are_those_of_transformers(family: str, folder: Folder) -> None:
    tiny = Tiny(family)
    ids, mask = pad_right(random_ids([5, 9, 2, 9], tiny), tiny.pad_token_id)
    labels = (ids % 5).masked_fill(mask == 0, -100)
    labels[0, 0] = -100
    asked = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    with torch.inference_mode():
        ours, other = (
            model(**asked, output_hidden_states=True)
            for model in (
                AutoModelForTokenClassification.from_pretrained(folder(family)),
                theirs(folder(family)),
            )
        )
    assert ours.logits.shape == other.logits.shape == (4, 9, 5)
    kept = mask.bool()
    torch.testing.assert_close(ours.logits[kept], other.logits[kept], rtol=1e-5, atol=1e-5)
    assert not ours.logits[~kept].any()
    torch.testing.assert_close(ours.loss, other.loss, rtol=1e-5, atol=1e-5)
    last, expected = ours.hidden_states[-1][kept], other.hidden_states[-1][kept]
    torch.testing.assert_close(last, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_bits_are_those_of_token_classifier_whatever_the_padding(
    family: str, folder: Folder
) -> None:
    classifier = TokenClassifier.from_pretrained(folder(family))
    model = AutoModelForTokenClassification.from_pretrained(folder(family))
    encodings = classifier.tokenize(TEXTS)
    expected = classifier.forward(encodings)
    rows, pad = [each.input_ids for each in encodings], Tiny(family).pad_token_id
    for padded in (pad_right, pad_left):
        ids, mask = padded(rows, pad)
        for options in ({}, {"output_hidden_states": True}):
            logits = model(ids, mask, **options).logits.detach()
            for row, kept, text in zip(logits, mask.bool(), expected, strict=True):
                assert same_bits(row[kept].numpy(), text)


def test_gradients_are_those_of_transformers(folder: Folder) -> None:
    tiny = Tiny("bert")
    ids, mask = pad_right(random_ids([5, 9], tiny), 0)
    labels = torch.ones_like(ids).masked_fill(mask == 0, -100)
    model, other = (
        AutoModelForTokenClassification.from_pretrained(folder("bert")),
        theirs(folder("bert")),
    )
    for each in (model, other):
        each(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    expected = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5)


def test_a_saved_model_is_read_by_both(folder: Folder, tmp_path: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(folder("roberta"))
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder("roberta")).save_pretrained(tmp_path)
    assert theirs(tmp_path).config.architectures == ["RobertaForTokenClassification"]
    assert theirs(tmp_path).config.id2label == dict(enumerate(BIO))
    again = TokenClassifier.from_pretrained(tmp_path)
    assert again(TEXTS) == TokenClassifier.from_pretrained(folder("roberta"))(TEXTS)
    ids = torch.tensor([[0, 5, 6, 2]])
    torch.testing.assert_close(
        theirs(tmp_path)(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5
    )


def test_a_checkpoint_without_the_head_gets_a_new_one(tmp_path: Path, folder: Folder) -> None:
    AutoModel.from_pretrained(folder("electra")).save_pretrained(tmp_path)
    with pytest.warns(NewWeightsWarning, match=r"classifier\.weight"):
        model = AutoModelForTokenClassification.from_pretrained(tmp_path, num_labels=7)
    assert model(torch.tensor([[2, 5]])).logits.shape == (1, 2, 7)
    config = AutoConfig.from_pretrained(folder("distilbert"), num_labels=3, dropout=0.25)
    fresh = AutoModelForTokenClassification.from_config(config)
    assert fresh.training
    assert fresh.packed.config.dropout.classifier == 0.25  # not seq_classif_dropout


def test_a_head_of_another_task_is_taken_with_a_warning(tmp_path: Path, folder: Folder) -> None:
    of_texts = write_checkpoint(tmp_path, Tiny("bert"))
    with pytest.warns(OtherTaskWarning, match=r"text-classification .*classifier\.weight"):
        ner = pipeline("ner", of_texts, tokenizer=folder("bert"))
    torch.testing.assert_close(ner.model.classifier.weight, theirs(of_texts).classifier.weight)
    with (
        pytest.warns(NewWeightsWarning, match=r"pooler\.dense"),
        pytest.warns(OtherTaskWarning, match="is for token-classification") as caught,
    ):
        AutoModelForSequenceClassification.from_pretrained(folder("bert"))
    assert {each.filename for each in caught} == {__file__}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), r"integers of shape \[2, 3\], one for each token"),
        (torch.zeros(2, 3), r"got torch.float32 \[2, 3\]"),
        (torch.tensor([[0, 1, 9], [0, -100, -100]]), "row 0, column 2: its label is 9"),
        (torch.tensor([[0, 1, 2], [0, 1, 2]]), "row 1, column 2: padding has the label 2"),
        ([[0]], "labels must be a tensor, got list"),
    ],
)
def test_other_labels_are_rejected(folder: Folder, labels: Any, message: str) -> None:
    model = AutoModelForTokenClassification.from_pretrained(folder("bert"))
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    with pytest.raises(InputError, match=message):
        model(torch.full((2, 3), 5), mask, labels=labels)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("name", ["label", "labels", ""])
def test_labels_of_tokens_are_padded_as_by_transformers(
    side: str, kind: Any, name: str, folder: Folder
) -> None:
    ours, other = (
        library.AutoTokenizer.from_pretrained(folder("bert"), padding_side=side)
        for library in (isobatch, transformers)
    )
    rows = [dict(ours(text)) for text in TEXTS]
    if name:
        rows = [{**row, name: [7 + len(row) for _ in row["input_ids"]]} for row in rows]
    options = {"pad_to_multiple_of": 8, "label_pad_token_id": -7, "return_tensors": kind}
    found = DataCollatorForTokenClassification(ours, **options)(rows)
    expected = transformers.DataCollatorForTokenClassification(other, **options)(rows)
    assert found.keys() == expected.keys()
    for each, values in expected.items():
        assert type(found[each]) is type(values)
        assert found[each].dtype == values.dtype
        assert found[each].tolist() == values.tolist()


@pytest.mark.parametrize("labels", [{}, {"labels": [1]}, {"labels": [1] * 99}])
def test_another_number_of_labels_than_tokens_is_rejected(
    labels: dict[str, Any], folder: Folder
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder("bert"))
    rows = [dict(tokenizer(text)) for text in TEXTS]
    rows = [{**row, "labels": [0 for _ in row["input_ids"]]} for row in rows]
    rows[1] = {**dict(tokenizer(TEXTS[1])), **labels}
    with pytest.raises(InputError, match=r"row 1: has \d+ labels for \d+ tokens"):
        DataCollatorForTokenClassification(tokenizer)(rows)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_words_and_offsets_are_those_of_transformers(family: str, folder: Folder) -> None:
    ours = AutoTokenizer.from_pretrained(folder(family), add_prefix_space=True)
    other = transformers.AutoTokenizer.from_pretrained(folder(family), add_prefix_space=True)
    options = {"is_split_into_words": True, "return_offsets_mapping": True, "truncation": True}
    for words in (WORDS[0], WORDS, [WORDS[0] * 20]):
        found, expected = ours(words, **options), other(words, **options)
        assert dict(found) == dict(expected)
        for row in range(len(expected.encodings)):
            assert found.word_ids(row) == expected.word_ids(row)
    padded = ours(WORDS, is_split_into_words=True, padding=True, return_tensors="pt")
    assert padded.input_ids.shape[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a b", "text must be a list of words"),
        ([], "text must be a list of words"),
        ([["a"], "b"], "text 1: expected a list of words, got b"),
        (["a", 3], r"text 0: expected a list of words, got \['a', 3\]"),
        ([["\ud800"]], "text 0: character 0 is a lone surrogate"),
    ],
)
def test_other_words_are_rejected(folder: Folder, words: Any, message: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder("bert"))
    with pytest.raises(InputError, match=message):
        tokenizer(words, is_split_into_words=True)
    with pytest.raises(InputError, match="pairs of word lists are not supported"):
        tokenizer(["a"], ["b"], is_split_into_words=True)


@pytest.mark.parametrize("strategy", [None, "none", "simple", "first", "average", "max"])
def test_answers_of_the_pipeline_are_those_of_transformers(
    folder: Folder, strategy: str | None
) -> None:
    path = folder("bert", PLAIN)
    options = {} if strategy is None else {"aggregation_strategy": strategy}
    ours = pipeline("ner", path, **options)
    other = transformers.pipeline("token-classification", str(path), device="cpu", **options)
    for found, expected in (
        (ours(TEXTS[0]), other(TEXTS[0])),
        *zip(ours(TEXTS), other(TEXTS), strict=True),
    ):
        assert len(found) == len(expected)
        for one, reference in zip(found, expected, strict=True):
            assert list(one) == list(reference)
            assert one.pop("score") == pytest.approx(float(reference.pop("score")), abs=1e-5)
            word = one.pop("word")
            assert (
                word.lower()
                .replace(" ", "")
                .endswith(reference.pop("word").replace("##", "").replace(" ", ""))
            )
            assert one == reference


def test_the_pipeline_does_what_token_classifier_does(folder: Folder, tmp_path: Path) -> None:
    path = write_word_tagger(tmp_path, {"nice": "B-PER", "day": "I-PER"})
    pipe = pipeline("token-classification", path, aggregation_strategy="simple")
    texts = ["a nice day " * 40, "nice", ""]
    expected = TokenClassifier.from_pretrained(path)(texts)
    for found in (pipe(texts), pipe(texts, batch_size=1), [*pipe(iter(texts))]):
        shown = [[(each["start"], each["score"]) for each in answer] for answer in found]
        assert shown == [[(each.start, each.score) for each in one.entities] for one in expected]
    assert len(pipe(texts[0], stride=20)) == 40
    split = pipe(["a", "nice", "day"], is_split_into_words=True)
    assert [[each["word"] for each in answer] for answer in split] == [["nice day"]]
    assert pipe("nice", aggregation_strategy="none", ignore_labels=["B-PER"]) == []
    model = AutoModelForTokenClassification.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    loaded = pipeline(model=model, tokenizer=tokenizer)
    assert [each["entity"] for each in loaded("a nice day")] == ["B-PER", "I-PER"]
    with pytest.warns(IsobatchWarning, match="has 122 tokens"):  # its own settings are as before
        tokenizer("a nice day " * 40)


def test_the_pipeline_follows_its_model_and_its_tokenizer(folder: Folder) -> None:
    path = folder("bert", PLAIN)
    changed, given = pipeline("ner", path), pipeline("ner", path)
    changed("a")
    labels = ["O", *(f"{part}-{kind}" for kind in "XYZ" for part in "BI")]
    given.model.config.id2label = labels[: changed.model.config.num_labels]
    changed.model.config.id2label = given.model.config.id2label
    changed.tokenizer.model_max_length = given.tokenizer.model_max_length = 10
    text = TEXTS[0] * 3
    reference = pipeline("ner", model=given.model, tokenizer=given.tokenizer)
    assert changed(text, ignore_labels=[]) == reference(text, ignore_labels=[])
    assert {each["entity"] for each in changed(text, ignore_labels=[])} <= set(labels)
    assert changed(text, ignore_labels=[]) != pipeline("ner", path)(text, ignore_labels=[])


def test_without_a_task_the_checkpoint_says_it(folder: Folder) -> None:
    path = folder("bert", PLAIN)
    assert pipeline(model=path)(TEXTS[0]) == pipeline("ner", path)(TEXTS[0])


def test_none_in_a_call_leaves_the_option_of_the_pipeline(folder: Folder) -> None:
    pipe = pipeline("ner", folder("bert", PLAIN), aggregation_strategy="simple")
    assert pipe(TEXTS[0], aggregation_strategy=None, stride=None) == pipe(TEXTS[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregation_strategy": "last"}, "aggregation must be one of"),
        ({"stride": 46}, "stride must be less than 46"),
        ({"ignore_labels": ["PERSON"]}, "no entity has the label 'PERSON'"),
        ({"truncation": True}, "a text longer than the model is read in windows"),
        ({"grouped_entities": True}, "Use aggregation_strategy"),
        ({"top_k": 3}, "top_k=3 is not supported"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
    ],
)
def test_other_options_are_rejected(folder: Folder, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        pipeline("ner", folder("bert"), **options)
    with pytest.raises(OptionError, match=message):
        pipeline("ner", folder("bert"))("a", **options)


def test_a_model_for_another_task_is_rejected(
    folder: Folder, tmp_path: Path, tiny_folder: Any
) -> None:
    with pytest.raises(OptionError, match="has no bundled model"):
        pipeline("ner")
    with pytest.raises(OptionError, match="'fill-mask' is not supported; supported: text-cl"):
        pipeline("fill-mask", folder("bert"))
    texts = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    tokens = AutoModelForTokenClassification.from_pretrained(folder("bert"))
    tokenizer = AutoTokenizer.from_pretrained(folder("bert"))
    for task, model in (("ner", texts), ("text-classification", tokens)):
        with pytest.raises(OptionError, match=f"is for {model.task}, but the task is {task!r}"):
            pipeline(task, model, tokenizer=tokenizer)
    for items in (3, [], {"text": "a"}):
        with pytest.raises(InputError):
            pipeline("ner", folder("bert"))(items)


def test_labels_are_those_of_their_ids_in_any_order(tmp_path: Path) -> None:
    folder = write_word_tagger(tmp_path, {"film": "B-PER"}, ("O", "B-PER"))
    model = AutoModelForTokenClassification.from_pretrained(folder)
    model.config.id2label = {1: "B-PER", 0: "O"}
    assert list(model.config.id2label) == [0, 1]
    ner = pipeline("ner", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
    assert [(each["entity"], each["word"]) for each in ner("a film")] == [("B-PER", "film")]

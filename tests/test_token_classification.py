"""TokenClassifier against transformers: logits, and the entities of its pipeline where it is right.

Where it is not, docs/entities.md says so, and the tests here state what is returned in its place.
"""

import pickle
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_checkpoints import FAMILIES, Tiny
from tiny_token_models import BIO, write_token_checkpoint, write_word_tagger

from isobatch import Entity, TokenClassifier
from isobatch.errors import InputError, OptionError
from isobatch.tasks import AGGREGATIONS, Aggregation, score_logits
from isobatch.tasks.entities import read_tags, token_scores

TEXTS = [
    "Today is a nice day!",
    "A gripping film, with a cast that is better than its plot.",
    "It doesn't work, and they've said: 'never again'; 3.14 % of 2,718.",
    "nice",
    "",
    "   ",
]
PLAIN = ("O", "PERSON", "PLACE")
TAGS = {"nice": "B-PER", "day": "I-PER", "film": "B-LOC", "today": "B-PER", "cast": "I-PER"}

Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a random token classifier of a family: never write into it."""

    def write(family: str, labels: tuple[str, ...] = PLAIN) -> Path:
        return write_token_checkpoint(tmp_path_factory.mktemp(family), Tiny(family), labels)

    return cache(write)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> TokenClassifier:
    return TokenClassifier.from_pretrained(write_word_tagger(tmp_path_factory.mktemp("t"), TAGS))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family: str, folder: Folder) -> None:
    classifier = TokenClassifier.from_pretrained(folder(family))
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder(family))
    encodings = classifier.tokenize([*TEXTS[:4], TEXTS[0] * 3], truncation="cut")
    for encoding, logits in zip(encodings, classifier.forward(encodings), strict=True):  # type: ignore[arg-type]
        with torch.inference_mode():
            expected = model(torch.tensor([encoding.input_ids])).logits[0].numpy()  # type: ignore[union-attr]
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
        assert logits.dtype == np.float32


@pytest.mark.parametrize(
    ("aggregation", "labels"),
    [(each, PLAIN) for each in AGGREGATIONS]
    + [(each, BIO) for each in AGGREGATIONS if each != "simple"],
)
def test_entities_are_those_of_the_pipeline(
    folder: Folder, aggregation: Aggregation, labels: tuple[str, ...]
) -> None:
    """WordPiece, where the pipeline's words are right; in "simple" it begins entities in words."""
    path = folder("bert", labels)
    ours = TokenClassifier.from_pretrained(path)(TEXTS, aggregation)
    pipe = transformers.pipeline("token-classification", str(path), device="cpu")
    for prediction, text in zip(ours, TEXTS, strict=True):
        theirs = pipe(text, aggregation_strategy=aggregation) if text.strip() else []
        assert_same_entities(prediction.entities, theirs, text)


def test_split_words_give_the_entities_of_the_pipeline(folder: Folder) -> None:
    path, words = folder("bert"), ["Today", "is", "a", "gripping", "day!", "", "doesn't"]
    prediction = TokenClassifier.from_pretrained(path)(words, "first", is_split_into_words=True)
    pipe = transformers.pipeline("token-classification", str(path), device="cpu")
    theirs = pipe([words], aggregation_strategy="simple", is_split_into_words=True)[0]
    simple = TokenClassifier.from_pretrained(path)(words, is_split_into_words=True)
    assert_same_entities(simple.entities, theirs, " ".join(words))
    for entity in prediction.entities:
        assert entity.text == " ".join(words[entity.start_word : entity.end_word]).strip()


def assert_same_entities(ours: Sequence[Entity], theirs: Sequence[Any], text: str) -> None:
    assert len(ours) == len(theirs)
    for entity, other in zip(ours, theirs, strict=True):
        assert entity.label == other.get("entity_group", other.get("entity"))
        assert (entity.start, entity.end) == (other["start"], other["end"])
        assert entity.index == other.get("index")
        assert entity.score == pytest.approx(float(other["score"]), abs=1e-5)
        assert entity.text == text[entity.start : entity.end]


def test_aggregations_decide_where_the_tokens_of_a_word_differ(tmp_path: Path) -> None:
    """ "xday" is x and ##day: a word whose second token is surer, and another in the mean."""
    labels = ("O", "B-A", "B-B", "I-B")
    folder = write_word_tagger(tmp_path, {}, labels)
    classifier = TokenClassifier.from_pretrained(folder)
    [encoding] = classifier.tokenize(["xq"])
    logits = np.zeros((4, 4), np.float32)
    logits[1], logits[2] = [0.0, 2.0, 1.9, 0.0], [0.0, 0.0, 3.0, 0.0]
    decoded = {each: classifier.decode(logits, encoding, each) for each in AGGREGATIONS}  # type: ignore[arg-type]
    found = {name: [each.label for each in got.entities] for name, got in decoded.items()}
    assert found == {
        "none": ["B-A", "B-B"],
        "simple": ["A", "B"],
        "first": ["A"],
        "average": ["B"],
        "max": ["B"],
    }
    rows = [score_logits(row, "softmax") for row in logits[1:3]]
    assert decoded["average"].entities[0].score == (rows[0][2] + rows[1][2]) / 2
    assert decoded["max"].entities[0].score == rows[1][2]
    assert [each.text for each in decoded["first"].entities] == ["xq"]


def test_labels_are_chosen_by_logits_where_scores_are_equal(tagger: TokenClassifier) -> None:
    [encoding] = tagger.tokenize(["nice"])
    logits = np.zeros((3, 5), np.float32)
    logits[1] = [0, 60.0, 0, 60.00001, 0]
    assert len(set(score_logits(logits[1], "sigmoid"))) == 2  # 0.5 and 1.0 twice
    assert tagger.decode(logits, encoding).entities[0].label == "LOC"  # type: ignore[arg-type]


def test_scores_have_the_bits_of_score_logits() -> None:
    drawn = np.random.default_rng(0).normal(0, 8, (40, 9)).astype(np.float32)
    for rows in (drawn, drawn[:1, :2]):
        assert token_scores(rows) == [score_logits(row, "softmax") for row in rows]


SCHEMES = {
    "BIO": (["B-X", "I-X", "O", "I-X", "B-X", "B-X"], ["ab", "d", "e", "f"]),
    "BIOES": (["B-X", "I-X", "E-X", "S-X", "S-X", "I-X"], ["abc", "d", "e", "f"]),
    "BILOU": (["U-X", "B-X", "L-X", "B-X", "L-X", "U-X"], ["a", "bc", "de", "f"]),
    "BMES": (["B-X", "M-X", "E-X", "E-X", "O", "S-X"], ["abc", "d", "f"]),
    "other type": (["B-X", "I-Y", "I-X", "I-X", "O", "I-Y"], ["a", "b", "cd", "f"]),
    "plain": (["X", "X", "O", "Y", "E-MAIL", "E-MAIL"], ["ab", "d", "ef"]),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tags_of_every_scheme_are_read(tmp_path: Path, scheme: str) -> None:
    """Letters of a text are one token each, and are shown here without the spaces between them."""
    tags, expected = SCHEMES[scheme]
    labels = ("O", *dict.fromkeys(each for each in [*tags, *tags] if each != "O"))
    known = dict(zip("abcdef", tags, strict=True))
    classifier = TokenClassifier.from_pretrained(write_word_tagger(tmp_path, known, labels))
    for aggregation in AGGREGATIONS[1:]:
        found = classifier("a b c d e f", aggregation).entities
        assert [each.text.replace(" ", "") for each in found] == expected


def test_a_prefix_without_its_scheme_is_part_of_a_name() -> None:
    names = ("E-MAIL", "S-300", "U-BOAT", "B-PER", "S-PER", "NORP")
    assert [each.entity for each in read_tags(names)] == [
        "E-MAIL",
        "S-300",
        "U-BOAT",
        "PER",
        "PER",
        "NORP",
    ]


def test_a_tag_within_a_word_begins_no_entity(tmp_path: Path) -> None:
    """A model trained with B- on every token of a word gives one entity, not one a token."""
    folder = write_word_tagger(tmp_path, {"x": "B-PER", "##q": "B-PER", "nice": "B-PER"})
    classifier = TokenClassifier.from_pretrained(folder)
    for aggregation in AGGREGATIONS[1:]:
        found = classifier("xqq nice", aggregation).entities
        assert [each.text for each in found] == ["xqq", "nice"]


@pytest.mark.parametrize("text", ["İnice nice", "ﬁ nice", "Ünïcödé\tnice\nday", "日本 nice 😀 day"])
def test_characters_are_those_of_the_text(tagger: TokenClassifier, text: str) -> None:
    """Also where the normalizer changes lengths, and where words are not separated by spaces."""
    for aggregation in AGGREGATIONS:
        found = tagger(text, aggregation).entities
        assert found
        for entity in found:
            assert entity.text == text[entity.start : entity.end]
        assert "nice" in found[-1].text or "day" in found[-1].text


def test_words_end_at_punctuation_and_tabs_for_every_tokenizer(folder: Folder) -> None:
    """The pipeline joins these by looking for spaces only."""
    for family in ("bert", "roberta", "xlm-roberta"):
        classifier = TokenClassifier.from_pretrained(folder(family, BIO))
        [encoding] = classifier.tokenize(["nice\tday\nfilm"])
        logits = np.zeros((len(encoding), 5), np.float32)  # type: ignore[arg-type]
        logits[:, 1] = 5.0
        found = classifier.decode(logits, encoding, "first").entities  # type: ignore[arg-type]
        assert [each.text for each in found] == ["nice", "day", "film"], family


def test_words_of_scripts_without_spaces_are_tokens(folder: Folder) -> None:
    """For a tokenizer that splits at spaces a Japanese sentence is one word."""
    classifier = TokenClassifier.from_pretrained(folder("xlm-roberta", BIO))
    [encoding] = classifier.tokenize(["今日は"])
    logits = np.zeros((len(encoding), 5), np.float32)  # type: ignore[arg-type]
    logits[:, 0] = 5.0
    logits[-2, 1] = 9.0  # of は
    found = classifier.decode(logits, encoding, "first").entities  # type: ignore[arg-type]
    assert [each.text for each in found] == ["は"]


def test_spaces_are_no_part_of_an_entity(folder: Folder) -> None:
    classifier = TokenClassifier.from_pretrained(folder("xlm-roberta", BIO))
    text = "Today  is a nice day!  "
    for entity in classifier(text, ignore_labels=()).entities:
        assert entity.text == entity.text.strip() == text[entity.start : entity.end] != ""


def test_a_list_gives_a_list_and_a_text_its_prediction(tagger: TokenClassifier) -> None:
    one = tagger("a nice day")
    assert tagger(["a nice day"]) == [one]
    assert tagger([]) == []
    assert tagger.predict(["a nice day"]) == [*tagger.predict_stream(["a nice day"])] == [one]
    words = ["a", "nice", "day"]
    split = tagger(words, is_split_into_words=True)
    assert tagger([words], is_split_into_words=True) == [split]
    assert split.entities[0].to_dict() == {
        "label": "PER",
        "score": one.entities[0].score,
        "start": 2,
        "end": 10,
        "text": "nice day",
        "start_word": 1,
        "end_word": 3,
    }
    assert one.to_dict() == {
        "entities": [one.entities[0].to_dict()],
        "num_tokens": 5,
        "num_windows": 1,
        "truncated": False,
    }
    assert one == pickle.loads(pickle.dumps(tagger))("a nice day")


def test_texts_without_words_have_no_entities(tagger: TokenClassifier) -> None:
    assert [each.entities for each in tagger(["", " ", "\n"])] == [(), (), ()]
    assert tagger([["", " "]], is_split_into_words=True)[0].entities == ()


def test_labels_can_be_kept_or_left_out(tagger: TokenClassifier) -> None:
    text = "a nice day, a film"
    assert [each.label for each in tagger(text, ignore_labels=["O", "PER"]).entities] == ["LOC"]
    kept = tagger(text, "none", ignore_labels=[]).entities
    assert [each.label for each in kept] == ["O", "B-PER", "I-PER", "O", "O", "B-LOC"]
    tagged = tagger(text, "none", ignore_labels=["O", "B-PER"]).entities
    assert [each.label for each in tagged] == ["I-PER", "B-LOC"]
    with pytest.raises(OptionError, match=r"no entity has the label 'PERSON'.*O, PER, LOC"):
        tagger(text, ignore_labels=["PERSON"])
    with pytest.raises(OptionError, match="no entity has the label 'B-PER' under aggregation"):
        tagger(text, ignore_labels=["B-PER"])
    with pytest.raises(OptionError, match="must be a list of labels"):
        tagger(text, ignore_labels="PER")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", 3], "text 1: expected a string, got int"),
        (["a", ("b", "c")], "text 1: is a pair, but entities"),
        ([["a", "b"]], "text 0: expected a string, got list. For words, pass is_split"),
        (["\ud800"], "text 0: character 0 is a lone surrogate"),
        (3, "expected a text"),
    ],
)
def test_other_items_are_rejected(tagger: TokenClassifier, texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tagger(texts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([["a"], []], "text 1: has no words"),
        ([["a"], ["b", None]], "text 1: word 1 is NoneType, expected a string"),
        ([["a"], "b c"], "text 1: expected a list of words, got str"),
        ([["\udfff"]], "text 0: character 0 is a lone surrogate"),
        ("a b", "expected a list"),
    ],
)
def test_other_word_lists_are_rejected(tagger: TokenClassifier, words: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tagger(words, is_split_into_words=True)


def test_a_tokenizer_that_joins_words_is_rejected_with_the_fix(
    folder: Folder, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r'set "add_prefix_space": true in tokenizer_config\.json'):
        TokenClassifier.from_pretrained(folder("roberta"))([["a"]], is_split_into_words=True)
    path = write_token_checkpoint(tmp_path, Tiny("roberta"), options={"add_prefix_space": True})
    theirs = transformers.AutoTokenizer.from_pretrained(path, add_prefix_space=True)
    classifier = TokenClassifier.from_pretrained(path)
    words = ["nice", "day", "film!"]
    prediction = classifier(words, "none", is_split_into_words=True, ignore_labels=())
    expected = theirs(words, is_split_into_words=True)
    assert prediction.num_tokens == len(expected.input_ids)
    assert {entity.start_word for entity in prediction.entities} == {0, 1, 2}
    for entity in prediction.entities:
        assert entity.text in words[entity.start_word or 0]


def test_a_tokenizer_without_words_or_offsets_is_named(
    tagger: TokenClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tagger._encoder), "finds_words", False)
    classifier = TokenClassifier.from_pretrained(tagger.folder)
    assert [each.text for each in classifier("nice day").entities] == ["nice day"]
    with pytest.raises(OptionError, match=r"'first' needs words.*Use .simple."):
        classifier("nice day", "first")
    monkeypatch.setattr(
        "isobatch.checkpoint.token_encoder._spans_of", lambda aligned, words: [(0, 0)] * 4
    )
    with pytest.raises(InputError, match="text 0: the tokenizer returns no offsets"):
        classifier(["nice day"])
    assert classifier([" "])[0].entities == ()


def test_an_unknown_aggregation_and_another_head_are_rejected(tagger: TokenClassifier) -> None:
    with pytest.raises(OptionError, match="aggregation must be one of 'none', 'simple'"):
        tagger("a", "last")  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="no model for tokens is bundled"):
        TokenClassifier.from_pretrained()


def test_the_representation_names_labels_and_family(tagger: TokenClassifier) -> None:
    assert "family='bert', precision='fp32', labels=[O, B-PER, I-PER, B-LOC, I-LOC]" in repr(tagger)


def test_rows_have_one_column_of_entities(tagger: TokenClassifier) -> None:
    rows = tagger.row_format
    columns = rows.columns(raw=False, all_scores=False)
    assert [(each.name, each.kind) for each in columns] == [("entities", "entities")]
    (value,) = rows.values(tagger("a nice day"), raw=False, all_scores=False)
    assert [list(each) for each in value] == [["label", "score", "start", "end", "text"]]  # type: ignore[attr-defined]

"""Zero-shot classification against transformers' pipeline, and where it differs on purpose."""

import copy
import json
import pickle
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import transformers
from pair_checkpoints import (
    NLI_LABELS,
    NLI_LABELS_REVERSED,
    TEXTS,
    add_settings,
    write_classifier,
)
from tiny_checkpoints import FAMILIES, Tiny

from isobatch import Classifier, ZeroShotClassifier
from isobatch.batching.cache import OutputCache
from isobatch.errors import (
    InputError,
    MissingEmbeddingWarning,
    MissingHeadError,
    OptionError,
    TooLongError,
)
from isobatch.tasks import Prediction, score_logits
from isobatch.tasks.candidate_labels import (
    DEFAULT_TEMPLATE,
    CandidateLabels,
    NliLabels,
    find_nli_labels,
)
from isobatch.tasks.premises import PremiseEncoding
from isobatch.types import Encoding, Truncation

LABELS = ("day", "a film, with a plot", "nice", "not sure", "good")
TEMPLATE = "it is {}, today"

Written = Callable[..., Path]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A checkpoint of a family with these labels."""
    return cache(
        lambda family, labels=NLI_LABELS: write_classifier(
            tmp_path_factory.mktemp("nli"), Tiny(family, num_labels=len(labels)), labels
        )
    )


@pytest.fixture(scope="module")
def zero_shot(written: Written) -> ZeroShotClassifier:
    return ZeroShotClassifier.from_pretrained(written("bert"))


def their_pipeline(folder: Path) -> transformers.Pipeline:
    return transformers.pipeline("zero-shot-classification", str(folder), device="cpu")


# ----------------------------------------------------------------------------------------- parity


@pytest.mark.parametrize("multi_label", [False, True], ids=("single", "multi"))
@pytest.mark.parametrize("family", FAMILIES)
def test_labels_and_scores_are_those_of_the_pipeline(
    family: str, multi_label: bool, written: Written
) -> None:
    theirs = their_pipeline(written(family))
    ours = ZeroShotClassifier.from_pretrained(written(family))
    texts = [text for text in TEXTS if text]
    for labels, template in ((LABELS, DEFAULT_TEMPLATE), (LABELS[1:2], TEMPLATE)):
        found = ours(texts, labels, template, multi_label)
        expected = theirs(
            texts, list(labels), hypothesis_template=template, multi_label=multi_label
        )
        for one, other in zip(found, expected, strict=True):
            assert [label for label, _ in one.ranked] == other["labels"]
            scores = [score for _, score in one.ranked]
            assert scores == pytest.approx(other["scores"], abs=1e-5)
            assert (one.label, one.score) == one.ranked[0]
            assert tuple(one.scores) == labels


@pytest.mark.parametrize(
    "labels",
    [
        NLI_LABELS_REVERSED,
        ("Entailment", "Contradiction"),
        ("not_entailment", "entailment"),
        ("ENTAILMENT", "NOT_ENTAILMENT"),
    ],
)
@pytest.mark.parametrize("multi_label", [False, True], ids=("single", "multi"))
def test_other_orders_and_names_are_those_of_the_pipeline(
    labels: tuple[str, ...], multi_label: bool, written: Written
) -> None:
    folder = written("bert", labels)
    (expected,) = their_pipeline(folder)([TEXTS[0]], list(LABELS), multi_label=multi_label)
    found = ZeroShotClassifier.from_pretrained(folder)(TEXTS[0], LABELS, multi_label=multi_label)
    assert [label for label, _ in found.ranked] == expected["labels"]
    scores = [score for _, score in found.ranked]
    assert scores == pytest.approx(expected["scores"], abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs_have_the_ids_of_transformers_and_only_premises_are_cut(
    family: str, side: str, tmp_path: Path
) -> None:
    tiny = Tiny(family, num_labels=3)
    folder = write_classifier(tmp_path / "model", tiny, NLI_LABELS)
    add_settings(folder / "tokenizer_config.json", {"truncation_side": side})
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    asked = ZeroShotClassifier.from_pretrained(folder).for_labels([*LABELS, "plot " * 4])
    hypotheses = [DEFAULT_TEMPLATE.format(label) for label in [*LABELS, "plot " * 4]]
    for text, encoding in zip(TEXTS, asked.tokenize(TEXTS), strict=True):
        assert isinstance(encoding, PremiseEncoding)
        pairs = list(encoding.pairs())
        assert len(encoding) == sum(map(len, pairs))
        assert encoding.truncated is any(pair.truncated for pair in pairs)
        for pair, hypothesis in zip(pairs, hypotheses, strict=True):
            expected = theirs(text, hypothesis, truncation="only_first")
            whole = theirs(text, hypothesis)
            assert list(pair.input_ids) == expected["input_ids"]
            assert pair.truncated is (len(whole["input_ids"]) > theirs.model_max_length)
            if "token_type_ids" in expected:
                assert list(pair.token_type_ids) == expected["token_type_ids"]
    assert [each.truncated for each in asked.tokenize(TEXTS)].count(True) >= 1


def test_labels_in_another_order_are_found_by_name_where_the_pipeline_takes_places(
    written: Written,
) -> None:
    """The pipeline would score entailment against neutral."""
    folder = written("bert", ("neutral", "entailment", "contradiction"))
    (theirs,) = their_pipeline(folder)([TEXTS[0]], list(LABELS), multi_label=True)
    ours = ZeroShotClassifier.from_pretrained(folder)(TEXTS[0], LABELS, multi_label=True)
    for (_neutral, entailment, contradiction), label in zip(ours.nli_logits, LABELS, strict=True):
        (_, score) = score_logits([contradiction, entailment], "softmax")
        assert ours.scores[label] == pytest.approx(score, abs=1e-15)
    by_label = dict(zip(theirs["labels"], theirs["scores"], strict=True))
    assert max(abs(by_label[label] - ours.scores[label]) for label in LABELS) > 0.01


def test_raw_logits_are_those_of_a_classifier_of_pairs(written: Written) -> None:
    classifier = Classifier.from_pretrained(written("bert"))
    zero_shot = ZeroShotClassifier.from_classifier(classifier)
    found = zero_shot(TEXTS[0], LABELS)
    expected = classifier.logits([(TEXTS[0], DEFAULT_TEMPLATE.format(each)) for each in LABELS])
    assert np.array(found.nli_logits, np.float32).tobytes() == expected.tobytes()
    assert found == ZeroShotClassifier.from_pretrained(written("bert"))(TEXTS[0], LABELS)


# ---------------------------------------------------------------------------------- labels by name


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (NLI_LABELS, NliLabels(2, 0)),
        (("ENTAILED", "Contradicts", "other"), NliLabels(0, 1)),
        (("neutral", "entailment", "contradiction"), NliLabels(1, 2)),
        (("not_entailment", "entailment"), NliLabels(1, 0)),
        (("entailment", "rest"), NliLabels(0, 1)),
        (("LABEL_0", "LABEL_1", "LABEL_2"), None),
        (("entailment", "neutral", "refuted"), None),
        (("entailment", "entailed", "contradiction"), None),
        (("entailment", "entailed"), None),
        (("not_entailment", "contradiction"), None),
        (("entailment",), None),
    ],
)
def test_entailment_and_contradiction_are_found_by_name(
    labels: Sequence[str], found: NliLabels | None
) -> None:
    assert find_nli_labels(labels) == found


def test_a_checkpoint_of_another_kind_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", Tiny("bert", num_labels=3), ("a", "b", "neutral"))
    with pytest.raises(MissingHeadError, match="has a, b, neutral"):
        ZeroShotClassifier.from_classifier(Classifier.from_pretrained(folder))
    (folder / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(MissingHeadError, match=r"has a, b, neutral.* isobatch\.Classifier"):
        ZeroShotClassifier.from_pretrained(folder)


# ------------------------------------------------------------------------------------------- calls


def test_labels_for_each_text_are_those_of_calls_of_their_own(
    zero_shot: ZeroShotClassifier,
) -> None:
    lists = [LABELS[:2], LABELS[2:], LABELS[:2], LABELS[4:]]
    together = zero_shot(TEXTS[:4], lists, TEMPLATE)
    pairs = zip(TEXTS, lists, strict=False)
    assert together == [zero_shot(text, own, TEMPLATE) for text, own in pairs]


def test_fixed_labels_make_a_pipeline_like_any_other(zero_shot: ZeroShotClassifier) -> None:
    asked = zero_shot.for_labels(LABELS, TEMPLATE, multi_label=True)
    expected = zero_shot(TEXTS, LABELS, TEMPLATE, multi_label=True)
    assert asked(TEXTS) == asked.predict(TEXTS) == asked.predict_or_errors(TEXTS) == expected
    assert list(asked.predict_stream(iter(TEXTS))) == expected
    assert asked(TEXTS, template=DEFAULT_TEMPLATE) == zero_shot(TEXTS, LABELS, multi_label=True)
    assert asked(TEXTS, LABELS[:1]) == zero_shot(TEXTS, LABELS[:1], TEMPLATE, True)
    assert "labels=['day', 'a film, with a plot'" in repr(asked)
    assert "labels=[]" in repr(zero_shot)
    rows = asked.row_format
    names = [column.name for column in rows.columns(raw=True, all_scores=True)]
    assert names == ["label", "score", "logits", *(f"score_{label}" for label in LABELS)]
    values = rows.values(expected[0], raw=True, all_scores=True)
    logits, scores = list(expected[0].logits), expected[0].scores.values()
    assert values == [expected[0].label, expected[0].score, logits, *scores]


def test_without_labels_there_is_an_error(zero_shot: ZeroShotClassifier) -> None:
    for call in (zero_shot, zero_shot.predict, zero_shot.tokenize, zero_shot.predict_or_errors):
        with pytest.raises(OptionError, match="labels: none were given"):
            call(TEXTS)
    with pytest.raises(OptionError, match="labels: none were given"):
        list(zero_shot.predict_stream(TEXTS))
    with pytest.raises(OptionError, match="labels: none were given"):
        _ = zero_shot.row_format


def test_no_texts_have_no_predictions(zero_shot: ZeroShotClassifier) -> None:
    assert zero_shot([], LABELS) == []


def test_the_parts_of_a_prediction_agree(zero_shot: ZeroShotClassifier) -> None:
    for multi_label in (False, True):
        found = zero_shot(TEXTS[0], LABELS, multi_label=multi_label)
        activation = "sigmoid" if multi_label else "softmax"
        assert isinstance(found, Prediction)
        assert list(found.scores.values()) == score_logits(found.logits, activation)
        for logit, (contradiction, _, entailment) in zip(
            found.logits, found.nli_logits, strict=True
        ):
            assert logit == entailment - contradiction * multi_label
        values = json.loads(json.dumps(found.to_dict()))
        assert values["scores"] == found.scores
        assert values["nli_logits"] == [list(row) for row in found.nli_logits]


def test_saturated_scores_do_not_choose_the_order(zero_shot: ZeroShotClassifier) -> None:
    (encoding,) = zero_shot.tokenize(["a"], ["x", "y", "z"], multi_label=True)
    assert isinstance(encoding, Encoding)
    rows = np.array([[-50, 0, 50], [-60, 0, 60], [-60, 0, 60]], np.float32)
    found = zero_shot.decode(rows, encoding)
    assert set(found.scores.values()) == {1.0}
    assert (found.label, [label for label, _ in found.ranked]) == ("y", ["y", "z", "x"])


# ------------------------------------------------------------------------------ computed pairs


class Counting(ZeroShotClassifier):
    """Records the encodings that its model computes, and the texts that it tokenizes."""

    def start(self) -> "Counting":
        self.computed: list[Encoding] = []
        self.tokenized: list[str] = []
        whole = self._encoder.token_ids

        def token_ids(texts: Sequence[str]) -> list[list[int]]:
            self.tokenized += texts
            return whole(texts)

        self._encoder.token_ids = token_ids  # type: ignore[method-assign]
        return self

    def _compute(self, encodings: Sequence[Encoding]) -> list[np.ndarray]:
        self.computed += encodings
        return super()._compute(encodings)


@pytest.fixture
def counting(written: Written) -> Counting:
    return Counting.from_pretrained(written("bert")).start()


def test_a_premise_is_tokenized_once_and_equal_pairs_are_computed_once(counting: Counting) -> None:
    texts = [TEXTS[0], TEXTS[1], TEXTS[0]]
    labels = [f"{index}" for index in range(20)]
    counting(texts, labels)
    assert counting.tokenized == [*(DEFAULT_TEMPLATE.format(each) for each in labels), *texts]
    assert len(counting.computed) == 2 * 20
    tokens = sum(map(len, counting.computed))
    folder = counting.folder
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    each_alone = [
        len(theirs(text, DEFAULT_TEMPLATE.format(label), truncation="only_first")["input_ids"])
        for text in texts
        for label in labels
    ]
    assert tokens == sum(each_alone[:40])


def test_a_cache_is_used_for_pairs(counting: Counting) -> None:
    cache = OutputCache()
    first = counting.predict_or_errors(TEXTS[:3], LABELS, cache=cache)
    assert len(cache) == len(counting.computed) == 3 * len(LABELS)
    again = counting.predict_or_errors(TEXTS[:3], LABELS[::-1], cache=cache)
    assert len(counting.computed) == 3 * len(LABELS)
    assert [each.scores for each in again] == [each.scores for each in first]  # type: ignore[union-attr]


def test_many_pairs_are_computed_in_parts_with_the_same_result(
    zero_shot: ZeroShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = zero_shot(TEXTS, LABELS)
    monkeypatch.setattr("isobatch.tasks.zero_shot.PAIRS_AT_ONCE", 12)
    assert zero_shot(TEXTS, LABELS) == expected
    monkeypatch.setattr("isobatch.tasks.zero_shot.PAIRS_AT_ONCE", 1)
    assert zero_shot(TEXTS, LABELS) == expected


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "the list is empty"),
        ("day, night", "expected a list, got the text 'day, night'"),
        (["day", ""], "label 1 must be a text that is not empty, got ''"),
        (["  "], "label 0 must be a text that is not empty"),
        (["day", 3], "label 1 must be a text that is not empty, got 3"),
        (["day", None], "label 1 must be a text"),
        (["day", "night", "day"], "'day' appears twice"),
        (["a\ud800"], "label 0: character 1 is a lone surrogate"),
        ({"day": 1}, "expected a list of texts, got dict"),
        ({"day"}, "expected a list of texts, got set"),
        (7, "expected a list of texts, got int"),
        ([["day"]], "the number of lists is 1, and that of texts 2"),
        ([["day"], "night"], "expected a list of texts, or a list of such lists"),
        ([["day"], []], "the list is empty"),
        ([["day"], [["night"]]], "label 0 must be a text that is not empty, got .'night'"),
        (["word " * 60], "the hypothesis of 'word .*is too long: the maximum of this model is 48"),
    ],
)
def test_bad_labels_are_refused(zero_shot: ZeroShotClassifier, labels: object, words: str) -> None:
    for call in (zero_shot, zero_shot.predict_or_errors, zero_shot.tokenize):
        with pytest.raises(OptionError, match=f"labels: {words}"):
            call(TEXTS[:2], labels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("about a day", "must have {} once"),
        ("", "must have {} once"),
        ("{} or {}", "must have {} once"),
        ("{label}", "must have {} once"),
        ("{!r}", "must have {} once"),
        ("{:>9}", "must have {} once"),
        ("{{}}", "must have {} once"),
        ("about {", "cannot be read"),
        (3, "is not a text"),
        ("a\ud800 {}", "character 1 is a lone surrogate"),
    ],
)
def test_a_template_without_a_place_is_refused(
    zero_shot: ZeroShotClassifier, template: object, words: str
) -> None:
    with pytest.raises(OptionError, match=f"template: .*{words}"):
        zero_shot(TEXTS[0], LABELS, template)  # type: ignore[arg-type]


def test_braces_are_written_as_for_format() -> None:
    assert CandidateLabels(("a {b}",), "{{x}}: {}").hypotheses() == ["{x}: a {b}"]


def test_multi_label_is_true_or_false(zero_shot: ZeroShotClassifier) -> None:
    with pytest.raises(OptionError, match="multi_label must be True or False, got 'yes'"):
        zero_shot(TEXTS[0], LABELS, multi_label="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (("a", "b"), "expected a text, got a tuple"),
        (3, "expected a string, got int"),
        (None, "expected a string, got NoneType"),
        ("\ud800", "character 0 is a lone surrogate"),
    ],
)
def test_what_is_not_a_text_is_refused_with_its_index(
    zero_shot: ZeroShotClassifier, text: object, words: str
) -> None:
    with pytest.raises(InputError, match=f"text 1: {words}"):
        zero_shot(["a", text], LABELS)  # type: ignore[list-item]
    good, bad, last = zero_shot.predict_or_errors(["a", text, "b"], LABELS)
    assert [good, last] == zero_shot(["a", "b"], LABELS)
    assert isinstance(bad, InputError)
    assert str(bad).startswith(f"text 1: {words}")


def test_a_single_pair_and_lists_of_labels_for_a_single_text_are_refused(
    zero_shot: ZeroShotClassifier,
) -> None:
    with pytest.raises(InputError, match="got a tuple"):
        zero_shot(("a", "b"), LABELS)
    with pytest.raises(OptionError, match="expected a list of texts, or a list of such lists"):
        zero_shot("a", [LABELS])
    with pytest.raises(OptionError, match="expected a list of texts, or a list of such lists"):
        zero_shot.for_labels([LABELS])  # type: ignore[list-item]


def test_a_text_that_is_too_long_is_marked_or_an_error(zero_shot: ZeroShotClassifier) -> None:
    assert [each.truncated for each in zero_shot(TEXTS, LABELS)].count(True) == 1
    with pytest.raises(TooLongError, match=r"text 2: has more than 26 tokens, .*'a film, with"):
        zero_shot(TEXTS, LABELS, truncation="error")


def test_tokenizers_without_special_tokens_join_pairs_too(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", Tiny("bert", num_labels=3), NLI_LABELS)
    path = folder / "tokenizer.json"
    bare = json.loads(path.read_text()) | {"post_processor": None}
    path.write_text(json.dumps(bare))
    plain = {"tokenizer_class": "PreTrainedTokenizerFast"}
    add_settings(folder / "tokenizer_config.json", plain)
    zero_shot = ZeroShotClassifier.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("nice day", ""):
        (encoding,) = zero_shot.tokenize([text], ["day"])
        assert isinstance(encoding, PremiseEncoding)
        (pair,) = encoding.pairs()
        assert list(pair.input_ids) == theirs(text, DEFAULT_TEMPLATE.format("day"))["input_ids"]
        assert zero_shot(text, ["day"]).num_tokens == len(pair)
    with pytest.raises(OptionError, match=r"the hypothesis of '\\x07' has no tokens"):
        zero_shot("nice day", ["\x07"], "{}")


def test_a_token_without_an_embedding_is_named(tmp_path: Path) -> None:
    tiny = Tiny("bert", num_labels=3, vocab_size=60)
    folder = write_classifier(tmp_path / "model", tiny, NLI_LABELS)
    with pytest.warns(MissingEmbeddingWarning):
        zero_shot = ZeroShotClassifier.from_pretrained(folder)
    with pytest.raises(OptionError, match=r"the hypothesis of '\$': token '\$' has id"):
        zero_shot("a", ["$"], "{}")
    good, bad = zero_shot.predict_or_errors(["a", "$"], ["b"], "{}")
    assert good == zero_shot("a", ["b"], "{}")
    assert isinstance(bad, InputError)
    assert str(bad).startswith("text 1: token '$' has id")


def test_copies_have_the_labels_too(zero_shot: ZeroShotClassifier) -> None:
    asked = zero_shot.for_labels(LABELS, TEMPLATE, multi_label=True)
    expected = asked(TEXTS)
    assert pickle.loads(pickle.dumps(asked))(TEXTS) == expected
    assert copy.deepcopy(asked)(TEXTS) == expected


def test_a_truncation_of_another_kind_is_refused(zero_shot: ZeroShotClassifier) -> None:
    with pytest.raises(OptionError, match="'window' is not supported for zero-shot"):
        zero_shot(TEXTS, LABELS, truncation="window")  # type: ignore[arg-type]


def test_a_model_that_fails_on_one_pair_fails_on_its_text_alone(
    zero_shot: ZeroShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = zero_shot(TEXTS[:3], LABELS)
    (poison,) = zero_shot.tokenize([TEXTS[1]], LABELS[3:4])
    assert isinstance(poison, PremiseEncoding)
    bad = next(poison.pairs())
    whole = zero_shot._compute

    def compute(encodings: Sequence[Encoding]) -> list[np.ndarray]:
        if bad in encodings:
            raise RuntimeError("planted")
        return whole(encodings)

    monkeypatch.setattr(zero_shot, "_compute", compute)
    first, failed, third = zero_shot.predict_or_errors(TEXTS[:3], LABELS)
    assert [first, third] == [expected[0], expected[2]]
    assert isinstance(failed, InputError)
    assert str(failed) == "text 1: the model failed on it: RuntimeError: planted"


@pytest.mark.parametrize("truncation", ["window", False, ""])
def test_another_truncation_is_refused_at_load_and_in_a_call(
    zero_shot: ZeroShotClassifier, truncation: object
) -> None:
    with pytest.raises(OptionError, match="truncation"):
        ZeroShotClassifier.from_pretrained(zero_shot.folder, truncation=truncation)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="truncation"):
        zero_shot("a text", ["one"], truncation=truncation)  # type: ignore[arg-type]


@pytest.mark.parametrize(("truncation", "own"), [("window", "error"), ("cut", "cut")])
def test_a_classifier_with_windows_is_shared_without_them(
    zero_shot: ZeroShotClassifier, truncation: Truncation, own: str
) -> None:
    """As by a server that reads texts to classify in windows."""
    classifier = Classifier.from_pretrained(zero_shot.folder, truncation=truncation)
    assert ZeroShotClassifier.from_classifier(classifier).truncation == own

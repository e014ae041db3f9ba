"""Rerankers against sentence-transformers' CrossEncoder: scores, order, and which rule holds."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from pair_checkpoints import (
    QUERY,
    TEXTS,
    add_settings,
    cross_encoder,
    write_classifier,
    write_modular_reranker,
)
from tiny_checkpoints import FAMILIES, Tiny
from torch import nn

from isobatch import Classifier, Reranker
from isobatch.errors import CheckpointError, InputError, MissingHeadError, OptionError
from isobatch.scope import describe_scope
from isobatch.tasks import Ranked

IDENTITY = "torch.nn.modules.linear.Identity"
SECTION = "config_sentence_transformers.json"

Made = Callable[[str], Path]


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A checkpoint with one label, as transformers saves it."""
    return cache(
        lambda family: write_classifier(
            tmp_path_factory.mktemp("plain"), Tiny(family, num_labels=1)
        )
    )


@pytest.fixture(scope="session")
def modular(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A checkpoint of modules, as sentence-transformers saves it."""
    return cache(
        lambda family: write_modular_reranker(
            tmp_path_factory.mktemp("modular") / "model", Tiny(family)
        )
    )


@pytest.fixture
def made(request: pytest.FixtureRequest, kind: str) -> Made:
    of_kind: Made = request.getfixturevalue(kind)
    return of_kind


def check_parity(folder: Path) -> None:
    theirs, ours = cross_encoder(folder), Reranker.from_pretrained(folder)
    pairs = [(QUERY, text) for text in TEXTS]
    expected = theirs.predict([list(pair) for pair in pairs])
    assert expected.std() > 0.01, "scores that hardly vary would be no test"
    assert [each.score for each in ours(pairs)] == pytest.approx(expected.tolist(), abs=1e-5)
    ranked, wanted = ours.rank(QUERY, TEXTS), theirs.rank(QUERY, TEXTS)
    assert [each.index for each in ranked] == [each["corpus_id"] for each in wanted]
    scores = [float(each["score"]) for each in wanted]
    assert [each.score for each in ranked] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("kind", ["plain", "modular"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_order_are_those_of_cross_encoder(made: Made, family: str) -> None:
    check_parity(made(family))


@pytest.mark.parametrize("pooling", ["mean", "max", "lasttoken"])
def test_each_pooling_of_modules_is_that_of_cross_encoder(tmp_path: Path, pooling: str) -> None:
    check_parity(write_modular_reranker(tmp_path / "model", Tiny("bert"), pooling))


def test_the_activation_of_modules_is_that_of_cross_encoder(tmp_path: Path) -> None:
    folder = write_modular_reranker(tmp_path / "model", Tiny("roberta"), activation=nn.Identity())
    check_parity(folder)
    ranked = Reranker.from_pretrained(folder).rank(QUERY, TEXTS)
    assert [each.score for each in ranked] == [each.logit for each in ranked]


@pytest.mark.parametrize("settings", [{"max_seq_length": 20}, {"do_lower_case": True}])
def test_the_settings_of_the_encoder_of_modules_are_those_of_cross_encoder(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    folder = write_modular_reranker(tmp_path / "model", Tiny("roberta"))
    before = Reranker.from_pretrained(folder).rank(QUERY, TEXTS)
    add_settings(folder / "sentence_bert_config.json", settings)
    assert Reranker.from_pretrained(folder).rank(QUERY, TEXTS) != before
    check_parity(folder)


# ------------------------------------------------------------------------------------ score rules


@pytest.mark.parametrize(
    ("settings", "of_version_6", "activation", "source"),
    [
        ({}, {}, "sigmoid", "default for one label"),
        ({"problem_type": "regression"}, {}, "none", "config.json: problem_type"),
        (
            {"sbert_ce_default_activation_function": IDENTITY},
            {},
            "none",
            "config.json: sbert_ce_default_activation_function",
        ),
        (
            {"sentence_transformers": {"activation_fn": IDENTITY}},
            {},
            "none",
            "config.json: sentence_transformers.activation_fn",
        ),
        (
            {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}},
            {},
            "sigmoid",
            "config.json: sentence_transformers.activation_fn",
        ),
        (
            {},
            {"model_type": "CrossEncoder", "activation_fn": IDENTITY},
            "none",
            f"{SECTION}: activation_fn",
        ),
        (
            {},
            {"model_type": "SentenceTransformer", "activation_fn": IDENTITY},
            "sigmoid",
            "default for one label",
        ),
    ],
)
def test_the_rule_for_scores_has_its_source(
    tmp_path: Path,
    settings: dict[str, object],
    of_version_6: dict[str, object],
    activation: str,
    source: str,
) -> None:
    folder = write_classifier(tmp_path / "model", Tiny("bert", num_labels=1), **settings)
    if of_version_6:
        add_settings(folder / SECTION, of_version_6)
    reranker = Reranker.from_pretrained(folder)
    rule = reranker.config.head.score_rule
    assert (rule.activation, rule.source) == (activation, source)
    scope = describe_scope(reranker, "a model")
    assert (scope.score_activation, scope.score_rule) == (activation, source)
    assert scope.head == "first token, dense 32→32 tanh, output 32→1"


def test_modules_are_named_with_their_source(modular: Made) -> None:
    folder = modular("bert")
    scope = describe_scope(Reranker.from_pretrained(folder), "a model")
    assert scope.score_rule == f"{SECTION}: activation_fn"
    assert scope.head.startswith("first token, 2_Dense 32→64 gelu, ")


def test_several_labels_have_a_default_with_its_source(tmp_path: Path) -> None:
    identity = {"sentence_transformers": {"activation_fn": IDENTITY}}
    folder = write_classifier(tmp_path / "model", Tiny("bert", num_labels=3), **identity)
    rule = Classifier.from_pretrained(folder).config.head.score_rule
    assert (rule.activation, rule.source) == ("softmax", "default for several labels")


def test_a_prompt_that_queries_would_need_is_refused(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", Tiny("bert", num_labels=1))
    stated = {"model_type": "CrossEncoder", "prompts": {"query": "find: "}}
    add_settings(folder / SECTION, stated | {"default_prompt_name": None})
    Reranker.from_pretrained(folder)
    add_settings(folder / SECTION, {"default_prompt_name": "query"})
    with pytest.raises(CheckpointError, match="default_prompt_name is 'query', so that 'find: '"):
        Reranker.from_pretrained(folder)


# ------------------------------------------------------------------------------------------- rank


@pytest.fixture(scope="module")
def reranker(plain: Made) -> Reranker:
    return Reranker.from_pretrained(plain("bert"))


def test_rank_gives_the_best_first_with_all_that_is_known(reranker: Reranker) -> None:
    ranked = reranker.rank(QUERY, TEXTS)
    assert sorted(each.index for each in ranked) == list(range(len(TEXTS)))
    logits = [each.logit for each in ranked]
    assert logits == sorted(logits, reverse=True)
    for each in ranked:
        alone = reranker((QUERY, TEXTS[each.index]))
        wanted = Ranked(
            each.index, alone.score, alone.logits[0], TEXTS[each.index], alone.truncated
        )
        assert each == wanted
    assert [each.truncated for each in ranked].count(True) == 1
    keys = {"index", "score", "logit", "text", "num_windows", "truncated"}
    assert ranked[0].to_dict().keys() == keys


def test_rank_says_in_how_many_windows_a_text_was_read(reranker: Reranker) -> None:
    long = "nice day " * 60
    ranked = reranker.rank(QUERY, [long, "nice"], truncation="window")
    windows = {each.index: each.num_windows for each in ranked}
    assert windows == {0: reranker((QUERY, long), truncation="window").num_windows, 1: 1}
    assert windows[0] > 1


def test_top_k_is_the_beginning_of_all(reranker: Reranker) -> None:
    everything = reranker.rank(QUERY, TEXTS)
    for k in (1, 3, len(TEXTS), 100):
        assert reranker.rank(QUERY, TEXTS, top_k=k) == everything[:k]
    assert reranker.rank(QUERY, []) == []
    assert reranker.rank(QUERY, iter(TEXTS)) == reranker.rank(QUERY, tuple(TEXTS)) == everything


def test_equal_texts_keep_their_order(reranker: Reranker) -> None:
    ranked = reranker.rank(QUERY, ["nice", "day", "nice", "day"])
    assert [each.index for each in ranked] in ([0, 2, 1, 3], [1, 3, 0, 2])


@pytest.mark.parametrize("top_k", [0, -1, True, 2.0, "3"])
def test_another_top_k_is_refused(reranker: Reranker, top_k: object) -> None:
    with pytest.raises(OptionError, match=f"top_k must be an integer .*got {top_k!r}"):
        reranker.rank(QUERY, TEXTS, top_k=top_k)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "texts", "words"),
    [
        (3, ["a"], "query: expected a string, got int"),
        (QUERY, "a text", "expected a list of texts, got a single one"),
        (QUERY, ["a", 3], "text 1: expected a string, got int"),
        (QUERY, ["a", ("b", "c")], "text 1: expected a string, got tuple"),
        (QUERY, ["a", "\ud800"], "text 1: character 0 is a lone surrogate"),
    ],
)
def test_what_is_not_text_is_refused(
    reranker: Reranker, query: object, texts: object, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        reranker.rank(query, texts)  # type: ignore[arg-type]


def test_a_text_that_is_too_long_is_an_error_if_asked(reranker: Reranker) -> None:
    with pytest.raises(InputError, match="text 2: has more than 48 tokens"):
        reranker.rank(QUERY, TEXTS, truncation="error")


def test_a_single_text_is_not_taken_for_a_pair(reranker: Reranker) -> None:
    """`["query", "text"]` is one pair to sentence-transformers; here it would be two texts."""
    with pytest.raises(InputError, match=r"text 0: expected a \(query, text\) tuple"):
        reranker([QUERY, TEXTS[0]])
    with pytest.raises(InputError, match="expected a"):
        reranker(QUERY)
    good, bad = reranker.predict_or_errors([(QUERY, "a"), "a"])
    assert good == reranker((QUERY, "a"))
    assert isinstance(bad, InputError)
    assert str(bad).startswith("text 1: expected a (query")


@pytest.mark.parametrize("num_labels", [2, 7])
def test_several_labels_are_refused_before_weights_are_read(
    tmp_path: Path, num_labels: int
) -> None:
    folder = write_classifier(tmp_path / "model", Tiny("bert", num_labels=num_labels))
    (folder / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(MissingHeadError) as caught:
        Reranker.from_pretrained(folder)
    assert f"has {num_labels} labels (LABEL_0, LABEL_1" in str(caught.value)
    assert "isobatch.Classifier" in str(caught.value)


def test_an_embedding_model_is_refused(tmp_path: Path) -> None:
    folder = write_modular_reranker(tmp_path / "model", Tiny("bert"))
    add_settings(folder / SECTION, {"model_type": "SentenceTransformer", "activation_fn": None})
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(listed[:2]))
    with pytest.raises(MissingHeadError, match=r"isobatch\.Embedder"):
        Reranker.from_pretrained(folder)


def test_settings_of_the_encoder_are_read_without_further_modules(tmp_path: Path) -> None:
    """As sentence-transformers saves a cross-encoder with a plain head."""
    folder = write_classifier(tmp_path / "model", Tiny("bert", num_labels=1))
    cross_encoder(folder).save_pretrained(str(tmp_path / "saved"))
    add_settings(tmp_path / "saved" / "sentence_bert_config.json", {"max_seq_length": 12})
    assert (tmp_path / "saved" / "modules.json").is_file()
    assert Reranker.from_pretrained(tmp_path / "saved").max_tokens == 12
    check_parity(tmp_path / "saved")

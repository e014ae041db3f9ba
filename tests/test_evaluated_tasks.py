"""Rerankers, embedding models, token classifiers and zero-shot models, evaluated on files.

Numbers are those of the evaluators of sentence-transformers and of seqeval, or done by hand.
"""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_folders import write_embedding_folder
from pair_checkpoints import NLI_LABELS, cross_encoder, write_classifier
from sentence_transformers import SentenceTransformer
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from tiny_checkpoints import Tiny
from tiny_token_models import write_word_tagger

from isobatch import Classifier, Embedder, Reranker, TokenClassifier, ZeroShotClassifier
from isobatch.errors import InputError, MissingHeadError, OptionError
from isobatch.evaluation import (
    EntityOptions,
    LabelledFiles,
    LabelOptions,
    QueryFiles,
    TaskEvaluation,
    evaluate_entities,
    evaluate_files,
    evaluate_ranking,
    evaluate_retrieval,
    evaluate_similarity,
    labels_of_column,
    render_report,
)
from isobatch.tables import TableFile, detect_format

QUERIES = ("is it a nice day?", "a film with a plot", "what about tomorrow?")
TEXTS = (
    "Today is a nice day!",
    "a gripping film, with a cast that is better than its plot",
    "But what about tomorrow? Im not sure.",
    "never again",
    "nice",
    "It is good and not bad.",
    "a plot",
    "day day day",
)
RELEVANT = {(0, 0): 2, (0, 4): 1, (1, 1): 1, (1, 6): 3, (2, 2): 1}
ROWS: list[dict[str, Any]] = [
    {"query": query, "text": text, "relevance": RELEVANT.get((q, t), 0)}
    for t, text in enumerate(TEXTS)
    for q, query in enumerate(QUERIES)
]
"""The rows of a query do not follow one another."""


def written(path: Path, rows: Sequence[dict[str, Any]]) -> TableFile:
    """Write CSV or, where values are not texts or numbers, JSON Lines."""
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return TableFile(path, *detect_format(path.name))


def queries(path: Path, rows: Sequence[dict[str, Any]], **options: Any) -> QueryFiles:
    relevance = LabelOptions("relevance", **options)
    return QueryFiles((written(path, rows),), "query", relevance, text_column="text")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    folder = write_classifier(tmp_path_factory.mktemp("reranker"), Tiny("bert", num_labels=1))
    return Reranker.from_pretrained(folder)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = write_embedding_folder(tmp_path_factory.mktemp("embedder"))
    return Embedder.from_pretrained(folder)


# ---------------------------------------------------------------------------------------- rankings


def test_a_ranking_has_the_numbers_of_sentence_transformers(
    reranker: Reranker, tmp_path: Path
) -> None:
    binary = [row | {"relevance": min(row["relevance"], 1)} for row in ROWS]
    found = evaluate_ranking(queries(tmp_path / "d.csv", binary), reranker)
    samples: list[Any] = [
        {
            "query": query,
            "positive": [TEXTS[t] for t in range(8) if (q, t) in RELEVANT],
            "negative": [TEXTS[t] for t in range(8) if (q, t) not in RELEVANT],
        }
        for q, query in enumerate(QUERIES)
    ]
    evaluator = CrossEncoderRerankingEvaluator(samples, at_k=10, show_progress_bar=False)
    known = evaluator(cross_encoder(reranker.folder))
    assert found.ndcg_at_10 == pytest.approx(known["ndcg@10"], abs=1e-9)
    assert found.mrr_at_10 == pytest.approx(known["mrr@10"], abs=1e-9)
    assert (found.num_queries, found.num_texts, found.num_relevant) == (3, 24, 5)
    assert found.recall_at["10"] == 1.0
    assert sum(found.first_ranks) == 3


def test_the_order_of_rows_changes_nothing(reranker: Reranker, tmp_path: Path) -> None:
    one = evaluate_ranking(queries(tmp_path / "a.csv", ROWS), reranker)
    other = evaluate_ranking(queries(tmp_path / "b.jsonl", ROWS[::-1]), reranker)
    assert one.ndcg_at_10 == pytest.approx(other.ndcg_at_10, abs=1e-12)
    assert one.recall_at == pytest.approx(other.recall_at, abs=1e-12)
    assert one.random == pytest.approx(other.random, abs=1e-12)


def test_the_worst_query_is_shown(reranker: Reranker, tmp_path: Path) -> None:
    found = evaluate_ranking(queries(tmp_path / "d.csv", ROWS), reranker)
    worst = found.worst[0]
    ranked = reranker.rank(worst.query, list(TEXTS))
    assert worst.ranked_first == TEXTS[ranked[0].index]
    place = QUERIES.index(worst.query)
    assert worst.place == f"d.csv:{place + 2}"
    ranks = [rank for rank, each in enumerate(ranked, 1) if (place, each.index) in RELEVANT]
    assert worst.first_rank == ranks[0]
    assert worst.relevant == TEXTS[ranked[ranks[0] - 1].index]
    assert [each.ndcg_at_10 for each in found.worst] == sorted(
        each.ndcg_at_10 for each in found.worst
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"relevance": "much"}, r"d\.csv:26: .*expected a number, got 'much'"),
        ({"relevance": "-1"}, r"d\.csv:26: .*at least 0, got -1"),
        ({"relevance": "nan"}, r"d\.csv:26: .*expected a number"),
        ({"relevance": ""}, r"d\.csv:26: the number is missing .*--skip-unlabelled"),
        ({"query": "new", "relevance": 0}, r"d\.csv:26: the query 'new' has no relevant text"),
    ],
)
def test_a_wrong_relevance_stops_before_anything_is_computed(
    row: dict[str, Any], words: str, reranker: Reranker, tmp_path: Path
) -> None:
    rows = [*ROWS, {"query": QUERIES[0], "text": "x", "relevance": 0} | row]
    with pytest.raises(InputError, match=words):
        evaluate_ranking(queries(tmp_path / "d.csv", rows), reranker)


def test_wrong_rows_and_queries_are_counted_on_request(reranker: Reranker, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        *ROWS,
        {"query": "none", "text": "x", "relevance": 0},
        {"query": QUERIES[0], "text": "x", "relevance": "much"},
        {"query": QUERIES[0], "text": None, "relevance": 1},
        {"query": QUERIES[0], "text": "x", "relevance": None},
    ]
    options = {"on_bad_label": "row", "skip_unlabelled": True}
    found = evaluate_ranking(queries(tmp_path / "d.jsonl", rows, **options), reranker)
    assert (found.num_queries, found.num_texts, found.num_unlabelled) == (3, 25, 1)
    assert [(each.place, each.reason.split(",")[0]) for each in found.errors] == [
        ("d.jsonl:26", "relevance: expected a number"),
        ("d.jsonl:27", "text is null"),
        ("d.jsonl:25", "the query 'none' has no relevant text"),
    ]
    plain = evaluate_ranking(queries(tmp_path / "e.jsonl", ROWS), reranker)
    assert found.ndcg_at_10 == plain.ndcg_at_10


def test_a_classifier_of_labels_ranks_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingHeadError, match="one number for a query and a text"):
        evaluate_ranking(queries(tmp_path / "d.csv", ROWS), Classifier.from_pretrained())


# --------------------------------------------------------------------------------------- retrieval


def test_retrieval_has_the_numbers_of_sentence_transformers(
    embedder: Embedder, tmp_path: Path
) -> None:
    rows = [row for row in ROWS if row["relevance"]]
    rows += [{"query": QUERIES[0], "text": text, "relevance": 0} for text in TEXTS]
    found = evaluate_retrieval(queries(tmp_path / "d.csv", rows), embedder)
    relevant = {
        str(q): {str(t) for t in range(8) if (q, t) in RELEVANT} for q in range(len(QUERIES))
    }
    evaluator = InformationRetrievalEvaluator(
        {str(q): query for q, query in enumerate(QUERIES)},
        {str(t): text for t, text in enumerate(TEXTS)},
        relevant,
        show_progress_bar=False,
        precision_recall_at_k=[1, 5, 10],
    )
    known = evaluator(SentenceTransformer(str(embedder.folder), device="cpu"))
    assert found.mrr_at_10 == pytest.approx(known["cosine_mrr@10"], abs=1e-9)
    for rank in (1, 5, 10):
        assert found.recall_at[str(rank)] == pytest.approx(known[f"cosine_recall@{rank}"])
    binary = [row | {"relevance": min(row["relevance"], 1)} for row in rows]
    found = evaluate_retrieval(queries(tmp_path / "b.csv", binary), embedder)
    assert found.ndcg_at_10 == pytest.approx(known["cosine_ndcg@10"], abs=1e-9)
    assert found.notes[0] == "each query was compared with 8 different texts"
    assert found.facts["similarity"] == "cosine"


def test_without_relevances_every_row_is_relevant(embedder: Embedder, tmp_path: Path) -> None:
    pairs = [{"query": text, "text": text} for text in TEXTS]
    files = QueryFiles((written(tmp_path / "d.csv", pairs),), "query", text_column="text")
    found = evaluate_retrieval(files, embedder)
    assert (found.ndcg_at_10, found.mrr_at_10, found.recall_at["1"]) == (1.0, 1.0, 1.0)
    assert found.worst == ()


def test_an_empty_text_that_is_an_error_is_compared_with_no_query(
    embedder: Embedder, tmp_path: Path
) -> None:
    empty = {"query": QUERIES[0], "text": " ", "relevance": 1}
    files = queries(tmp_path / "d.csv", [*ROWS, empty])
    found = evaluate_retrieval(replace(files, on_empty="error"), embedder)
    known = evaluate_retrieval(queries(tmp_path / "k.csv", ROWS), embedder)
    assert (found.num_errors, found.notes) == (1, known.notes)
    assert found.ndcg_at_10 == known.ndcg_at_10
    assert evaluate_retrieval(files, embedder).notes != known.notes


def test_prompts_are_those_of_queries_and_of_documents(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    prompts = {"query": "nice: ", "document": "film: ", "other": "bad: "}
    folder = write_embedding_folder(
        tmp_path_factory.mktemp("prompted"), prompts=prompts, default_prompt_name="other"
    )
    found = evaluate_retrieval(queries(tmp_path / "d.csv", ROWS), Embedder.from_pretrained(folder))
    assert found.facts["prompt of queries"] == "query"
    assert found.facts["prompt of texts"] == "document"
    model = SentenceTransformer(str(folder), device="cpu")
    scores = model.similarity(model.encode_query(list(QUERIES)), model.encode_document(list(TEXTS)))
    best = {query: TEXTS[int(row.argmax())] for query, row in zip(QUERIES, scores, strict=True)}
    assert found.worst
    assert all(each.ranked_first == best[each.query] for each in found.worst)


def test_more_texts_than_the_last_rank(embedder: Embedder, tmp_path: Path) -> None:
    """Only the first hundred and the relevant ones are ranked: the numbers are those of all."""
    texts = [f"{a} {b} {c}" for a in TEXTS for b in TEXTS[:5] for c in TEXTS[3:7]]
    texts = list(dict.fromkeys(texts))
    rows = [
        {"query": query, "text": text, "relevance": int((place + index) % 13 == 0)}
        for index, query in enumerate(QUERIES)
        for place, text in enumerate(texts)
    ]
    found = evaluate_retrieval(queries(tmp_path / "d.csv", rows), embedder)
    similarities = embedder.similarity(embedder(list(QUERIES)), embedder(texts))
    recalls = []
    for index, scores in enumerate(similarities):
        first = np.argsort(-scores, kind="stable")[:100]
        relevant = {place for place in range(len(texts)) if (place + index) % 13 == 0}
        recalls.append(len(relevant & {*first.tolist()}) / len(relevant))
    assert found.recall_at["100"] == pytest.approx(np.mean(recalls))
    assert found.worst[0].num_texts == len(texts) > 100


# -------------------------------------------------------------------------------------- similarity

PAIRS: list[dict[str, Any]] = [
    {"text": one, "other": other, "gold": gold}
    for one, other, gold in zip(TEXTS, TEXTS[1:], (0, 1.5, 2, 5, 3, 0.5, 4), strict=False)
]


def pairs(path: Path, rows: Sequence[dict[str, Any]], **options: Any) -> LabelledFiles:
    table = written(path, rows)
    return LabelledFiles((table,), LabelOptions("gold", **options), "text", "other")


def test_similarity_has_the_numbers_of_sentence_transformers(
    embedder: Embedder, tmp_path: Path
) -> None:
    found = evaluate_similarity(pairs(tmp_path / "d.csv", PAIRS), embedder)
    evaluator = EmbeddingSimilarityEvaluator(
        [str(row["text"]) for row in PAIRS],
        [str(row["other"]) for row in PAIRS],
        [float(row["gold"]) for row in PAIRS],
        main_similarity="cosine",
    )
    known = evaluator(SentenceTransformer(str(embedder.folder), device="cpu"))
    assert found.spearman == pytest.approx(known["spearman_cosine"], abs=1e-9)
    assert found.pearson == pytest.approx(known["pearson_cosine"], abs=1e-6)
    assert found.num_texts == len(found.points) == 7
    worst = found.worst[0]
    assert worst.texts == next(
        (row["text"], row["other"]) for row in PAIRS if row["gold"] == worst.expected
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row | {"gold": 3} for row in PAIRS], r"d\.csv:2: every row has the similarity 3"),
        ([*PAIRS, PAIRS[0] | {"gold": "x"}], r"d\.csv:9: .*expected a number, got 'x'"),
        ([*PAIRS, PAIRS[0] | {"gold": ""}], r"d\.csv:9: the number is missing"),
    ],
)
def test_wrong_similarities_stop(
    rows: list[dict[str, Any]], words: str, embedder: Embedder, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        evaluate_similarity(pairs(tmp_path / "d.csv", rows), embedder)


def test_pairs_without_both_texts_are_counted(embedder: Embedder, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [*PAIRS, PAIRS[0] | {"other": None}, PAIRS[1] | {"gold": "x"}]
    files = pairs(tmp_path / "d.jsonl", rows, on_bad_label="row")
    found = evaluate_similarity(files, embedder)
    assert (found.num_texts, found.num_errors) == (7, 2)
    assert [each.reason for each in found.errors] == [
        "other is null",
        "gold: expected a number, got 'x'",
    ]
    files = LabelledFiles(files.tables, LabelOptions("gold"), "text")
    with pytest.raises(OptionError, match="--pair-column"):
        evaluate_similarity(files, embedder)


# ---------------------------------------------------------------------------------------- entities

TAGS = {"film": "B-PER", "plot": "I-PER", "day": "B-LOC", "nice": "I-LOC"}


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> TokenClassifier:
    return TokenClassifier.from_pretrained(
        write_word_tagger(tmp_path_factory.mktemp("tagger"), TAGS)
    )


def entities(path: Path, rows: Sequence[dict[str, Any]], **options: Any) -> LabelledFiles:
    return LabelledFiles((written(path, rows),), LabelOptions("tags", **options), "text")


TAGGED: list[dict[str, Any]] = [
    {"text": ["a", "film", "plot", "is", "good"], "tags": ["O", "B-PER", "I-PER", "O", "O"]},
    {"text": ["day", "nice", "day"], "tags": ["B-LOC", "O", "B-LOC"]},
    {"text": ["never", "again"], "tags": ["B-PER", "O"]},
    {"text": [], "tags": []},
]
"""Predicted: film plot; day nice, day; nothing. Of four expected spans two are right."""


@pytest.mark.parametrize("form", ["lists", "JSON", "words"])
def test_tags_of_words_are_compared(form: str, tagger: TokenClassifier, tmp_path: Path) -> None:
    rows = TAGGED[:3] if form == "words" else TAGGED
    if form != "lists":
        write: Callable[[Any], str] = json.dumps if form == "JSON" else " ".join
        rows = [{name: write(value) for name, value in row.items()} for row in rows]
    path = tmp_path / ("d.jsonl" if form == "lists" else "d.csv")
    found = evaluate_entities(entities(path, rows), tagger)
    assert (found.micro.num_correct, found.micro.num_predicted, found.micro.support) == (2, 3, 4)
    assert (found.micro.precision, found.micro.recall) == (2 / 3, 2 / 4)
    per, loc = sorted(found.types, key=lambda each: each.label, reverse=True)
    assert (per.precision, per.recall, loc.precision, loc.recall) == (1.0, 0.5, 0.5, 0.5)
    assert (found.num_missed, found.num_spurious) == (1, 0)
    (mistake,) = found.mistakes
    assert (mistake.words, mistake.predicted, mistake.expected) == ("day nice", "LOC", "LOC 'day'")
    assert mistake.place == f"{path.name}:{2 if form == 'lists' else 3}"
    assert found.facts["spans of"] == "words"


def test_spans_of_characters_are_compared(tagger: TokenClassifier, tmp_path: Path) -> None:
    rows = [
        {"text": "a film plot", "tags": [{"label": "PER", "start": 2, "end": 11}]},
        {"text": "day", "tags": [{"entity_group": "LOC", "start": 0, "end": 2}]},
        {"text": "nothing at all", "tags": []},
    ]
    found = evaluate_entities(entities(tmp_path / "d.jsonl", rows), tagger)
    assert (found.micro.num_correct, found.micro.num_predicted, found.micro.support) == (1, 2, 2)
    assert found.facts["aggregation"] == "simple"
    assert found.facts["spans of"] == "characters"
    assert found.mistakes[0].expected == "LOC 'da'"


def test_options_of_the_other_kind_of_entities_are_refused(
    tagger: TokenClassifier, tmp_path: Path
) -> None:
    spans = [{"text": "day", "tags": [{"label": "LOC", "start": 0, "end": 3}]}]
    with pytest.raises(OptionError, match="--scheme iob2: is for tags of words"):
        evaluate_entities(entities(tmp_path / "s.jsonl", spans), tagger, EntityOptions("iob2"))
    words = entities(tmp_path / "w.jsonl", TAGGED)
    with pytest.raises(OptionError, match="--aggregation max: is for spans of characters"):
        evaluate_entities(words, tagger, EntityOptions(aggregation="max"))


def test_long_texts_are_read_to_their_end(tagger: TokenClassifier, tmp_path: Path) -> None:
    words = [*["again"] * 70, "film", *["again"] * 70]
    rows = [{"text": words, "tags": ["B-PER" if word == "film" else "O" for word in words]}]
    files = entities(tmp_path / "d.jsonl", rows)
    read = LabelledFiles(files.tables, files.label, "text", truncation=tagger.truncation)
    assert evaluate_entities(read, tagger).micro.f1 == 1.0
    assert evaluate_entities(files, tagger).num_truncated == 1  # "cut", as of other tasks
    assert evaluate_entities(files, tagger).micro.recall == 0.0


def test_strict_spans_must_be_complete(tagger: TokenClassifier, tmp_path: Path) -> None:
    rows = [{"text": ["nice", "film"], "tags": ["O", "B-PER"]}]
    files = entities(tmp_path / "d.jsonl", rows)
    assert evaluate_entities(files, tagger).micro.num_predicted == 2
    strict = evaluate_entities(files, tagger, EntityOptions("iob2"))
    assert (strict.micro.num_predicted, strict.micro.f1, strict.scheme) == (1, 1.0, "iob2")
    with pytest.raises(InputError, match=r"d\.jsonl:1: .*'B-PER'|scheme"):
        evaluate_entities(
            entities(tmp_path / "e.jsonl", [{"text": ["x"], "tags": ["S-PER"]}]),
            tagger,
            EntityOptions("iob2"),
        )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"tags": ["O"]}, r"d\.jsonl:2: the column 'tags': 1 tags, but 2 words"),
        ({"tags": ["PER", "O"]}, r"d\.jsonl:2: .*the tag 'PER' is unknown"),
        ({"tags": [0, 1]}, r"d\.jsonl:2: .*names of tags, such as B-PER, got '0'"),
        ({"tags": None}, r"d\.jsonl:2: the entities are missing .*--skip-unlabelled"),
        ({"tags": 7}, r"d\.jsonl:2: .*expected tags or spans"),
        ({"text": None}, r"d\.jsonl:2: .*expected the words of the text"),
        ({"text": "ab", "tags": [{"label": "PER", "start": 0, "end": 3}]}, "not in the text"),
        ({"text": "ab", "tags": [{"start": 0, "end": 1}]}, "label, start and end"),
    ],
)
def test_wrong_entities_stop_or_are_counted(
    row: dict[str, Any], words: str, tagger: TokenClassifier, tmp_path: Path
) -> None:
    rows = [TAGGED[0], {"text": ["a", "film"], "tags": ["O", "B-PER"]} | row]
    with pytest.raises(InputError, match=words):
        evaluate_entities(entities(tmp_path / "d.jsonl", rows), tagger)
    options = {"on_bad_label": "row", "skip_unlabelled": True}
    found = evaluate_entities(entities(tmp_path / "d.jsonl", rows, **options), tagger)
    assert (found.num_texts, found.num_errors + found.num_unlabelled) == (1, 1)


def test_types_are_renamed_and_unknown_ones_are_reported(
    tagger: TokenClassifier, tmp_path: Path
) -> None:
    rows = [{"text": ["film", "day"], "tags": ["B-PERSON", "B-MISC"]}]
    path = tmp_path / "d.jsonl"
    with pytest.raises(InputError, match=r"d\.jsonl:1: .*PERSON, MISC; .*LOC, PER.*--label-map"):
        evaluate_entities(entities(path, rows), tagger)
    found = evaluate_entities(entities(path, rows, label_map=("PERSON=PER",)), tagger)
    assert found.micro.num_correct == 1
    assert "no type MISC: 1 expected span" in found.notes[0]
    with pytest.raises(OptionError, match="expected NAME=NAME"):
        evaluate_entities(entities(path, rows, label_map=("PERSON",)), tagger)


# --------------------------------------------------------------------------------------- zero-shot


def test_zero_shot_is_evaluated_as_a_classification(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "nli", Tiny("bert", num_labels=3), NLI_LABELS)
    model = ZeroShotClassifier.from_pretrained(folder)
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, "abcabcab", strict=True)]
    files = LabelledFiles((written(tmp_path / "d.csv", rows),), LabelOptions("label"))
    labels = labels_of_column(files)
    assert labels == ("a", "b", "c")
    found = evaluate_files(files, model.for_labels(labels))
    predicted = model(list(TEXTS), labels)
    right = sum(each.label == row["label"] for each, row in zip(predicted, rows, strict=True))
    assert (found.num_texts, found.num_correct, found.task) == (8, right, "classification")
    assert found.labels == labels
    assert found.roc_auc is not None
    numbers = LabelledFiles(
        (written(tmp_path / "n.jsonl", [{"text": "x", "label": 1}]),), LabelOptions("label")
    )
    with pytest.raises(InputError, match=r"n\.jsonl:1: the label 1 is not a text.*--label-map"):
        labels_of_column(numbers)


# ----------------------------------------------------------------------------------------- reports


class Words(HTMLParser):
    """The words of a page; every element must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.open = "", 0
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


@pytest.fixture
def evaluations(
    reranker: Reranker, embedder: Embedder, tagger: TokenClassifier, tmp_path: Path
) -> list[TaskEvaluation]:
    hostile = "<script>alert(1)</script>"
    rows = [*ROWS, {"query": QUERIES[0], "text": hostile, "relevance": 1}]
    tagged = [*TAGGED, {"text": [hostile, "film"], "tags": ["O", "O"]}]
    return [
        evaluate_ranking(queries(tmp_path / "r.csv", rows), reranker),
        evaluate_retrieval(queries(tmp_path / "v.csv", rows), embedder),
        evaluate_similarity(pairs(tmp_path / "s.csv", PAIRS), embedder),
        evaluate_entities(entities(tmp_path / "e.jsonl", tagged), tagger),
    ]


def test_every_evaluation_is_a_page_and_plain_json(evaluations: list[TaskEvaluation]) -> None:
    for each in evaluations:
        html = render_report(each, "A title")
        assert html == render_report(each, "A title")
        assert "<script" not in html
        assert "//" not in html
        words = Words(html).words
        assert "A title" in words
        titles = {"similarity": "Spearman", "entities": "Micro F1"}
        assert titles.get(each.task, "nDCG@10") in words
        plain = json.loads(json.dumps(asdict(each), allow_nan=False))
        assert {"task", "num_texts", "num_errors", "errors", "facts", "notes"} <= plain.keys()
    assert "<script>alert(1)</script>" in Words(render_report(evaluations[3], "t")).words

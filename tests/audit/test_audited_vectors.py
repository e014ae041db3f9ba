"""Vectors, tokens and entities are audited as classes are: planted faults are caught and named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from embedding_folders import SIZE, write_embedding_folder, write_encoder
from planted import Planted, tokenizer_in
from planted_tokens import entities, tokens, vectors
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tiny_checkpoints import Tiny
from tiny_token_models import write_token_checkpoint

from isobatch import assert_batch_invariant
from isobatch.audit import AuditReport, SavedAnswers, audit, open_subject, subject_of
from isobatch.audit.output_rows import FILLER, from_rows, lengths, numbers_of, stack_rows
from isobatch.audit.targets import subject_of_model
from isobatch.audit.targets.output_reader import OutputReader
from isobatch.errors import AuditError, MissingHeadError

TEXTS = (
    "Today is a nice day!",
    "Never again.",
    "A gripping film, with a cast that is better than its plot, and never a dull minute in it.",
    "Not bad, not bad at all.",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizer") / "wordpiece"


def bugs(report: AuditReport) -> list[str]:
    return [finding.name for finding in report.findings if finding.severity == "bug"]


def opened(model: Planted, folder: Path, side: str = "right") -> AuditReport:
    return audit(subject_of_model(model, tokenizer_in(folder, side)), quick=True)


def test_the_vectors_of_any_checkpoint_are_audited_with_a_pooling(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path)
    with pytest.raises(MissingHeadError, match="--pooling"):
        open_subject(str(encoder))
    subject = open_subject(str(encoder), pooling="mean")
    assert (subject.reads, subject.facts["task"]) == ("numbers", "feature-extraction")
    assert subject.predict(["Today"]).shape == (1, SIZE)


WHITE = [
    ("vectors", "mean over pads", "mean", "right", ["pads-pooled"]),
    ("vectors", "mask dropped", "mean", "right", ["mask-dropped"]),
    ("vectors", "", "column", "right", ["last-column-read"]),
    ("vectors", "", "last", "left", ["left-padding-shifts-positions"]),
    ("vectors", "", "mean", "right", []),
    ("vectors", "", "last", "right", []),
    ("tokens", "mask dropped", "", "right", ["mask-dropped"]),
    ("tokens", "mask one too many", "", "right", ["mask-off-by-one"]),
    ("tokens", "per-tensor int8", "", "right", ["tensor-wide-scales"]),
    ("tokens", "", "", "left", ["left-padding-shifts-positions"]),
    ("tokens", "", "", "right", []),
]


@pytest.mark.parametrize(("gives", "fault", "head", "side", "names"), WHITE)
def test_a_model_in_memory(
    gives: str, fault: str, head: str, side: str, names: list[str], folder: Path
) -> None:
    report = opened(Planted(fault, head, gives=gives), folder, side)
    assert bugs(report) == names


@pytest.mark.parametrize(
    ("fault", "head", "side", "names"),
    [
        ("mean over pads", "mean", "right", ["padding-counts"]),
        ("", "column", "right", ["padding-counts"]),
        ("", "last", "left", ["padding-counts"]),
        ("batch norm", "mean", "right", ["rows-mixed"]),
        ("", "mean", "right", []),
    ],
)
def test_vectors_of_a_function(
    fault: str, head: str, side: str, names: list[str], folder: Path
) -> None:
    encode = vectors(Planted(fault, head, gives="vectors"), tokenizer_in(folder, side))
    report = audit(encode, TEXTS, quick=True)
    assert bugs(report) == names
    movements = [each.movement for each in report.probes if each.movement]
    assert movements
    assert not any(each.has_labels or each.flips for each in movements)


@pytest.mark.parametrize(
    ("fault", "mistake", "side", "names"),
    [
        ("", "pads returned", "right", ["pads-returned"]),
        ("", "first columns", "right", []),
        ("mask dropped", "", "right", ["padding-counts"]),
        ("padding id taken for position", "first columns", "left", ["offsets-shifted"]),
        ("", "", "right", []),
    ],
)
def test_tokens_of_a_function(
    fault: str, mistake: str, side: str, names: list[str], folder: Path
) -> None:
    predict = tokens(Planted(fault, gives="tokens"), tokenizer_in(folder, side), mistake)
    assert bugs(audit(predict, TEXTS, quick=True)) == names


@pytest.mark.parametrize(
    ("mistake", "names"),
    [("", []), ("characters of the padded text", ["offsets-shifted"])],
)
def test_entities_of_a_function(mistake: str, names: list[str], folder: Path) -> None:
    predict = entities(Planted(gives="tokens"), tokenizer_in(folder), mistake)
    assert bugs(audit(predict, TEXTS, quick=True)) == names


def test_the_assertion_takes_tokens_and_vectors(folder: Path) -> None:
    tokenizer = tokenizer_in(folder)
    sound = tokens(Planted(gives="tokens"), tokenizer)
    assert_batch_invariant(sound, TEXTS, atol=1e-4, batch_sizes=(2, 3))
    faulty = tokens(Planted(gives="tokens"), tokenizer, "pads returned")
    with pytest.raises(AssertionError, match="answers depend on the batch"):
        assert_batch_invariant(faulty, TEXTS, atol=1e-4, batch_sizes=(2, 3))


def bert(folder: Path, kind: str) -> Any:
    tokenizer_in(folder)
    config = transformers.BertConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=256,
        num_labels=3,
    )
    return getattr(transformers, kind)(config).eval()


def test_the_pipelines_of_transformers_are_functions(folder: Path) -> None:
    tokenizer = tokenizer_in(folder)
    model = bert(folder, "BertForTokenClassification")
    pipeline: Any = transformers.pipeline  # its overloads list every task
    ner = pipeline("token-classification", model=model, tokenizer=tokenizer)
    found = audit(lambda texts: ner(list(texts), batch_size=8), TEXTS, quick=True)
    assert found.verdict in ("exact", "drift"), found.findings
    encoder = bert(folder, "BertModel")
    states = pipeline("feature-extraction", model=encoder, tokenizer=tokenizer)
    alone = audit(lambda texts: [states(text) for text in texts], TEXTS, quick=True)
    assert alone.verdict == "exact", alone.findings
    batched = audit(lambda texts: states(list(texts), batch_size=8), TEXTS, quick=True)
    assert bugs(batched) == ["pads-returned"]


@pytest.mark.parametrize(("mode", "names"), [("mean", []), ("faulty", ["padding-counts"])])
def test_sentence_transformers_is_a_function(
    mode: str, names: list[str], folder: Path, tmp_path: Path
) -> None:
    bert(folder, "BertModel").save_pretrained(tmp_path)
    tokenizer_in(folder).save_pretrained(tmp_path)
    encoder, pooling = Transformer(str(tmp_path)), Pooling(32, "mean")
    if mode == "faulty":
        forward = pooling.forward

        def over_pads(features: dict[str, Any]) -> Any:
            return forward(features | {"attention_mask": features["attention_mask"] * 0 + 1})

        pooling.forward = over_pads
    model = SentenceTransformer(modules=[encoder, pooling], device="cpu")
    assert bugs(audit(model.encode, TEXTS, quick=True)) == names


@pytest.mark.parametrize("kind", ["embedder", "tagger"])
def test_run_by_isobatch_vectors_and_tokens_are_exact(kind: str, tmp_path: Path) -> None:
    if kind == "embedder":
        path = write_embedding_folder(tmp_path)
    else:
        path = write_token_checkpoint(tmp_path / "tagger", Tiny("bert"))
    subject = open_subject(str(path))
    assert subject.reads == ("numbers" if kind == "embedder" else "classes")
    assert subject.token_size == (0 if kind == "embedder" else 5)
    report = audit(subject, TEXTS, quick=True)
    assert report.verdict == "exact", report.findings
    saved = SavedAnswers.from_json(SavedAnswers.of(report).to_json(), "saved")
    again = audit(subject, TEXTS, quick=True, compare_with=saved).comparison
    assert again is not None
    assert again.status == "exact"


def test_the_encoder_of_embeddings_in_transformers(tmp_path: Path) -> None:
    path = write_embedding_folder(tmp_path)
    report = audit(open_subject(f"transformers:{path}"), TEXTS, quick=True)
    assert report.verdict in ("exact", "drift"), report.findings
    assert "mask-honoured" in {each.probe for each in report.with_status("exact")}


def read(value: Any, number: int = 2) -> tuple[Any, OutputReader]:
    reader = OutputReader("system")
    return reader(value, number), reader


def test_arrays_of_tokens_are_rows_of_different_lengths() -> None:
    first, second = np.arange(6.0).reshape(3, 2), np.arange(2.0).reshape(1, 2)
    outputs, reader = read([first, second])
    assert (reader.reads, reader.token_size) == ("classes", 2)
    assert outputs.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, *[FILLER] * 4]]
    assert lengths(outputs).tolist() == [6, 2]
    assert numbers_of(outputs) == [(0, 1, 2, 3, 4, 5), (0, 1)]
    assert numbers_of(stack_rows([outputs, from_rows([np.ones(9)])]))[2] == (1,) * 9


def test_entities_are_labels_places_and_scores() -> None:
    one = {"entity_group": "PER", "score": 0.5, "start": 0, "end": 16, "word": "x"}
    other = {"entity_group": "LOC", "score": 0.25, "start": 32, "end": 64, "word": "x"}
    outputs, reader = read([[one, other], []])
    assert (reader.reads, reader.token_size) == ("entities", 4)
    assert numbers_of(outputs) == [(0, 0, 1 / 64, 0.5, 1 / 16, 1 / 32, 1 / 16, 0.25), ()]
    assert numbers_of(reader([other], 1)) == [(1 / 16, 1 / 32, 1 / 16, 0.25)]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([[np.ones((2, 2)), np.ones((2, 3))]], "different numbers of numbers"),
        ([[np.ones((2, 2)), np.ones((3, 2))], np.ones((2, 2))], "a row for each text, and 2"),
        (
            [np.ones((2, 2)), [np.ones((2, 2)), np.ones((3, 2))]],
            "2 numbers for each token, and a row",
        ),
        ([[[{"entity": "A", "start": 0, "end": 1}], []]], "returned the entity"),
    ],
)
def test_unreadable_tokens_are_an_error(values: Sequence[Any], complaint: str) -> None:
    reader = OutputReader("system")
    for value in values[:-1]:
        reader(value, 2)
    with pytest.raises(AuditError, match=complaint):
        reader(values[-1], 2)


def test_a_function_is_read_as_vectors_by_many_numbers_or_a_length_of_one() -> None:
    def of_width(width: int, *, normalized: bool) -> str:
        def encode(texts: Sequence[str]) -> Any:
            rows = np.array([[np.sin(len(text) * (k + 1)) for k in range(width)] for text in texts])
            return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalized else 3 * rows

        return subject_of(encode).reads

    assert of_width(384, normalized=False) == of_width(12, normalized=True) == "numbers"
    assert of_width(12, normalized=False) == of_width(3, normalized=True) == "classes"

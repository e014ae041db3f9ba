"""Target strings and their options; the return values of a Python function, and their reading."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from isobatch import Classifier
from isobatch.audit.subject import Subject
from isobatch.audit.targets import open_subject, subject_of, tokenizer_traits
from isobatch.audit.targets.output_reader import OutputReader, look_like_scores
from isobatch.errors import AuditError, CheckpointError, OptionError, exit_code

ROWS = [[0.1, -2.5], [3.0, 0.7], [1e-8, 4.0]]
FLOATS = np.array(ROWS, dtype=np.float32)
LABELLED = [[{"label": "b", "score": r[1]}, {"label": "a", "score": r[0]}] for r in ROWS]


def read(value: Any, num_texts: int = 3) -> Any:
    return OutputReader("system")(value, num_texts)


@pytest.mark.parametrize(
    "value",
    [
        FLOATS,
        torch.from_numpy(FLOATS),
        list(torch.from_numpy(FLOATS)),
        FLOATS.tolist(),
        tuple(map(tuple, FLOATS.tolist())),
        (row for row in FLOATS),
        SequenceClassifierOutput(logits=torch.from_numpy(FLOATS)),
        {"logits": FLOATS},
    ],
    ids=["numpy", "torch", "tensors", "lists", "tuples", "generator", "output", "dict"],
)
def test_numbers_are_read_exactly(value: Any) -> None:
    answers = read(value)
    assert answers.dtype == np.float64
    assert np.array_equal(answers, FLOATS.astype(np.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_read_exactly(dtype: torch.dtype) -> None:
    halves = torch.from_numpy(FLOATS).to(dtype)
    assert np.array_equal(read(halves), halves.double().numpy())


@pytest.mark.parametrize("value", [[1, 2.5, -3], torch.tensor([1, 2.5, -3]), [[1], [2.5], [-3]]])
def test_one_number_a_text_is_one_column(value: Any) -> None:
    assert read(value).tolist() == [[1.0], [2.5], [-3.0]]


def test_numbers_that_are_none_are_kept() -> None:
    assert np.isnan(read([[float("nan"), 1.0]], 1)[0, 0])


def test_labels_are_columns_in_one_order_whatever_the_order_they_come_in() -> None:
    reader = OutputReader("system")
    assert reader(LABELLED, 3).tolist() == ROWS
    assert reader([LABELLED[0][::-1]], 1).tolist() == [ROWS[0]]
    assert reader.labels == ("a", "b")


def test_predictions_are_read_by_their_logits(
    bundled_classifier: Callable[[str], Classifier],
) -> None:
    classifier = bundled_classifier("fp32")
    texts = ["a fine film", "a dull film"]
    assert np.array_equal(read(classifier(texts), 2), classifier.logits(texts).astype(np.float64))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (ROWS[:2], "returned 2 rows for 3 texts"),
        ([[1.0], [1.0, 2.0], [1.0]], "expected one row of numbers"),
        (["POSITIVE"] * 3, "expected one row of numbers"),
        (np.zeros((3, 2, 2)), r"ndarray \[3, 2, 2\]"),
        (None, "NoneType None"),
        ({"label": "a", "score": 1.0}, "expected one row of numbers"),
        ([{"label": "a"}] * 3, "for text 0"),
        ([LABELLED[0], LABELLED[0][:1], LABELLED[0]], r"the labels \['b'\] for text 1"),
        ([[*LABELLED[0], *LABELLED[0]]] * 3, "a label twice for text 0"),
        ([{"label": x, "score": 0.9} for x in "aba"], "only the best label .* top_k=None"),
    ],
)
def test_unreadable_outputs_are_an_error(value: Any, complaint: str) -> None:
    with pytest.raises(AuditError, match=complaint) as caught:
        read(value)
    assert str(caught.value).startswith("system: ")
    assert exit_code(caught.value) == 8


def test_columns_may_not_change_from_call_to_call() -> None:
    reader = OutputReader("system")
    reader(ROWS, 3)
    with pytest.raises(AuditError, match="returned 3 numbers per text, and 2 before"):
        reader(np.zeros((1, 3)), 1)


def test_scores_are_distinguished_from_logits() -> None:
    assert look_like_scores(np.array([[0.25, 0.75], [1.0, 0.0]]))
    assert not look_like_scores(np.array([[0.25, 0.7]]))
    assert not look_like_scores(np.array([[2.0, -1.0]]))
    assert not look_like_scores(np.array([[np.nan, 1.0]]))


def test_a_function_is_a_subject() -> None:
    batches: list[list[str]] = []

    def predict(texts: list[str]) -> list[list[dict[str, Any]]]:
        batches.append(texts)
        return [
            [
                {"label": "x", "score": 1 / (len(t) + 1)},
                {"label": "y", "score": 1 - 1 / (len(t) + 1)},
            ]
            for t in texts
        ]

    subject = subject_of(predict, "mine")
    assert (subject.name, subject.kind) == ("mine", "python")
    assert subject.gives_scores
    assert subject.labels == ("x", "y")
    assert subject.predict(["abc", ""]).tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert batches[-1] == ["abc", ""]


def test_what_a_function_raises_is_the_cause() -> None:
    def predict(texts: list[str]) -> list[float]:
        return [1 / (len(text) - 3) for text in texts]

    with pytest.raises(
        AuditError, match="predict: failed with 1 text: ZeroDivisionError"
    ) as caught:
        subject_of(predict).predict(["abc"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a module into the current folder; it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, source: str) -> None:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")

    return write


SOURCE = """
class Served:
    @staticmethod
    def predict(texts):
        import own_part
        return [own_part.number(text) for text in texts]

number = 3
"""


def test_a_function_of_the_current_folder(write_module: Callable[[str, str], None]) -> None:
    write_module("own_served", SOURCE)
    write_module("own_part", "number = len")
    before = list(sys.path)
    subject = open_subject("python:own_served:Served.predict")
    assert subject.name == "own_served:Served.predict"
    assert subject.predict(["ab", "c"]).tolist() == [[2.0], [1.0]]
    assert sys.path == before


def test_a_subject_of_the_current_folder(write_module: Callable[[str, str], None]) -> None:
    write_module(
        "own_subject",
        "from isobatch.audit.targets import subject_of\n"
        "subject = subject_of(lambda texts: [0.0 for _ in texts], 'ready')\n",
    )
    assert open_subject("python:own_subject:subject").name == "ready"


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("nowhere:predict", "python:nowhere: module not found"),
        ("own_faulty:Served.absent", "Served has no 'absent'"),
        ("own_faulty:number", "number is a int; specify a function"),
        ("own_needy:predict", "it imports absent_library, which is not installed"),
        ("own_broken:predict", "importing it failed: ZeroDivisionError"),
        ("own_faulty", "expected python:module:function"),
    ],
)
def test_a_function_that_cannot_be_found_is_an_error(
    place: str, complaint: str, write_module: Callable[[str, str], None]
) -> None:
    write_module("own_faulty", SOURCE)
    write_module("own_needy", "import absent_library")
    write_module("own_broken", "1 / 0")
    with pytest.raises(OptionError, match=complaint):
        open_subject(f"python:{place}")


@pytest.mark.parametrize(
    ("target", "options", "complaint"),
    [
        ("http://localhost:1", {"precision": "bf16"}, r"precision does not apply .*\(http\)"),
        ("http://localhost:1", {"threads": 2}, "threads does not apply"),
        ("python:a:b", {"device": "cuda"}, "device does not apply"),
        ("python:a:b", {"threads": 1}, "threads does not apply"),
        ("onnx:a.onnx", {"revision": "main"}, "it is for isobatch and transformers"),
        ("transformers:a", {"api_key": "k"}, "api_key does not apply .* it is for http"),
        ("a", {"tokenizer": "b"}, "tokenizer does not apply"),
        ("transformers:a", {"pooling": "mean"}, "pooling does not apply"),
        (None, {"dialect": "tei"}, "dialect does not apply to the bundled model"),
    ],
)
def test_an_option_that_does_not_apply_is_refused(
    target: str | None, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(OptionError, match=complaint):
        open_subject(target, **options)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("onnx:", "expected a path or name after onnx:"),
        ("keras:model", "unknown kind of target keras:"),
        ("model.onnx", "write onnx:model.onnx"),
        ("http://", "has no host"),
    ],
)
def test_a_malformed_target_is_an_error(target: str, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        open_subject(target)


def test_a_missing_graph_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        open_subject("onnx:absent/model.onnx")


@pytest.mark.parametrize("target", [None, ""])
def test_nothing_is_the_bundled_model(target: str | None) -> None:
    subject = open_subject(target)
    assert isinstance(subject, Subject)
    assert (subject.name, subject.kind) == ("bundled model", "isobatch")


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(OptionError, match=r'\'httpx\' .* pip install "isobatch\[audit\]"'):
        open_subject("http://localhost:1")


def test_a_server_is_audited_without_waiting_for_torch() -> None:
    code = (
        "import sys, isobatch.audit.auditor, isobatch.audit.targets.http_target as h; "
        "sys.exit(bool({'torch', 'transformers'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_checkpoint_that_isobatch_runs_needs_no_other_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise AssertionError(f"{name} is imported")

    monkeypatch.delitem(sys.modules, "transformers")
    monkeypatch.setattr(tokenizer_traits, "audit_library", missing)
    padded = open_subject(None).padded
    assert padded is not None
    assert len(padded.filler_ids) >= 2

"""Answers of two audits: other bits are found, measured, and explained by recorded facts alone."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from isobatch.audit import AuditReport, SavedAnswers, Subject, audit
from isobatch.audit.machine_comparison import ChangedFact, MachineComparison
from isobatch.audit.report_junit import junit_xml
from isobatch.audit.report_page import render_page
from isobatch.audit.subject import Outputs
from isobatch.errors import AuditError

TEXTS = ["a fine film", "dull <b>", "what a long evening that was", "not bad", "too loud"]
PORTABLE = {
    "arithmetic": "isobatch-1",
    "instruction set": "AVX2",
    "checkpoint": "c",
    "precision": "fp32 (the default)",
    "torch": "2",
}
OTHER_MACHINE = {"instruction set": "AVX512", "torch": "3"}

Predict = Callable[[Sequence[str]], Outputs]


def answers(texts: Sequence[str], scale: float = 1.0) -> Outputs:
    """Two logits of each text, which depend on it alone."""
    sizes = [sum(map(ord, text)) % 97 / 7 for text in texts]
    return np.array([[size * scale, 3 - size] for size in sizes], dtype=np.float64)


def moved(texts: Sequence[str]) -> Outputs:
    """One text, by less than rounding."""
    found = answers(texts)
    found[[text == TEXTS[2] for text in texts], 0] += 1e-7
    return found


def moved_far(texts: Sequence[str]) -> Outputs:
    return answers(texts, 1.5)


def refuses_one(texts: Sequence[str]) -> Outputs:
    if TEXTS[1] in texts:
        raise ValueError("refused")
    return answers(texts)


def audited(
    predict: Predict = answers,
    facts: dict[str, str] | None = None,
    compare_with: SavedAnswers | None = None,
    texts: list[str] | None = TEXTS,
    **more: Any,
) -> AuditReport:
    stated = PORTABLE if facts is None else facts
    subject = Subject("a system", "isobatch", predict, ("yes", "no"), facts=stated, **more)
    return audit(subject, texts, quick=True, compare_with=compare_with)


@pytest.fixture(scope="module")
def saved() -> SavedAnswers:
    """Through a file and back."""
    content = SavedAnswers.of(audited()).to_json()
    return SavedAnswers.from_json(content, "answers.json")


def test_the_same_bits_are_exact_though_the_machines_differ(saved: SavedAnswers) -> None:
    report = audited(facts=PORTABLE | OTHER_MACHINE, compare_with=saved)
    found = report.comparison
    assert found
    assert (found.status, found.texts, found.probes) == ("exact", (), ())
    assert found.num_texts == len(TEXTS)
    assert found.explanation == "the same bits, although these differ: instruction set, torch"
    assert ChangedFact("instruction set", "AVX2", "AVX512") in found.facts


@pytest.mark.parametrize(
    ("facts", "status", "explanation"),
    [
        ({}, "bug", "not explained: the arithmetic is isobatch-1 on both"),
        (OTHER_MACHINE, "bug", "not explained: the arithmetic is isobatch-1 on both"),
        (
            {"arithmetic": "torch 2 AVX2"},
            "drift",
            "explained by the arithmetic: isobatch-1 there, torch 2 AVX2 here",
        ),
        ({"checkpoint": "d"}, "drift", "explained by the checkpoint: c there, d here"),
        (
            {"tokenizers": "1"},
            "drift",
            "explained by the tokenizers, not recorded there, 1 here, if they produce "
            "different token ids, which are not visible: with the same ids it is a bug of Isobatch",
        ),
        ({"server version": "1"}, "drift", "explained by the server version, not recorded there"),
        ({"precision": "bf16 (as requested)"}, "drift", "explained by the precision: fp32 (the"),
        ({"precision": "fp32 (as requested)"}, "bug", "not explained: the arithmetic is"),
        ({"model": "other name"}, "bug", "not explained: the arithmetic is isobatch-1 on both"),
        ({"model type": "x", "dtype": "y"}, "bug", "not explained: the arithmetic is isobatch-1"),
    ],
)
def test_other_bits_are_explained_by_a_fact_or_a_bug(
    saved: SavedAnswers, facts: dict[str, str], status: str, explanation: str
) -> None:
    found = audited(moved, PORTABLE | facts, saved).comparison
    assert found
    assert found.status == status
    assert found.explanation.startswith(explanation)
    [changed] = found.texts
    assert changed.text == TEXTS[2]
    assert changed.largest == pytest.approx(1e-7)
    assert changed.there != changed.here
    assert "1 of 5 results moved between the two audits, by up to 1e-07" in found.summary


def test_other_tokenizers_explain_only_texts_with_other_ids() -> None:
    before = SavedAnswers.of(audited(encoded=lambda text: [1, 0]))
    saved = SavedAnswers.from_json(before.to_json(), "answers.json")
    newer = PORTABLE | {"tokenizers": "1"}

    def compared(ids: dict[str, int], facts: dict[str, str]) -> MachineComparison:
        found = audited(moved, facts, saved, encoded=lambda text: [1, ids.get(text, 0)]).comparison
        assert found
        return found

    other = compared({TEXTS[2]: 5}, newer)
    assert other.status == "drift"
    assert other.explanation == (
        "explained by the tokenizers: not recorded there, 1 here; each text with different bits "
        "has different token ids"
    )
    for ids in ({}, {TEXTS[0]: 5}):
        same = compared(ids, newer)
        assert same.status == "bug"
        assert "isobatch-1 on both, and 1 text with different bits has the same token ids" in (
            same.explanation
        )
    assert compared({TEXTS[2]: 5}, PORTABLE).status == "bug", "no fact says why the ids differ"


def test_the_model_explains_where_its_digest_is_not_known() -> None:
    server = {"arithmetic": "isobatch-1", "model": "a"}
    saved = SavedAnswers.of(audited(facts=server))
    found = audited(moved, server | {"model": "b"}, saved).comparison
    assert found
    assert (found.status, found.explanation) == (
        "drift",
        "explained by the model: a there, b here",
    )


def test_an_arithmetic_of_torch_is_no_promise_of_equal_bits() -> None:
    before = PORTABLE | {"arithmetic": "torch 2 AVX2"}
    saved = SavedAnswers.of(audited(facts=before))
    found = audited(moved, before | {"torch": "3"}, saved).comparison
    assert found
    assert found.explanation == "explained by what differs: torch: 2 there, 3 here"


def test_the_sign_of_a_zero_is_another_answer() -> None:
    def zero(texts: Sequence[str], value: float = 0.0) -> Outputs:
        found = answers(texts)
        found[[text == TEXTS[2] for text in texts], 0] = value
        return found

    saved = SavedAnswers.from_json(SavedAnswers.of(audited(zero)).to_json(), "answers.json")
    same = audited(zero, PORTABLE, saved).comparison
    assert same
    assert same.status == "exact"
    found = audited(lambda texts: zero(texts, -0.0), PORTABLE, saved).comparison
    assert found
    assert found.status == "bug"
    assert [each.text for each in found.texts] == [TEXTS[2]]


def test_more_than_rounding_is_a_bug_though_the_arithmetic_differs(saved: SavedAnswers) -> None:
    found = audited(moved_far, PORTABLE | {"arithmetic": "torch"}, saved).comparison
    assert found
    assert found.status == "bug"
    gaps = [each.largest for each in found.texts]
    assert gaps == sorted(gaps, reverse=True)


def test_without_an_arithmetic_all_facts_that_differ_explain() -> None:
    before = {"engine": "ONNX Runtime 1.20", "function": "a"}
    saved = SavedAnswers.of(audited(facts=before))
    same = audited(moved, before, saved).comparison
    assert same
    assert same.status == "bug"
    assert "not explained: no recorded fact differs" in same.explanation
    found = audited(moved, {"engine": "ONNX Runtime 1.21", "function": "b"}, saved).comparison
    assert found
    assert found.status == "drift"
    assert found.explanation == (
        "explained by what differs: engine: ONNX Runtime 1.20 there, ONNX Runtime 1.21 here"
    )


def test_a_probe_with_another_result_is_listed(saved: SavedAnswers) -> None:
    def depends_on_the_batch(texts: Sequence[str]) -> Outputs:
        return answers(texts) + (1e-7 if len(texts) > 1 else 0.0)

    found = audited(depends_on_the_batch, PORTABLE | OTHER_MACHINE, saved).comparison
    assert found
    assert (found.status, found.texts) == ("exact", ()), "alone, each text has the same bits"
    changed = {each.probe: each.status for each in found.probes}
    assert changed["batch-size"] == ("exact", "drift")


def test_a_text_without_an_answer_here_is_a_bug(saved: SavedAnswers) -> None:
    found = audited(refuses_one, PORTABLE, saved).comparison
    assert found
    assert found.status == "bug"
    assert found.summary.endswith("; 1 text has no answer here")
    assert [(each.text, each.here) for each in found.texts] == [(TEXTS[1], ())]
    assert found.num_texts == len(TEXTS)


def test_the_saved_texts_are_the_default_and_others_are_counted(saved: SavedAnswers) -> None:
    report = audited(compare_with=saved, texts=None)
    assert report.texts == saved.texts
    found = audited(compare_with=saved, texts=[*TEXTS[:2], "another text"]).comparison
    assert found
    assert found.num_texts == 2
    assert found.summary.endswith("; 3 of 5 saved texts were not sent")
    with pytest.raises(AuditError, match="none of the texts is in the saved answers"):
        audited(compare_with=saved, texts=["quite another", "and one more"])


def test_answers_of_another_kind_are_refused(saved: SavedAnswers) -> None:
    with pytest.raises(AuditError, match=r"are 2 logits, those of a system are 2 scores"):
        audited(lambda texts: answers(texts) / 100, compare_with=saved, gives_scores=True)
    with pytest.raises(AuditError, match=r"are 2 logits, those of a system are 3 logits"):
        audited(lambda texts: np.repeat(answers(texts), 2, axis=1)[:, :3], compare_with=saved)


def test_every_bit_survives_the_file() -> None:
    values = (0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, 1 / 3)
    report = replace(audited(), texts=("a", "b"), answers=(values, values))
    read = SavedAnswers.from_json(SavedAnswers.of(report).to_json(), "a.json")
    assert np.array(read.outputs).tobytes() == np.array([values, values]).tobytes()
    assert "NaN" not in SavedAnswers.of(report).to_json()


def edited(saved: SavedAnswers, **changes: object) -> str:
    return json.dumps(json.loads(saved.to_json()) | changes)


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": []},
        {"outputs": [[1.0]] * 5 + [[2.0]]},
        {"outputs": [[1.0]] * 4 + [[2.0, 3.0]]},
        {"outputs": [["x"]] * 5},
        {"outputs": [[]] * 5},
        {"texts": [1, 2, 3, 4, 5]},
        {"texts": ["a"] * 5},
        {"facts": []},
        {"probes": None},
        {"labels": 5},
        {"token_ids": ["a"]},
        {"token_ids": 5},
    ],
)
def test_a_file_that_was_edited_is_refused(saved: SavedAnswers, change: dict[str, object]) -> None:
    with pytest.raises(AuditError, match=r"a\.json: has no saved answers .* audit --save"):
        SavedAnswers.from_json(edited(saved, **change), "a.json")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"5", b'{"verdict": "exact"}', b"\xff"]
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(AuditError, match=r"a\.json: has no saved answers"):
        SavedAnswers.from_json(content, "a.json")


def test_another_format_is_refused(saved: SavedAnswers) -> None:
    with pytest.raises(AuditError, match="answers of format 2, this version reads 1"):
        SavedAnswers.from_json(edited(saved, answers=2), "a.json")


def test_json_page_and_junit_have_the_comparison(saved: SavedAnswers) -> None:
    report = audited(moved, PORTABLE | OTHER_MACHINE, saved)
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["comparison"]["status"] == "bug"
    assert plain["comparison"]["texts"][0]["text"] == TEXTS[2]
    assert "comparison" not in audited().as_dict()
    page = render_page(report)
    assert "Compared with saved answers" in page
    assert TEXTS[2] in page
    suite = ElementTree.fromstring(junit_xml(report).encode())
    assert suite.get("failures") == "1"
    [failure] = suite.iter("failure")
    assert TEXTS[2] in (failure.text or "")
    explained = audited(moved, PORTABLE | {"arithmetic": "torch"}, saved)
    assert ElementTree.fromstring(junit_xml(explained).encode()).get("failures") == "0"
    failing = ElementTree.fromstring(junit_xml(explained, "drift").encode())
    assert failing.get("failures") == "1"


def test_a_page_escapes_texts_of_a_comparison(saved: SavedAnswers) -> None:
    page = render_page(audited(refuses_one, PORTABLE, saved))
    assert "dull &lt;b&gt;" in page
    assert "dull <b>" not in page

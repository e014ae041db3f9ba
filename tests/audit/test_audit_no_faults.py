"""Systems that look faulty and are not: 16 bits behind scores, rounded scores, texts refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isobatch.audit import audit, open_subject, subject_of
from isobatch.errors import AuditError
from tests.audit.real_checkpoints import bert, bugs_of, predictor
from tests.audit.target_servers import Reply, Stand, scores, serving
from tests.tiny_checkpoints import Tiny, random_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


def test_a_refusal_is_no_fault(folder: Path) -> None:
    predict = predictor(folder, bert())

    def strict(texts: Sequence[str]) -> Any:
        for text in texts:
            if not text.strip() or len(text.split()) > 300:
                raise ValueError(f"{len(text)} characters are not asked here")
        return torch.cat([predict([text]) for text in texts])

    report = audit(subject_of(strict), quick=True)
    assert report.verdict == "exact"
    statuses = {each.probe: each.status for each in report.probes}
    assert statuses["truncation"] == "note"


def test_texts_of_one_word_have_no_other_order() -> None:
    report = audit(subject_of(lambda texts: [[len(text)] for text in texts]), ["一二三", "四五"])
    statuses = {each.probe: each.status for each in report.probes}
    assert statuses["neighbours"] == "not tested"


SCORES = {
    "softmax": (3, lambda logits: logits.float().softmax(-1)),
    "sigmoid of one": (1, lambda logits: logits.float().sigmoid()),
    "softmax of two": (2, lambda logits: logits.float().softmax(-1)),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", SCORES)
def test_sixteen_bits_behind_scores_are_drift(kind: str, dtype: Any, folder: Path) -> None:
    num_labels, after = SCORES[kind]
    model = random_model(Tiny("bert", num_labels=num_labels)).to(dtype)
    assert bugs_of(predictor(folder, model, after=after), quick=False) == []
    forgotten = predictor(folder, model, masked=False, after=after)
    assert bugs_of(forgotten, quick=False) == ["padding-counts"]


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_a_rounded_score_that_steps_is_drift(digits: int, folder: Path) -> None:
    predict = predictor(folder, bert(), after=lambda logits: logits.softmax(-1).double().numpy())

    def rounded(texts: Sequence[str]) -> Any:
        noise = 0.3 * 10.0**-digits * np.sin(1e5 * predict(texts) + max(map(len, texts)))
        return np.round(predict(texts) + (len(texts) > 1) * noise, digits)

    report = audit(subject_of(rounded))
    assert report.verdict == "drift"


def server(status: int) -> Stand:
    """It refuses empty and long texts with `status`."""

    def post(body: dict[str, Any]) -> Reply:
        texts = [
            text for each in body["inputs"] for text in ([each] if isinstance(each, str) else each)
        ]
        if any(not text or len(text) > 1000 for text in texts):
            return status, {"error": "not this text"}
        rows = [
            [{"label": n, "score": s} for n, s in zip("ab", scores(t), strict=True)] for t in texts
        ]
        return 200, rows

    return Stand({"/predict": post})


def test_a_server_that_refuses_a_text_is_audited_to_the_end() -> None:
    with serving(server(422)) as url:
        report = audit(open_subject(url), quick=True)
    assert report.verdict == "exact"
    (result,) = (each for each in report.probes if each.probe == "short-texts")
    assert "'' is refused" in result.summary


def test_a_server_that_is_busy_ends_the_audit() -> None:
    with serving(server(429)) as url, pytest.raises(AuditError, match="status 429"):
        audit(open_subject(url), quick=True)


def test_a_constant_system_cannot_be_audited() -> None:
    def constant(texts: Sequence[str]) -> list[list[float]]:
        return [[0.0, 1.0]] * len(texts)

    with pytest.raises(AuditError, match="have the same result, in which no fault could be seen"):
        audit(constant, quick=True)


def test_flipped_labels_are_not_another_order() -> None:
    """A hard label of a text is that of many others, too."""

    def predict(texts: Sequence[str]) -> list[list[float]]:
        longest = max(len(text.split()) for text in texts)
        labels = [len(text.split()) % 2 or longest > 2 * len(text.split()) for text in texts]
        return [[0.0, 1.0] if label else [1.0, 0.0] for label in labels]

    found = audit(predict, quick=True)
    assert found.verdict == "bug"
    assert "order-not-restored" not in {each.name for each in found.findings}

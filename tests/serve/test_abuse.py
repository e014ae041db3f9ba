"""Many connections, a tenth of which disconnect early: every other response is right.

A small run of benchmarks/serving/abuse.py, against a thread; the long run has a process.
"""

import asyncio
import sys
from pathlib import Path

import pytest
from claims.promise import random_texts
from serve.served import running, write_tiny

from isobatch import Classifier
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.serving.abuse import Outcome, abuse  # noqa: E402 - benchmarks/ is beside the package

REQUESTS, CONNECTIONS = 600, 64


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("tiny")))


def attack(classifier: Classifier, expected: dict[str, tuple[float, ...]]) -> Outcome:
    with running(create_app(classifier, Settings(cache_size=50))) as url:
        return asyncio.run(abuse(url, expected, num_requests=REQUESTS, num_connections=CONNECTIONS))


def test_clients_that_stay_get_the_right_logits_and_memory_is_level(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    texts = random_texts(["a", "nice", "day", "unknown"], 100, seed=5)
    outcome = attack(classifier, {text: classifier(text).logits for text in texts})
    assert outcome.passed, outcome
    assert outcome.right + outcome.left == REQUESTS
    assert 30 < outcome.left < 100
    assert caplog.text == "", "a disconnect is not an error"


def test_wrong_logits_would_be_noticed(classifier: Classifier) -> None:
    outcome = attack(classifier, {"a day": classifier("a nice day").logits})
    assert outcome.wrong > 0
    assert not outcome.passed

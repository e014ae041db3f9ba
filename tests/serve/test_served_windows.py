"""A server that reads long texts in windows."""

from collections.abc import Iterator

import httpx
import pytest
from serve.served import MAX_TOKENS, client_of, write_tiny

from isobatch import Classifier, TextWindows
from isobatch.serve.settings import Settings

LONG = "Today is a nice day but what about tomorrow " * 20
HOW = TextWindows(5)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = write_tiny(tmp_path_factory.mktemp("windows") / "tiny")
    return Classifier.from_pretrained(folder, truncation=HOW)


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[httpx.Client]:
    with client_of(classifier) as client:
        yield client


def test_a_long_text_is_read_in_windows_unless_a_request_says_otherwise(
    client: httpx.Client, classifier: Classifier
) -> None:
    answer = client.post("/predict", json={"inputs": [LONG, "a nice day"]})
    expected = classifier.logits([LONG, "a nice day"])
    assert answer.json() == [classifier.ranked(row) for row in expected]
    assert answer.headers["x-truncated-inputs"] == "0"
    prediction = classifier(LONG)
    assert prediction.num_windows > 3
    assert int(answer.headers["x-compute-tokens"]) == prediction.num_tokens + 5
    for truncate in (True, False):
        answer = client.post("/predict", json={"inputs": [LONG], "truncate": truncate})
        if truncate:
            (cut,) = classifier.logits([LONG], truncation="cut")
            assert answer.json() == [classifier.ranked(cut)]
            assert answer.headers["x-truncated-inputs"] == "1"
        else:
            assert answer.status_code == 422
            assert f"has more than {MAX_TOKENS} tokens" in answer.json()["error"]


def test_windows_count_like_the_texts_of_a_request(classifier: Classifier) -> None:
    number = classifier(LONG).num_windows
    for limit, status in ((number, 200), (number - 1, 422)):
        with client_of(classifier, Settings(max_client_batch_size=limit)) as client:
            answer = client.post("/predict", json={"inputs": LONG})
            assert answer.status_code == status
            fits = client.post("/predict", json={"inputs": LONG, "truncate": True})
            assert fits.status_code == 200
    assert answer.json()["error"].startswith(
        f"too many windows in one request (got {number}, maximum {limit}): each is counted like a "
        "text. Send fewer or shorter texts"
    )

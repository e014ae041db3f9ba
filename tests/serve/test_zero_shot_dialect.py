"""POST / with candidate_labels, compared with ZeroShotClassifier, and by Hugging Face's client."""

import math
from collections.abc import Iterator

import httpx
import pytest
from huggingface_hub import InferenceClient
from serve.served import client_of, running, write_tiny
from serve.served_kinds import write_nli
from serve.test_bodies import refused

from isobatch import Classifier, ZeroShotClassifier
from isobatch.errors import OptionError
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.tasks import ZeroShotPrediction
from isobatch.types import TextWindows

NICE = "Today is a nice day!"
WHAT = "But what about tomorrow? Im not sure."
LABELS = ["nice", "not sure", "a film"]
LONG = "day " * 100


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.from_pretrained(write_nli(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def zero_shot(classifier: Classifier) -> ZeroShotClassifier:
    return ZeroShotClassifier.from_pretrained(classifier.folder)


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[httpx.Client]:
    with client_of(classifier) as client:
        yield client


def asked(client: httpx.Client, inputs: object, **parameters: object) -> object:
    body = {"inputs": inputs, "parameters": {"candidate_labels": LABELS} | parameters}
    answer = client.post("/", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(prediction: ZeroShotPrediction) -> list[dict[str, object]]:
    return [{"label": label, "score": score} for label, score in prediction.ranked]


@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_are_ranked_as_the_pipeline_does(
    client: httpx.Client, zero_shot: ZeroShotClassifier, multi_label: bool
) -> None:
    template = "It is {}, {{really}}."
    answer = asked(client, NICE, multi_label=multi_label, hypothesis_template=template)
    expected = zero_shot(NICE, LABELS, template, multi_label)
    assert answer == listed(expected)
    assert math.isclose(sum(expected.scores.values()), 1) != multi_label


def test_several_texts_give_a_list_for_each(
    client: httpx.Client, zero_shot: ZeroShotClassifier
) -> None:
    assert asked(client, [NICE]) == [listed(zero_shot(NICE, LABELS))]
    assert asked(client, [NICE, WHAT]) == list(map(listed, zero_shot([NICE, WHAT], LABELS)))


def test_without_labels_the_checkpoint_s_own_are_scored(
    client: httpx.Client, classifier: Classifier
) -> None:
    (row,) = client.post("/", json={"inputs": NICE, "parameters": {"top_k": 1}}).json()
    assert [each["label"] for each in row] == [classifier(NICE).label]
    assert client.post("/predict", json={"inputs": NICE}).json()[0]["label"] == row[0]["label"]


@pytest.mark.parametrize("multi_label", [None, True])
def test_hugging_face_s_own_client(
    classifier: Classifier, zero_shot: ZeroShotClassifier, multi_label: bool | None
) -> None:
    with running(create_app(classifier)) as url:
        client = InferenceClient(base_url=url)
        elements = client.zero_shot_classification(
            NICE, LABELS, multi_label=multi_label, hypothesis_template="It is {}."
        )
        own = client.text_classification(NICE)
    expected = zero_shot(NICE, LABELS, "It is {}.", multi_label or False)
    assert [(each.label, each.score) for each in elements] == [*expected.ranked]
    assert own[0].label == classifier(NICE).label


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"candidate_labels": []}, "parameters.candidate_labels: the list is empty"),
        ({"candidate_labels": ["a", "a"]}, "parameters.candidate_labels: 'a' appears twice"),
        ({"candidate_labels": ["a", " "]}, "label 1 must be a text that is not empty"),
        ({"candidate_labels": "a, b"}, "a list, even of one: commas do not separate labels"),
        ({"candidate_labels": [LONG]}, "parameters.candidate_labels: the hypothesis of 'day day"),
        (
            {"hypothesis_template": "{} " + "day " * 400_000},
            "parameters.hypothesis_template: a hypothesis has 1,600,011 characters",
        ),
        ({"candidate_labels": ["a" * 10_000]}, "parameters.candidate_labels: a hypothesis has"),
        ({"hypothesis_template": "it is"}, "parameters.hypothesis_template: 'it is' must have {}"),
        ({"hypothesis_template": "{} {}"}, "must have {} once"),
        ({"hypothesis_template": "{} }"}, "parameters.hypothesis_template: '{} }' cannot be read"),
        ({"top_k": 1}, "use the first ones"),
        ({"multi_class": True}, "send multi_label"),
    ],
)
def test_what_is_not_valid_is_refused(
    client: httpx.Client, parameters: dict[str, object], message: str
) -> None:
    body = {"inputs": NICE, "parameters": {"candidate_labels": LABELS} | parameters}
    assert message in refused(client.post("/", json=body), 422)


def test_a_label_counts_as_a_text_of_the_limit(client: httpx.Client) -> None:
    labels = [f"day {number}" for number in range(11)]
    body = {"inputs": [NICE, WHAT, NICE], "parameters": {"candidate_labels": labels}}
    assert "got 33, maximum 32" in refused(client.post("/", json=body), 422)
    assert client.post("/", json=body | {"inputs": [NICE, WHAT]}).status_code == 200


def test_equal_pairs_come_from_the_cache(classifier: Classifier) -> None:
    with client_of(classifier) as client:
        first = asked(client, [NICE, NICE])
        assert "isobatch_cache_hits_total 3" in client.get("/metrics").text
        assert asked(client, NICE) == first[0]  # type: ignore[index]
        assert "isobatch_cache_hits_total 6" in client.get("/metrics").text


def test_only_the_text_is_cut(client: httpx.Client, zero_shot: ZeroShotClassifier) -> None:
    body = {"inputs": LONG, "parameters": {"candidate_labels": LABELS}}
    answer = client.post("/", json=body)
    assert answer.headers["x-truncated-inputs"] == "1"
    assert answer.json() == listed(zero_shot(LONG, LABELS))
    body["parameters"] = {"candidate_labels": LABELS, "truncation": False}
    assert "inputs: has more than" in refused(client.post("/", json=body), 422)


def test_a_server_that_reads_windows_cuts_no_premise_unasked(classifier: Classifier) -> None:
    windows = Classifier.from_pretrained(classifier.folder, truncation=TextWindows())
    body = {"inputs": LONG, "parameters": {"candidate_labels": LABELS}}
    with client_of(windows) as client:
        assert client.post("/", json=body | {"inputs": NICE}).status_code == 200
        assert '"truncation": true' in refused(client.post("/", json=body), 422)
        body["parameters"] = {"candidate_labels": LABELS, "truncation": True}
        assert client.post("/", json=body).status_code == 200


def test_labels_need_a_checkpoint_of_inference(tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("tiny")))
    body = {"inputs": NICE, "parameters": {"candidate_labels": LABELS}}
    with client_of(plain) as client:
        assert "it is not a zero-shot classifier" in refused(client.post("/", json=body), 422)


def test_the_pipeline_itself_is_not_served(zero_shot: ZeroShotClassifier) -> None:
    with pytest.raises(OptionError, match="Serve the Classifier of its checkpoint"):
        create_app(zero_shot, Settings())

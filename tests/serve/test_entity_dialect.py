"""POST / on a token classifier, compared with TokenClassifier, and by Hugging Face's client."""

from collections.abc import Iterator, Sequence

import httpx
import pytest
from huggingface_hub import InferenceClient
from serve.served import client_of, running
from serve.served_kinds import write_tagger
from serve.test_bodies import refused
from tiny_token_models import BIO

from isobatch import Entity, TokenClassifier
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.tasks import AGGREGATIONS
from isobatch.types import TextWindows

NICE = "Today is a nice day, or a gripping film?"
WHAT = "But what about tomorrow? Im not sure."
LONG = "Today was a nice day; " * 30


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> TokenClassifier:
    return TokenClassifier.from_pretrained(write_tagger(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def client(classifier: TokenClassifier) -> Iterator[httpx.Client]:
    with client_of(classifier, Settings(model_name="org/tiny")) as client:
        yield client


def asked(client: httpx.Client, inputs: object, **parameters: object) -> object:
    answer = client.post("/", json={"inputs": inputs, "parameters": parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(entities: Sequence[Entity], kind: str = "entity_group") -> list[dict[str, object]]:
    return [
        {kind: each.label, "score": each.score}
        | ({} if each.index is None else {"index": each.index})
        | {"word": each.text, "start": each.start, "end": each.end}
        for each in entities
    ]


@pytest.mark.parametrize("strategy", AGGREGATIONS)
def test_entities_are_those_of_the_pipeline(
    client: httpx.Client, classifier: TokenClassifier, strategy: str
) -> None:
    kind = "entity" if strategy == "none" else "entity_group"
    predictions = classifier([NICE, WHAT], strategy)  # type: ignore[arg-type]
    expected = [listed(each.entities, kind) for each in predictions]
    assert asked(client, [NICE, WHAT], aggregation_strategy=strategy) == expected
    assert asked(client, NICE, aggregation_strategy=strategy) == expected[0]
    assert expected[0]


def test_places_are_in_characters_of_the_text(client: httpx.Client) -> None:
    text = "Café 😀 naïve: it is a nice day"
    for entity in client.post("/", json={"inputs": text}).json():
        assert entity["word"] == text[entity["start"] : entity["end"]]


@pytest.mark.parametrize("model", ["/", "/models/org/tiny"])
def test_the_default_is_simple(
    client: httpx.Client, classifier: TokenClassifier, model: str
) -> None:
    answer = client.post(model, json={"inputs": NICE}).json()
    assert answer == listed(classifier(NICE).entities)


@pytest.mark.parametrize("strategy", AGGREGATIONS)
@pytest.mark.parametrize("ignored", [[], ["O"], ["PER"], ["O", "B-PER", "LOC"], [*BIO]])
def test_ignored_labels_are_left_out(
    client: httpx.Client, strategy: str, ignored: Sequence[str]
) -> None:
    every = asked(client, NICE, aggregation_strategy=strategy, ignore_labels=[])
    kept = asked(client, NICE, aggregation_strategy=strategy, ignore_labels=ignored)
    assert isinstance(every, list)
    key = "entity" if strategy == "none" else "entity_group"
    assert kept == [each for each in every if each[key] not in ignored]
    assert len(every) > len(asked(client, NICE, aggregation_strategy=strategy))  # type: ignore[arg-type]


def test_long_texts_are_read_in_windows(client: httpx.Client, classifier: TokenClassifier) -> None:
    assert asked(client, LONG) == listed(classifier(LONG).entities)
    assert asked(client, LONG)[-1]["end"] > 400  # type: ignore[index]
    for stride in (0, 7, 24):
        windows = classifier(LONG, truncation=TextWindows(stride))
        assert asked(client, LONG, stride=stride) == listed(windows.entities)


def test_long_texts_are_refused_where_the_server_does(classifier: TokenClassifier) -> None:
    strict = TokenClassifier.from_pretrained(classifier.folder, truncation="error")
    with client_of(strict) as client:
        answer = client.post("/", json={"inputs": [NICE, LONG]})
        said = refused(answer, 422)
        assert "inputs[1]: has more than 48 tokens" in said
        assert 'send "parameters": {"stride": 0} to read it in windows' in said
        assert asked(client, LONG, stride=0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"stride": 25}, "parameters.stride: expected at most 24, got 25"),
        ({"stride": -1}, "parameters.stride: expected at least 0"),
        ({"ignore_labels": ["MISC"]}, "no label 'MISC', only O, B-PER, I-PER, B-LOC, I-LOC, PER"),
        ({"aggregation_strategy": "last"}, "parameters.aggregation_strategy: expected 'none'"),
        ({"candidate_labels": ["a"]}, "it is not a zero-shot classifier"),
    ],
)
def test_what_is_not_valid_is_refused(
    client: httpx.Client, parameters: dict[str, object], message: str
) -> None:
    answer = client.post("/", json={"inputs": NICE, "parameters": parameters})
    assert message in refused(answer, 422)


def test_pairs_are_refused(client: httpx.Client) -> None:
    assert "inputs[0]" in refused(client.post("/", json={"inputs": [[NICE, WHAT]]}), 422)


@pytest.mark.parametrize("strategy", [None, "none", "max"])
def test_hugging_face_s_own_client(classifier: TokenClassifier, strategy: str | None) -> None:
    with running(create_app(classifier)) as url:
        client = InferenceClient(base_url=url)
        found = client.token_classification(
            NICE,
            aggregation_strategy=strategy,  # type: ignore[arg-type]
            ignore_labels=["O", "LOC", "B-LOC", "I-LOC"],
            stride=3,
        )
    predicted = classifier(NICE, strategy or "simple").entities  # type: ignore[arg-type]
    expected = [each for each in predicted if not each.label.endswith("LOC")]
    assert [
        (each.entity_group or each.entity, each.score, each.word, each.start, each.end)
        for each in found
    ] == [(each.label, each.score, each.text, each.start, each.end) for each in expected]
    assert expected

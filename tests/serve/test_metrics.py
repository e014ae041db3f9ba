"""Metrics parse and count requests, texts and failures; log lines parse."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from serve.served import JSON, client_of, write_tiny

from isobatch import Classifier
from isobatch.batching.plan import count_padding
from isobatch.serve.log_format import JsonLines, PlainLines
from isobatch.serve.prometheus import ServerMetrics
from isobatch.serve.settings import Settings

TEI_NAMES = (
    "te_request_count",
    "te_request_success",
    "te_request_failure",
    "te_request_duration",
    "te_request_tokenization_duration",
    "te_request_queue_duration",
    "te_request_inference_duration",
    "te_request_input_length",
    "te_predict_count",
    "te_predict_success",
    "te_queue_size",
    "te_batch_next_size",
    "te_batch_next_tokens",
)
OWN_NAMES = (
    "isobatch_padding_tokens_avoided",
    "isobatch_truncated_inputs",
    "isobatch_cache_hits",
    "isobatch_cache_size",
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def client(classifier: Classifier) -> Iterator[httpx.Client]:
    with client_of(classifier) as client:
        yield client


def readings(client: httpx.Client) -> dict[str, float]:
    """Every sample by its name and label."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        f"{sample.name}{''.join(f'/{value}' for value in sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_every_name_is_there_from_the_start(client: httpx.Client) -> None:
    families = {family.name for family in text_string_to_metric_families(_text(client))}
    assert families >= {*TEI_NAMES, *OWN_NAMES, "process_resident_memory_bytes"}


def _text(client: httpx.Client) -> str:
    return client.get("/metrics").text


def test_requests_texts_tokens_and_failures_are_counted(
    client: httpx.Client, classifier: Classifier
) -> None:
    texts = ["a day", "today", "a " * 100]
    assert client.post("/predict", json={"inputs": texts}).status_code == 200
    assert client.post("/v1/classify", json={"input": "a day"}).status_code == 200
    assert client.post("/", json={"inputs": "a day"}).status_code == 200
    assert client.post("/predict", json={"inputs": 1}).status_code == 422
    lone = b'{"inputs": [["a"], 1]}'
    assert client.post("/predict", content=lone, headers=JSON).status_code == 422
    assert client.post("/rerank", json={"query": "q", "texts": ["a"]}).status_code == 424
    assert client.post("/predict", json={"inputs": []}).status_code == 400
    now = readings(client)
    assert now["te_request_count/single"] == now["te_request_success/single"] == 2
    assert (now["te_request_count/batch"], now["te_request_success/batch"]) == (2, 1)
    assert now["te_request_failure/validation"] == 3
    assert now["te_request_failure/model_type"] == 1
    assert now["te_predict_count"] == now["te_predict_success"] == 5
    for name in ("", "tokenization_", "queue_", "inference_"):
        assert now[f"te_request_{name}duration_count"] == 3
        assert now[f"te_request_{name}duration_sum"] > 0
    lengths = [classifier(text).num_tokens for text in texts]
    short = classifier("a day").num_tokens
    assert now["te_request_input_length_count"] == 5
    assert now["te_request_input_length_sum"] == sum(lengths) + 2 * short
    assert now["te_batch_next_size_count"] == 3
    assert now["te_batch_next_tokens_sum"] == sum(lengths) + 2 * short
    assert now["isobatch_padding_tokens_avoided_total"] == count_padding(lengths) > 0
    assert now["isobatch_truncated_inputs_total"] == 1
    assert now["isobatch_cache_hits_total"] == 2
    assert now["isobatch_cache_size"] == 3
    assert now["te_queue_size"] == 0


def test_times_are_those_of_the_headers(client: httpx.Client) -> None:
    headers = client.post("/predict", json={"inputs": "a day"}).headers
    now = readings(client)
    for name, part in (("", "total"), ("tokenization_", "tokenization"), ("queue_", "queue")):
        seconds = now[f"te_request_{name}duration_sum"]
        assert float(headers[f"x-{part}-time"]) == pytest.approx(seconds * 1000, abs=0.001)


def test_without_a_cache_nothing_is_cached(classifier: Classifier) -> None:
    with client_of(classifier, Settings(cache_size=0)) as client:
        for _ in range(3):
            client.post("/predict", json={"inputs": "a day"})
        now = readings(client)
    assert now["isobatch_cache_hits_total"] == 0
    assert "isobatch_cache_size" not in now


def test_the_cache_is_bounded(classifier: Classifier) -> None:
    with client_of(classifier, Settings(cache_size=2)) as client:
        for text in ("a", "b", "c", "d"):
            client.post("/predict", json={"inputs": text})
        assert readings(client)["isobatch_cache_size"] == 2


def test_a_histogram_counts_into_the_first_bucket_that_reaches_a_value() -> None:
    metrics = ServerMetrics(None, lambda: 0)
    for value in (0.5, 1.0, 1.5, 4.0, 100.0):
        metrics.batch_size.observe(value)
    samples = {sample.labels.get("le"): sample.value for sample in samples_of(metrics, SIZE_BUCKET)}
    assert [samples[end] for end in ("1.0", "2.0", "4.0", "+Inf")] == [2, 3, 4, 5]


def test_a_count_with_labels_starts_empty_and_one_without_at_zero() -> None:
    metrics = ServerMetrics(None, lambda: 0)
    assert samples_of(metrics, "te_request_failure") == []
    (sample,) = samples_of(metrics, "te_predict_count")
    assert sample.value == 0


def test_counters_and_histograms_have_no_series_that_tei_lacks() -> None:
    metrics = ServerMetrics(None, lambda: 0)
    metrics.failures.labels("validation").inc()
    text = metrics.exposition().decode()
    assert 'te_request_failure{err="validation"} 1.0' in text
    assert "# TYPE te_request_failure untyped" in text
    assert "_created" not in text
    assert "te_request_failure_total" not in text


SIZE_BUCKET = "te_batch_next_size_bucket"


def samples_of(metrics: ServerMetrics, name: str) -> list[Sample]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return [each for family in families for each in family.samples if each.name == name]


@pytest.mark.parametrize("formatter", [PlainLines(), JsonLines()])
def test_an_error_is_logged_with_its_place_and_without_its_message(
    formatter: logging.Formatter,
) -> None:
    try:
        raise ValueError("what somebody wrote")
    except ValueError:
        record = logging.LogRecord("isobatch", 40, "", 0, "it failed", None, sys.exc_info())
    line = formatter.format(record)
    assert "it failed" in line
    assert "ValueError" in line
    assert Path(__file__).name in line
    assert "what somebody wrote" not in line


def test_a_json_line_is_one_line_and_a_plain_one_names_the_time() -> None:
    record = logging.LogRecord("isobatch", 20, "", 0, "two\nlines é", None, None)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "two\nlines é"
    assert PlainLines().format(record).partition(" ")[0].endswith("Z")


def test_a_request_may_bypass_the_cache(classifier: Classifier) -> None:
    with client_of(classifier) as client:
        answers = [
            client.post("/predict", json={"inputs": ["a day", "a day"]}, headers=headers).json()
            for headers in ({}, {"Cache-Control": "no-cache"}, {"cache-control": "no-store"}, {})
        ]
        now = readings(client)
    assert answers == [answers[0]] * 4
    assert now["isobatch_cache_hits_total"] == 3, "one in the first request, two in the last"

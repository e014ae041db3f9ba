"""Every API's requests and responses, compared with the classifier itself."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from huggingface_hub import InferenceClient
from serve.served import MAX_TOKENS, THREE_LABELS, client_of, running, write_tiny
from tiny_checkpoints import Tiny
from tokenizers import Tokenizer

from isobatch import Classifier, Prediction, TextWindows
from isobatch.batching.cache import Output
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings
from isobatch.tasks import score_logits
from isobatch.types import Encoding, TextInput

NICE = "Today is a nice day!"
WHAT = "But what about tomorrow? Im not sure."
LONG = "day " * 100

KINDS = {
    "three labels": THREE_LABELS,
    "multi-label": Tiny("bert", num_labels=3, problem_type="multi_label_classification"),
    "regression": Tiny("bert", num_labels=1, problem_type="regression"),
    "single label": Tiny("bert", num_labels=1),
}


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Classifier]:
    return {
        kind: Classifier.from_pretrained(write_tiny(tmp_path_factory.mktemp("tiny"), tiny))
        for kind, tiny in KINDS.items()
    }


@pytest.fixture(scope="module")
def classifier(classifiers: dict[str, Classifier]) -> Classifier:
    return classifiers["three labels"]


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[httpx.Client]:
    with client_of(classifier, Settings(model_name="org/tiny")) as client:
        yield client


@pytest.fixture(scope="module")
def reranker(classifiers: dict[str, Classifier]) -> Iterator[httpx.Client]:
    with client_of(classifiers["single label"]) as client:
        yield client


def asked(client: httpx.Client, path: str, **body: object) -> object:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def ranked(prediction: Prediction) -> list[dict[str, object]]:
    scores = sorted(prediction.scores.items(), key=lambda each: -each[1])
    return [{"label": label, "score": score} for label, score in scores]


def by_logits(classifier: Classifier, text: TextInput) -> list[dict[str, object]]:
    logits = zip(classifier.labels, classifier(text).logits, strict=True)
    return [
        {"label": label, "score": value} for label, value in sorted(logits, key=lambda x: -x[1])
    ]


class TestPredict:
    def test_a_single_text_is_one_list_of_labels_the_highest_first(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        assert asked(client, "/predict", inputs=NICE) == ranked(classifier(NICE))

    def test_two_texts_in_a_list_are_a_batch_of_two(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        expected = [ranked(classifier(NICE)), ranked(classifier(WHAT))]
        assert asked(client, "/predict", inputs=[NICE, WHAT]) == expected

    def test_a_list_of_one_is_a_batch_of_one(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        assert asked(client, "/predict", inputs=[NICE]) == [ranked(classifier(NICE))]

    def test_a_list_in_a_list_is_a_pair(self, client: httpx.Client, classifier: Classifier) -> None:
        pair = ranked(classifier((NICE, WHAT)))
        assert pair != ranked(classifier(NICE))
        assert asked(client, "/predict", inputs=[[NICE, WHAT]]) == [pair]

    def test_texts_and_pairs_may_be_mixed(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        inputs = [[NICE], [NICE, WHAT], WHAT, {"text": WHAT, "text_pair": NICE}]
        expected = [classifier(each) for each in (NICE, (NICE, WHAT), WHAT, (WHAT, NICE))]
        assert asked(client, "/predict", inputs=inputs) == list(map(ranked, expected))

    def test_raw_scores_are_the_logits_to_the_last_bit(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        answer = asked(client, "/predict", inputs=NICE, raw_scores=True)
        assert answer == by_logits(classifier, NICE)

    @pytest.mark.parametrize("text", ["", " ", "\x00", "a\x00b", "\u202e😀", "é" * 5000])
    def test_any_unicode_text_is_a_text(
        self, client: httpx.Client, classifier: Classifier, text: str
    ) -> None:
        assert asked(client, "/predict", inputs=text) == ranked(classifier(text))

    def test_a_long_text_is_truncated_and_the_response_says_so(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        for truncate in (None, True):
            body = {"inputs": [LONG, NICE], "truncate": truncate, "truncation_direction": "right"}
            answer = client.post("/predict", json=body)
            assert answer.json()[0] == ranked(classifier(LONG))
            assert answer.headers["x-truncated-inputs"] == "1"

    def test_a_long_text_is_refused_without_truncation(self, client: httpx.Client) -> None:
        answer = client.post("/predict", json={"inputs": [NICE, LONG], "truncate": False})
        assert answer.status_code == 422
        assert answer.json()["error_type"] == "Validation"
        assert f"inputs[1]: has more than {MAX_TOKENS} tokens" in answer.json()["error"]

    def test_info_says_how_long_texts_are_read(self, classifier: Classifier) -> None:
        windows = Classifier.from_pretrained(classifier.folder, truncation=TextWindows(5, "max"))
        with client_of(windows) as client:
            stated = client.get("/info").json()["truncation"]
        assert stated == {"stride": 5, "pooling": "max"}

    def test_the_server_s_default_may_be_to_refuse(self, classifier: Classifier) -> None:
        strict = Classifier.from_pretrained(classifier.folder, truncation="error")
        with client_of(strict) as client:
            info = client.get("/info").json()
            assert (info["auto_truncate"], info["truncation"]) == (False, "error")
            assert client.post("/predict", json={"inputs": LONG}).status_code == 422
            answer = client.post("/predict", json={"inputs": LONG, "truncate": True})
            assert answer.json() == ranked(classifier(LONG))

    def test_headers_have_the_times_and_sizes(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        headers = client.post("/predict", json={"inputs": [NICE, [WHAT, "é"]]}).headers
        tokens = classifier(NICE).num_tokens + classifier((WHAT, "é")).num_tokens
        assert int(headers["x-compute-tokens"]) == tokens
        assert int(headers["x-compute-characters"]) == len(NICE) + len(WHAT) + 1
        assert headers["x-compute-type"] == "cpu"
        assert headers["x-truncated-inputs"] == "0"
        names = ("total", "tokenization", "queue", "inference")
        total, *parts = (float(headers[f"x-{name}-time"]) for name in names)
        assert all(part >= 0 for part in parts)
        assert 0 < sum(parts) <= total < 10_000
        assert float(headers["x-compute-time"]) == total


@pytest.mark.parametrize("kind", KINDS)
def test_scores_follow_the_checkpoint_s_problem_type(
    kind: str, classifiers: dict[str, Classifier]
) -> None:
    classifier = classifiers[kind]
    with client_of(classifier) as client:
        scores = {
            str(each["label"]): each["score"]
            for each in client.post("/predict", json={"inputs": NICE}).json()
        }
        raw = client.post("/predict", json={"inputs": NICE, "raw_scores": True}).json()
    logits = classifier(NICE).logits
    assert scores == classifier(NICE).scores
    assert raw == by_logits(classifier, NICE)
    total = math.fsum(scores.values())
    assert (abs(total - 1) < 1e-12) == (kind == "three labels"), "only softmax sums to 1"
    assert ([*scores.values()] == [*logits]) == (kind == "regression")


class TestRerank:
    texts = ("A day.", NICE, "Not sure, not sure.", NICE)

    def test_ranks_fall_and_equal_texts_have_equal_scores(
        self, reranker: httpx.Client, classifiers: dict[str, Classifier]
    ) -> None:
        answer = asked(reranker, "/rerank", query=WHAT, texts=self.texts)
        scores = [classifiers["single label"]((WHAT, text)).score for text in self.texts]
        order = sorted(range(4), key=lambda index: -scores[index])
        assert answer == [{"index": n, "score": scores[n]} for n in order]
        assert scores[1] == scores[3]

    def test_texts_are_included_and_scores_left_raw_on_request(
        self, reranker: httpx.Client, classifiers: dict[str, Classifier]
    ) -> None:
        body = {"query": WHAT, "texts": self.texts[:2], "return_text": True, "raw_scores": True}
        ranks = reranker.post("/rerank", json=body).json()
        for rank in ranks:
            text = self.texts[rank["index"]]
            assert rank["text"] == text
            assert rank["score"] == classifiers["single label"]((WHAT, text)).logits[0]

    def test_a_model_with_several_labels_is_not_a_reranker(self, client: httpx.Client) -> None:
        answer = client.post("/rerank", json={"query": "q", "texts": ["a"]})
        assert answer.status_code == 424
        assert answer.json()["error_type"] == "Backend"
        assert "3 labels" in answer.json()["error"]

    def test_info_says_what_the_model_is(
        self, client: httpx.Client, reranker: httpx.Client, classifier: Classifier
    ) -> None:
        labels = {str(index): label for index, label in enumerate(classifier.labels)}
        assert client.get("/info").json()["model_type"]["classifier"]["id2label"] == labels
        assert "reranker" in reranker.get("/info").json()["model_type"]


class TestClassify:
    def test_one_text_in_vllm_s_shape(self, client: httpx.Client, classifier: Classifier) -> None:
        expected = classifier(NICE)
        answer = client.post("/v1/classify", json={"model": "org/tiny", "input": NICE}).json()
        assert answer.keys() == {"id", "object", "created", "model", "data", "usage"}
        assert answer["id"].startswith("classify-")
        assert (answer["object"], answer["model"]) == ("list", "org/tiny")
        probs = list(expected.scores.values())
        assert answer["data"] == [
            {"index": 0, "label": expected.label, "probs": probs, "num_classes": 3}
        ]
        assert answer["usage"]["prompt_tokens"] == expected.num_tokens
        assert answer["usage"]["total_tokens"] == expected.num_tokens

    @pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
    def test_several_texts_keep_their_order(
        self, client: httpx.Client, classifier: Classifier, path: str
    ) -> None:
        data = client.post(path, json={"input": [WHAT, NICE, WHAT]}).json()["data"]
        assert [each["index"] for each in data] == [0, 1, 2]
        expected = [list(classifier(text).scores.values()) for text in (WHAT, NICE, WHAT)]
        assert [each["probs"] for each in data] == expected

    def test_without_activation_they_are_logits(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        body = {"input": NICE, "use_activation": False}
        (data,) = client.post("/v1/classify", json=body).json()["data"]
        assert tuple(data["probs"]) == classifier(NICE).logits

    def test_other_fields_of_vllm_s_clients_are_accepted(self, client: httpx.Client) -> None:
        more = {"user": "me", "priority": 3, "truncate_prompt_tokens": -1, "request_id": "x1"}
        answer = client.post("/v1/classify", json={"input": NICE, **more})
        assert (answer.status_code, answer.json()["id"]) == (200, "classify-x1")

    def test_another_model_is_404(self, client: httpx.Client) -> None:
        answer = client.post("/v1/classify", json={"input": NICE, "model": "gpt"})
        assert answer.status_code == 404
        assert "org/tiny" in answer.json()["error"]

    @pytest.mark.parametrize(
        "field", [{"input": [1, 2]}, {"truncate_prompt_tokens": 7}, {"add_special_tokens": False}]
    )
    def test_unsupported_options_are_refused(
        self, client: httpx.Client, field: dict[str, object]
    ) -> None:
        answer = client.post("/v1/classify", json={"input": NICE} | field)
        assert answer.status_code == 422
        assert next(iter(field)) in answer.json()["error"]

    def test_models_lists_the_one(self, client: httpx.Client) -> None:
        (model,) = client.get("/v1/models").json()["data"]
        assert (model["id"], model["max_model_len"]) == ("org/tiny", MAX_TOKENS)


class TestInference:
    def test_a_single_text_has_a_list_around_it(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        assert asked(client, "/", inputs=NICE) == [ranked(classifier(NICE))]
        assert asked(client, "/models/org/tiny", inputs=NICE) == [ranked(classifier(NICE))]

    @pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
    def test_the_requested_function_is_applied(
        self, client: httpx.Client, classifier: Classifier, function: str
    ) -> None:
        answer = asked(client, "/", inputs=NICE, parameters={"function_to_apply": function})
        scores = score_logits(classifier(NICE).logits, function)
        expected = sorted(zip(classifier.labels, scores, strict=True), key=lambda each: -each[1])
        assert answer == [[{"label": label, "score": score} for label, score in expected]]

    def test_top_k_leaves_the_highest(self, client: httpx.Client, classifier: Classifier) -> None:
        for top_k in (1, 2, 99):
            answer = asked(client, "/", inputs=[NICE, WHAT], parameters={"top_k": top_k})
            assert answer == [ranked(classifier(text))[:top_k] for text in (NICE, WHAT)]

    def test_pairs_as_pipelines_name_them(
        self, client: httpx.Client, classifier: Classifier
    ) -> None:
        pair = {"text": NICE, "text_pair": WHAT}
        assert asked(client, "/", inputs=pair) == [ranked(classifier((NICE, WHAT)))]

    def test_truncation_can_be_refused(self, client: httpx.Client) -> None:
        body = {"inputs": LONG, "parameters": {"truncation": False}}
        assert client.post("/", json=body).status_code == 422

    def test_the_service_s_own_options_are_accepted(self, client: httpx.Client) -> None:
        options = {"wait_for_model": True, "use_cache": False}
        assert client.post("/", json={"inputs": NICE, "options": options}).status_code == 200

    def test_another_model_is_404(self, client: httpx.Client) -> None:
        assert client.post("/models/other", json={"inputs": NICE}).status_code == 404


def test_info_has_the_commit_of_a_model_from_the_hub(tmp_path: Path, client: httpx.Client) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--org--tiny" / "snapshots" / commit
    folder.mkdir(parents=True)
    with client_of(Classifier.from_pretrained(write_tiny(folder))) as other:
        assert other.get("/info").json()["model_sha"] == commit
    assert client.get("/info").json()["model_sha"] is None, "a folder has none"


@pytest.mark.parametrize("word", ["base_url", "model"])
def test_hugging_face_s_own_client_works_unchanged(classifier: Classifier, word: str) -> None:
    with running(create_app(classifier)) as url:
        client = InferenceClient(**{word: url})
        elements = client.text_classification(NICE)
        top = client.text_classification(NICE, top_k=1, function_to_apply="none")
    expected = ranked(classifier(NICE))
    assert [{"label": each.label, "score": each.score} for each in elements] == expected
    assert [(each.label, each.score) for each in top] == [
        (classifier(NICE).label, max(classifier(NICE).logits))
    ]


def test_hugging_face_s_own_client_sends_its_key(classifier: Classifier) -> None:
    with running(create_app(classifier, Settings(api_key="hf_secret"))) as url:
        client = InferenceClient(base_url=url, api_key="hf_secret")
        assert client.text_classification(NICE)[0].label == classifier(NICE).label


class FailsOnOne(Classifier):
    """The logits of "bad" are not finite, and the model raises on "worse"."""

    def _compute(self, encodings: Sequence[Encoding]) -> list[Output]:
        bad, worse = ([*each.input_ids] for each in self._encode(["bad", "worse"], None))
        if worse in [[*each.input_ids] for each in encodings]:
            raise RuntimeError("a kernel failed")
        rows = zip(encodings, super()._compute(encodings), strict=True)
        return [row * (math.nan if [*each.input_ids] == bad else 1) for each, row in rows]


@pytest.mark.parametrize(("text", "reason"), [("bad", "not finite"), ("worse", "a kernel failed")])
def test_a_text_without_logits_fails_its_own_request_alone(
    text: str, reason: str, tmp_path: Path
) -> None:
    broken = FailsOnOne.from_pretrained(write_tiny(tmp_path))
    settings = Settings(max_wait_ms=300)  # so that all requests are in one batch
    with client_of(broken, settings) as client, ThreadPoolExecutor(4) as pool:
        bodies = [{"inputs": each} for each in (NICE, text, [NICE, text], WHAT)]
        first, failed, mixed, last = pool.map(
            lambda body: client.post("/predict", json=body), bodies
        )
    assert [each.status_code for each in (first, failed, mixed, last)] == [200, 424, 424, 200]
    assert first.json() == ranked(broken(NICE))
    assert last.json() == ranked(broken(WHAT))
    assert reason in failed.json()["error"]
    assert mixed.json()["error"].startswith("inputs[1]: ")
    assert mixed.json()["error"].endswith("send it without this one")


def test_a_broken_model_is_not_the_fault_of_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier.from_pretrained(write_tiny(tmp_path))

    def broken(encodings: Sequence[Encoding]) -> list[Output]:
        raise RuntimeError("CUDA error: a secret of the server")

    with client_of(classifier) as client:
        with monkeypatch.context() as patch:
            patch.setattr(classifier, "_compute", broken)
            failed = client.post("/predict", json={"inputs": [NICE, WHAT]})
        again = client.post("/predict", json={"inputs": NICE})
    assert (failed.status_code, again.status_code) == (424, 200)
    assert failed.json()["error"] == "the model failed; see the server's log"
    assert "RuntimeError: CUDA error: a secret of the server" in caplog.text


@pytest.mark.filterwarnings("ignore::isobatch.errors.MissingEmbeddingWarning")
def test_a_token_without_an_embedding_is_an_error_of_its_text(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    size = Classifier.from_pretrained(folder).config.encoder.vocab_size
    missing = size - tokenizer.get_vocab_size()
    tokenizer.add_tokens([*(f"[filling {number}]" for number in range(missing)), "[URL]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with client_of(Classifier.from_pretrained(folder)) as client:
        failed = client.post("/predict", json={"inputs": [[NICE], ["a [URL]"], [WHAT]]})
        assert failed.status_code == 422
        assert f"inputs[1]: token '[URL]' has id {size}" in failed.json()["error"]
        assert client.post("/predict", json={"inputs": NICE}).status_code == 200

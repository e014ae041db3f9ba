"""POST /embed and /v1/embeddings, compared with Embedder, and by the clients of both APIs."""

import base64
from collections.abc import Iterator

import httpx
import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient
from serve.served import client_of, running
from serve.served_kinds import PROMPTS, write_embedder, write_plain_embedder
from serve.test_bodies import refused

from isobatch import Embedder
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

NICE = "Today is a nice day!"
WHAT = "But what about tomorrow? Im not sure."
TEXTS = [NICE, WHAT, "a film"]
LONG = "day " * 100


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder.from_pretrained(write_embedder(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """Its vectors are not normalized."""
    return Embedder.from_pretrained(write_plain_embedder(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def client(embedder: Embedder) -> Iterator[httpx.Client]:
    with client_of(embedder, Settings(model_name="org/tiny")) as client:
        yield client


@pytest.fixture(scope="module")
def plain_client(plain: Embedder) -> Iterator[httpx.Client]:
    with client_of(plain) as client:
        yield client


@pytest.fixture(scope="module")
def openai_client(client: httpx.Client) -> Iterator[openai.OpenAI]:
    url = str(client.base_url).rstrip("/")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def asked(client: httpx.Client, path: str, **body: object) -> object:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestEmbed:
    @pytest.mark.parametrize("path", ["/embed", "/", "/models/org/tiny"])
    def test_a_vector_for_each_text_to_the_last_bit(
        self, client: httpx.Client, embedder: Embedder, path: str
    ) -> None:
        assert asked(client, path, inputs=TEXTS) == embedder(TEXTS).tolist()
        assert asked(client, path, inputs=NICE) == [embedder(NICE).tolist()]

    def test_plain_vectors_are_normalized_unless_the_request_says_no(
        self, plain_client: httpx.Client, plain: Embedder
    ) -> None:
        normalizing = Embedder.from_pretrained(plain.folder, normalize=True)
        assert asked(plain_client, "/embed", inputs=TEXTS) == normalizing(TEXTS).tolist()
        raw = asked(plain_client, "/embed", inputs=TEXTS, normalize=False)
        assert raw == plain(TEXTS).tolist()
        assert raw != normalizing(TEXTS).tolist()

    def test_normalized_vectors_cannot_be_had_without(self, client: httpx.Client) -> None:
        answer = client.post("/embed", json={"inputs": NICE, "normalize": False})
        assert "start the server with --no-normalize" in refused(answer, 422)

    @pytest.mark.parametrize("name", PROMPTS)
    def test_a_prompt_is_put_in_front(
        self, client: httpx.Client, embedder: Embedder, name: str
    ) -> None:
        prompted = asked(client, "/embed", inputs=TEXTS, prompt_name=name)
        assert prompted == embedder(TEXTS, prompt_name=name).tolist()
        assert prompted == embedder([PROMPTS[name] + text for text in TEXTS]).tolist()

    def test_long_texts_are_cut_or_refused(self, client: httpx.Client, embedder: Embedder) -> None:
        answer = client.post("/embed", json={"inputs": [NICE, LONG], "truncate": True})
        assert answer.headers["x-truncated-inputs"] == "1"
        assert answer.json()[1] == embedder(LONG).tolist()
        answer = client.post("/embed", json={"inputs": [NICE, LONG], "truncate": False})
        assert "inputs[1]: has more than 48 tokens" in refused(answer, 422)

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"prompt_name": "other"}, "no prompt 'other', only query, passage"),
            ({"dimensions": 8}, "dimensions: the checkpoint's vectors have 32 numbers, got 8"),
            ({"inputs": [[1, 2]]}, "inputs: expected a text or a list of texts, got token ids"),
            ({"inputs": [["a", "b"]]}, "inputs[0]: expected a text, got a list"),
            ({"truncation_direction": "Left"}, "cuts texts that are too long on the right"),
            ({"encoding_format": "base64"}, "/v1/embeddings takes it"),
            ({"prompt": "query: "}, "send the name of one as prompt_name"),
        ],
    )
    def test_what_is_not_supported_is_refused(
        self, client: httpx.Client, more: dict[str, object], message: str
    ) -> None:
        assert message in refused(client.post("/embed", json={"inputs": NICE} | more), 422)

    def test_hugging_face_s_own_client(self, embedder: Embedder) -> None:
        with running(create_app(embedder)) as url:
            client = InferenceClient(base_url=url)
            one = client.feature_extraction(NICE, normalize=True, truncate=True)
            prompted = client.feature_extraction(NICE, prompt_name="query")
        assert np.array_equal(one[0], embedder(NICE))
        assert np.array_equal(prompted[0], embedder(NICE, prompt_name="query"))


class TestOpenAI:
    def test_the_client_s_own_format_is_base64(
        self, openai_client: openai.OpenAI, embedder: Embedder
    ) -> None:
        answer = openai_client.embeddings.create(input=TEXTS, model="org/tiny")
        vectors = np.array([each.embedding for each in answer.data], dtype=np.float32)
        assert np.array_equal(vectors, embedder(TEXTS))
        assert [each.index for each in answer.data] == [0, 1, 2]
        assert (answer.object, answer.model) == ("list", "org/tiny")
        tokens = sum(map(len, embedder.tokenize(TEXTS)))  # type: ignore[arg-type]
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)

    def test_numbers_are_the_same(self, openai_client: openai.OpenAI, embedder: Embedder) -> None:
        answer = openai_client.embeddings.create(
            input=NICE, model="org/tiny", encoding_format="float", dimensions=32, user="me"
        )
        assert answer.data[0].embedding == embedder(NICE).tolist()

    def test_base64_holds_float32(self, client: httpx.Client, embedder: Embedder) -> None:
        body = {"input": NICE, "encoding_format": "base64"}
        (item,) = client.post("/v1/embeddings", json=body).json()["data"]
        held = np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4")
        assert held.tobytes() == embedder(NICE).astype("<f4").tobytes()

    def test_errors_reach_the_client(self, openai_client: openai.OpenAI) -> None:
        with pytest.raises(openai.UnprocessableEntityError, match="have 32 numbers, got 8"):
            openai_client.embeddings.create(input=NICE, model="org/tiny", dimensions=8)
        with pytest.raises(openai.NotFoundError, match="only 'org/tiny'"):
            openai_client.embeddings.create(input=NICE, model="other")
        with pytest.raises(openai.UnprocessableEntityError, match="check_embedding_ctx_length"):
            openai_client.embeddings.create(input=[[1, 2], [3]], model="org/tiny")

    def test_errors_before_the_body_is_read_too(self, embedder: Embedder) -> None:
        with client_of(embedder, Settings(api_key="k")) as client:
            answer = client.post("/v1/embeddings", json={"input": NICE})
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["code"]) == (401, "Unauthorized", 401)

    def test_models_are_listed(self, openai_client: openai.OpenAI) -> None:
        (model,) = openai_client.models.list().data
        assert model.id == "org/tiny"

    def test_plain_vectors_stay_plain(self, plain_client: httpx.Client, plain: Embedder) -> None:
        """As the checkpoint says, and not as /embed's default."""
        (item,) = plain_client.post("/v1/embeddings", json={"input": NICE}).json()["data"]
        assert item["embedding"] == plain(NICE).tolist()

    def test_long_texts_are_refused_where_the_server_does(self, embedder: Embedder) -> None:
        strict = Embedder.from_pretrained(embedder.folder, truncation="error")
        with client_of(strict) as client:
            answer = client.post("/v1/embeddings", json={"input": LONG})
            assert answer.status_code == 422
            assert 'send "truncate_prompt_tokens": -1' in answer.json()["error"]["message"]
            body = {"input": LONG, "truncate_prompt_tokens": -1}
            (item,) = client.post("/v1/embeddings", json=body).json()["data"]
        assert item["embedding"] == embedder(LONG).tolist()

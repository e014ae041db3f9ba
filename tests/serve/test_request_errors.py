"""Messages of refused requests: the field, its place and a fix, which is sent and works."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serve.served import JSON, MAX_TOKENS, client_of, write_tiny
from serve.test_bodies import refused
from tiny_checkpoints import Tiny

from isobatch import Classifier

LONG = "day " * 100
TOO_LONG = f"has more than {MAX_TOKENS} tokens, the maximum of this model. Shorten it, or send "
TEI_FIELDS = "/predict takes inputs, truncate, truncation_direction, raw_scores"
HF_PARAMETERS = "parameters takes function_to_apply, top_k, truncation"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a single label, so that every route accepts valid requests."""
    return write_tiny(tmp_path_factory.mktemp("tiny"), Tiny("bert", num_labels=1))


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    """Refuses long texts unless the request allows to cut them."""
    with client_of(Classifier.from_pretrained(folder, truncation="error")) as client:
        yield client


def posted(client: httpx.Client, path: str, body: object) -> httpx.Response:
    """Send JSON in ASCII, in which lone surrogates can be sent too."""
    return client.post(path, content=json.dumps(body).encode(), headers=JSON)


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/predict", {"inputs": LONG}, "inputs"),
        ("/predict", {"inputs": ["a", ["b", LONG]]}, "inputs[1]"),
        ("/rerank", {"query": "a", "texts": ["b", LONG]}, "texts[1]"),
        ("/", {"inputs": LONG}, "inputs"),
        ("/models/default", {"inputs": [LONG]}, "inputs[0]"),
        ("/v1/classify", {"input": LONG}, "input"),
        ("/classify", {"input": ["a", LONG]}, "input[1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_long_text_names_the_field_that_cuts_it_and_following_it_works(
    client: httpx.Client, path: str, body: dict[str, object], place: str
) -> None:
    message = refused(posted(client, path, body), 422)
    assert message.startswith(f"{place}: {TOO_LONG}")
    (field,) = re.findall(r"or send (.*) to cut it$", message)
    answer = posted(client, path, body | json.loads(f"{{{field}}}"))
    assert answer.status_code == 200
    assert answer.headers["x-truncated-inputs"] == "1"


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/predict", {"inputs": "a\ud800"}, "inputs"),
        ("/predict", {"inputs": ["a", {"text": "b", "text_pair": "\udfff"}]}, "inputs[1]"),
        ("/rerank", {"query": "\ud800", "texts": ["a"]}, "query"),
        ("/rerank", {"query": "a", "texts": ["b", "\ud800"]}, "texts[1]"),
        ("/", {"inputs": ["\ud800"]}, "inputs[0]"),
        ("/v1/classify", {"input": ["a", "\ud800"]}, "input[1]"),
    ],
    ids=ascii,
)
def test_a_lone_surrogate_is_an_error_of_the_tokenizer_with_its_place(
    client: httpx.Client, path: str, body: object, place: str
) -> None:
    message = refused(posted(client, path, body), 422, "Tokenizer")
    assert message.startswith(f"{place}: character ")
    assert "lone surrogate" in message
    paired = client.post("/predict", content=b'{"inputs": "\\ud83d\\ude00"}', headers=JSON)
    assert paired.status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/predict", {"inputs": "a", "foo": 1}, f"unknown field 'foo'; {TEI_FIELDS}"),
        ("/predict", {}, f"field 'inputs' is missing; {TEI_FIELDS}"),
        (
            "/predict",
            {"input": "a"},
            "field 'inputs' is missing; unknown field 'input' (did you mean 'inputs'?); "
            + TEI_FIELDS,
        ),
        (
            "/predict",
            {"inputs": "a", "is_truncated": True},
            f"unknown field 'is_truncated' (did you mean 'truncate'?); {TEI_FIELDS}",
        ),
        (
            "/predict",
            {"inputs": "a", "prompt_name": "query"},
            "unknown field 'prompt_name' (prompts belong to embedding models: put the prompt into "
            f"the text); {TEI_FIELDS}",
        ),
        (
            "/predict",
            ["a"],
            "the body must be a JSON object with the fields of /predict, got a list",
        ),
        (
            "/predict",
            {"inputs": ["a", 3]},
            "inputs[1]: expected a text, a list of one or two texts, or an object with text and "
            "text_pair, got the number 3",
        ),
        (
            "/predict",
            {"inputs": "a", "truncate": "yes"},
            "truncate: expected true or false, got the string 'yes'",
        ),
        (
            "/rerank",
            {"query": "a", "documents": ["b"]},
            "field 'texts' is missing; unknown field 'documents' (send them as texts, or to "
            "/v1/rerank); /rerank takes query, texts, truncate, truncation_direction, raw_scores, "
            "return_text",
        ),
        ("/rerank", {"query": "a", "texts": "b"}, "texts: expected a list of texts, got the str"),
        ("/rerank", {"query": "a", "texts": ["b", None]}, "texts[1]: expected a text, got null"),
        (
            "/",
            {"inputs": "a", "parameters": {"foo": 1}},
            f"unknown field 'foo' in parameters; {HF_PARAMETERS}",
        ),
        (
            "/",
            {"inputs": "a", "top_k": 1},
            "unknown field 'top_k' (it belongs in 'parameters'); / takes inputs, parameters, ",
        ),
        (
            "/",
            {"inputs": "a", "parameters": {"top_k": "1"}},
            "parameters.top_k: expected a whole number, got the string '1'",
        ),
        (
            "/",
            {"inputs": "a", "parameters": {"function_to_apply": "tanh"}},
            "parameters.function_to_apply: expected 'softmax', 'sigmoid' or 'none', got the ",
        ),
        ("/", {"inputs": "a", "options": 1}, "options: expected an object, got the number 1"),
        ("/v1/classify", {"input": [1, 2]}, "input: expected a text or a list of texts, got token"),
        ("/v1/classify", {"input": ["a", {}]}, "input[1]: expected a text, got an object"),
        (
            "/v1/classify",
            {"input": "a", "truncate_prompt_tokens": 5},
            "truncate_prompt_tokens: expected -1, got the number 5 (-1 cuts texts to the model's ",
        ),
        (
            "/v1/classify",
            {"input": "a", "add_special_tokens": False},
            "add_special_tokens: expected true, got false (the model needs them: leave it out)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value[0] == "/" else "",
)
def test_a_field_that_is_wrong_is_named_in_plain_words(
    client: httpx.Client, path: str, body: object, message: str
) -> None:
    said = refused(posted(client, path, body), 422)
    assert said.startswith(message)
    assert "Input should" not in said, "pydantic's words"


def test_a_near_name_that_is_suggested_is_accepted(client: httpx.Client) -> None:
    for path, body in (
        ("/predict", {"inputs": "a", "truncates": True}),
        ("/v1/classify", {"input": "a", "use_activations": False}),
    ):
        said = refused(posted(client, path, body), 422)
        (name,) = re.findall(r"did you mean '(\w+)'", said)
        *_, (wrong, value) = body.items()
        corrected = {key: each for key, each in body.items() if key != wrong} | {name: value}
        assert posted(client, path, corrected).status_code == 200


def test_a_hint_that_another_server_s_field_gets_is_followed(client: httpx.Client) -> None:
    body = {"input": "a", "softmax": False}
    assert "(send use_activation)" in refused(posted(client, "/v1/classify", body), 422)
    assert posted(client, "/v1/classify", {"input": "a", "use_activation": False}).is_success


@pytest.mark.parametrize("direction", ["left", "Left", "right", "Right", None])
def test_the_side_that_is_cut_is_the_checkpoint_s_or_refused(
    client: httpx.Client, folder: Path, direction: str | None
) -> None:
    classifier = Classifier.from_pretrained(folder)
    other = {"left": "right", "right": "left"}[classifier.truncation_side]
    body = {"inputs": LONG, "truncate": True, "truncation_direction": direction}
    answer = posted(client, "/predict", body)
    if direction is not None and direction.lower() == other:
        message = refused(answer, 422)
        assert message.startswith("truncation_direction: this checkpoint cuts texts that are too l")
        (own,) = re.findall(r'Send "(\w+)"', message)
        assert posted(client, "/predict", body | {"truncation_direction": own}).is_success
    else:
        assert answer.json()[0]["score"] == classifier(LONG).score
    vllm = {"input": LONG, "truncate_prompt_tokens": -1, "truncation_side": other}
    assert refused(posted(client, "/v1/classify", vllm), 422).startswith("truncation_side: this")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", 'the body is empty. Send a JSON object, such as {"inputs": "Today is a nice day!"}'),
        (b" \n", "the body is empty. "),
        (b'{"inputs": "a",}', "the body is not JSON: line 1, column 16: expecting property name"),
        (b'{"inputs":\n "a"} x', "the body is not JSON: line 2, column 7: extra data"),
        (b"{'inputs': 'a'}", "the body is not JSON: line 1, column 2: expecting property name "),
        (b'{"inputs": NaN}', "the body is not JSON: NaN is not a JSON number"),
        (b'{"inputs": -Infinity}', "the body is not JSON: -Infinity is not a JSON number"),
        (b'{"inputs": "a", "inputs": "b"}', "field 'inputs' appears twice. Send it once"),
        (
            b'{"inputs": "a", "parameters": {"top_k": 1, "top_k": 2}}',
            "field 'top_k' appears twice. Send it once",
        ),
        (b'{"inputs": "\xe9"}', "the body is not UTF-8 (byte 12 is 0xE9). Encode the JSON as "),
        (b"\x1f\x8b\x08abc", "the body is compressed with gzip. Send it uncompressed"),
        (b"[" * 100_000, "the body is nested too deeply. "),
        (b'{"inputs": ' + b"1" * 5000 + b"}", "the body has a number with too many digits"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
)
def test_a_body_that_is_not_json_says_where(
    client: httpx.Client, content: bytes, message: str
) -> None:
    answer = client.post("/predict", content=content, headers=JSON)
    assert refused(answer, 422).startswith(message)


def test_a_byte_that_is_not_utf_8_is_counted_with_the_byte_order_mark(
    client: httpx.Client,
) -> None:
    answer = client.post("/predict", content=b'\xef\xbb\xbf{"inputs": "\xff"}', headers=JSON)
    assert "(byte 15 is 0xFF)" in refused(answer, 422)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"inputs": "a", "\ud800": 1}),
        ("/predict", {"inputs": [{"text": "a", "\ud800": "b"}]}),
        ("/v1/rerank", {"query": "a", "documents": [{"\ud800": 1}]}),
    ],
)
def test_a_name_with_a_lone_surrogate_is_refused(
    client: httpx.Client, path: str, body: dict[str, object]
) -> None:
    message = refused(posted(client, path, body), 422)
    assert "the name of field '\\ud800' is not valid Unicode" in message


def test_a_field_that_appears_twice_among_many_is_found_in_linear_time(
    client: httpx.Client,
) -> None:
    """Comparing each name with all others takes minutes, in which no request is answered."""
    fields = [f'"{number}":0' for number in range(130_000)]
    content = "{" + ",".join([*fields, fields[-1]]) + "}"
    answer = client.post("/predict", content=content.encode(), headers=JSON)
    assert "field '129999' appears twice" in refused(answer, 422)


def test_a_byte_order_mark_is_skipped_as_in_files(client: httpx.Client) -> None:
    answer = client.post("/predict", content=b'\xef\xbb\xbf{"inputs": "a"}', headers=JSON)
    assert answer.json() == client.post("/predict", json={"inputs": "a"}).json()


@pytest.mark.parametrize("charset", ["utf-16", "iso-8859-1", '"latin-1"'])
def test_another_charset_is_refused_and_utf_8_accepted(client: httpx.Client, charset: str) -> None:
    for given in (charset, "UTF-8", '"utf-8"', "us-ascii"):
        kind = {"content-type": f"application/json; charset={given}"}
        answer = client.post("/predict", content=b'{"inputs": "a"}', headers=kind)
        if given == charset:
            assert "JSON is UTF-8" in refused(answer, 415)
        else:
            assert answer.status_code == 200


def test_a_field_in_the_query_string_is_refused_and_other_parameters_are_not(
    client: httpx.Client,
) -> None:
    answer = client.post("/predict?truncate=true", json={"inputs": LONG})
    assert refused(answer, 422) == (
        "query string: 'truncate' is a field of the JSON body of /predict. Move it there"
    )
    moved = client.post("/predict?api-version=1", json={"inputs": LONG, "truncate": True})
    assert moved.status_code == 200


@pytest.mark.parametrize(
    ("path", "named"), [("/predict/", "/predict"), ("/v1/clasify", "/v1/classify")]
)
def test_a_near_path_is_suggested_and_works(client: httpx.Client, path: str, named: str) -> None:
    message = refused(client.post(path, json={"input": "a"}), 404, "NotFound")
    assert message == f"{path}: no such path. Did you mean {named}?"
    assert client.post(named, json={"input": "a"}).status_code != 404
    far = refused(client.post("/tokenize", json={"input": "a"}), 404, "NotFound")
    assert far == "/tokenize: no such path. See /docs for the API"

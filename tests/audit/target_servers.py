"""Small servers that imitate others in their own words: TEI, vLLM and Hugging Face Inference.

Logits of a text are (its length, its vowels) over a hundred; scores are their softmax.
"""

import json
import math
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Reply = tuple[int, Any]
Post = Callable[[dict[str, Any]], Reply]


def logits(text: str) -> list[float]:
    return [len(text) / 100, sum(letter in "aeiou" for letter in text) / 100]


def scores(text: str) -> list[float]:
    powers = [math.exp(each) for each in logits(text)]
    return [each / sum(powers) for each in powers]


def labelled(numbers: list[float]) -> list[dict[str, Any]]:
    """The highest first, so that the order of the labels differs from text to text."""
    pairs = zip(("NEG", "POS"), numbers, strict=True)
    return [{"label": n, "score": s} for n, s in sorted(pairs, key=lambda pair: -pair[1])]


class Stand:
    """Answers GET from `got` and POST by `posts`, keeps what was posted, and wants `key` if any."""

    def __init__(
        self, posts: dict[str, Post], got: dict[str, Any] | None = None, key: str | None = None
    ) -> None:
        self.posts, self.got, self.key = posts, got or {}, key
        self.headers: dict[str, str] = {}
        self.bodies: list[tuple[str, Any]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def reply(self, path: str, body: dict[str, Any] | None) -> Reply:
        if body is None:
            return (200, self.got[path]) if path in self.got else (404, {"detail": "Not Found"})
        if path not in self.posts:
            return 404, {"detail": "Not Found"}
        self.bodies.append((path, body))
        return self.posts[path](body)

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1


def tei(raw_is_read: bool = True) -> Post:
    """["a", "b"] is one pair, and one pair's answer is one list."""

    def post(body: dict[str, Any]) -> Reply:
        inputs, read = body["inputs"], logits if body["raw_scores"] and raw_is_read else scores
        if isinstance(inputs, str):
            return 200, labelled(read(inputs))
        if all(isinstance(each, str) for each in inputs):
            return 200, labelled(read(" ".join(inputs)))
        return 200, [labelled(read(" ".join(each))) for each in inputs]

    return post


def vllm(strict: bool = False) -> Post:
    """strict: an older one, which refuses the fields that it does not know."""

    def post(body: dict[str, Any]) -> Reply:
        if strict and body.keys() - {"input", "model"}:
            return 400, {"error": {"message": "extra fields not permitted", "code": 400}}
        read = logits if body.get("use_activation") is False else scores
        rows = [
            {"index": n, "label": "POS", "probs": read(text), "num_classes": 2}
            for n, text in enumerate(body["input"])
        ]
        return 200, {"object": "list", "data": rows[::-1]}

    return post


def inference(body: dict[str, Any]) -> Reply:
    """A single text's labels have no list around them, as some deployments answer."""
    read = logits if body["parameters"].get("function_to_apply") == "none" else scores
    rows = [labelled(read(text))[: body["parameters"]["top_k"]] for text in body["inputs"]]
    return 200, rows if len(rows) > 1 else rows[0]


def plain(key: str, container: str | None = None) -> Post:
    """A service that takes a list of strings under `key`, and nothing else."""

    def post(body: dict[str, Any]) -> Reply:
        texts = body.get(key)
        if body.keys() != {key} or not all(isinstance(each, str) for each in texts or [1]):
            return 422, {"detail": f"expected {key}: a list of strings"}
        rows = [scores(each) for each in body[key]]
        return 200, {container: rows} if container else rows

    return post


@contextmanager
def serving(stand: Stand, certificate: Path | None = None) -> Iterator[str]:
    """The address of a server with these responses; over TLS with a certificate and its key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*stand.reply(self.path, None))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if stand.key and self.headers["authorization"] != f"Bearer {stand.key}":
                return self._send(401, {"error": "Unauthorized"})
            with stand.entered():
                return self._send(*stand.reply(self.path, body))

        def _send(self, status: int, content: Any) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in stand.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

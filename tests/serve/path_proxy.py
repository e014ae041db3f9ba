"""A stand-in for a reverse proxy that serves another server under a path, for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

PREFIX = "/some/prefix"

_HOP = ("connection", "transfer-encoding", "date", "server")


@contextmanager
def proxied(target: str, *, strips: bool) -> Iterator[str]:
    """Yield the URL, with PREFIX, under which `target` is served; paths elsewhere are 404.

    strips: whether the server gets paths without the prefix, as with nginx's `proxy_pass …/;`.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = self.path
            if not path.startswith(PREFIX):
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            if strips:
                path = path.removeprefix(PREFIX) or "/"
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            with httpx.Client(base_url=target, trust_env=False, timeout=30) as client:
                answer = client.request(self.command, path, content=body, headers=headers)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in _HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_HEAD = do_PUT = _pass_on  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
        finally:
            server.shutdown()
            thread.join()

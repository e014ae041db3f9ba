"""HttpServer: one server that is asked in JSON.

It knows HTTP, and no dialect. Invariant: no key and no password of an address is ever in a message,
and no connection stays open between requests.
"""

import json
import time
from typing import Any

from isobatch.audit.subject import AnswerError
from isobatch.audit.targets.libraries import audit_library
from isobatch.errors import AuditError, OptionError

TIMEOUT_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
_BUSY = (429, 502, 503, 504)
"""Statuses that say nothing of the texts."""
_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between tries where it is busy: it lets in only so many requests at a time."""
_HERE = ("localhost", "127.0.0.1", "::1")


class RefusedError(AnswerError):
    """The server answered with another status than 200, and not because it is busy."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.absent = status in (404, 405)


class HttpServer:
    """The server of an address; `url` is without path, and without what should stay secret.

    path: that of the address, "" where it has none.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._httpx = audit_library("httpx")
        try:
            address = self._httpx.URL(url)
        except self._httpx.InvalidURL as error:
            raise OptionError(f"{url}: is no address: {error}") from error
        if not address.host:
            raise OptionError(f"{url}: names no host; an address is http://host:port")
        self.path = address.path.rstrip("/")
        self.url = str(address.copy_with(path="", query=None, fragment=None, userinfo=b""))
        self.url = self.url.rstrip("/")
        headers = {"cache-control": "no-cache"}  # what a server remembers would hide what it does
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._client = self._httpx.Client(
            base_url=address.copy_with(path="/", query=None, fragment=None),
            headers=headers,
            timeout=self._httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS, pool=None),
            # None is kept: an audit has no end at which they would be closed.
            limits=self._httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=address.host not in _HERE,  # a proxy has no way to this machine itself
        )

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a request; RefusedError for any status but 200, AuditError if too busy."""
        response = self._send("POST", path, json=body)
        for seconds in _PAUSES:
            if response.status_code not in _BUSY:
                break
            time.sleep(seconds)
            response = self._send("POST", path, json=body)
        if response.status_code in (401, 403):
            raise OptionError(
                f"{self.url}{path}: refuses the key (status {response.status_code}: "
                f"{_reason(response)}); give the right one with --api-key"
            )
        if response.status_code != 200:
            message = f"{self.url}{path}: status {response.status_code}: {_reason(response)}"
            if response.status_code in _BUSY:
                raise AuditError(message)
            raise RefusedError(message, response.status_code)
        return self._json(path, response)

    def info(self) -> dict[str, Any]:
        """What GET /info says; nothing where there is none, as not every server has it."""
        response = self._send("GET", "/info")
        try:
            content = response.json() if response.status_code == 200 else {}
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            return self._client.request(method, path, **options)
        except self._httpx.ConnectError as error:
            raise OptionError(
                f"{self.url}: no server answers there ({error}); is it running?"
            ) from error
        except self._httpx.TimeoutException as error:
            raise AuditError(f"{self.url}{path}: no answer in time ({error})") from error
        except self._httpx.HTTPError as error:
            raise AuditError(f"{self.url}{path}: {type(error).__name__}: {error}") from error

    def _json(self, path: str, response: Any) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise AuditError(
                f"{self.url}{path}: its answer is no JSON: {response.text[:120]!r}"
            ) from error


def _reason(response: Any) -> str:
    """The server's own words, wherever its kind puts them."""
    try:
        content = response.json()
    except ValueError:
        return str(response.text[:200]) or "without a word"
    found = content
    for name in ("error", "detail", "message"):
        found = found.get(name, found) if isinstance(found, dict) else found
    return found if isinstance(found, str) else json.dumps(found)[:200]

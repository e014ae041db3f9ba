"""A client of one server: its errors in words, retries, redirects and certificates.

Invariant: no key and no password of an address is ever in a message, or sent to another host.
"""

import json
import ssl
import time
from typing import Any

from isobatch.audit.subject import AnswerError
from isobatch.audit.targets.tokenizer_traits import audit_library
from isobatch.errors import AuditError, OptionError

TIMEOUT_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
_BUSY = {
    429: "it limits requests; send fewer with --quick, or raise the limit",
    502: "the proxy gets no response; check whether the server behind it is up",
    503: "it is loading or overloaded; run the audit again when it is ready",
    504: "the proxy gets no response in time; raise its timeout",
}
"""Statuses that say nothing about the texts."""
_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between retries while the server is busy: it limits concurrent requests."""
MOST_SECONDS = 20.0
"""Of a pause that the server itself asks for."""
MOST_REDIRECTS = 3
TRUNCATED_HEADER = "x-truncated-inputs"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class RefusedError(AnswerError):
    """The server responded with another status than 200, and not because it is busy."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.absent = status in (404, 405)


class HttpServer:
    """A client of one server; `url` is without path, query and credentials, which are sent.

    `path` is that of the address.

    No connection stays open between requests, as an audit has no end at which it would be closed.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._httpx = audit_library("httpx")
        try:
            address = self._httpx.URL(url)
        except self._httpx.InvalidURL as error:
            raise OptionError(f"{url}: is not an address: {error}") from error
        if not address.host:
            raise OptionError(f"{url}: has no host; write http://host:port")
        self.path = address.path.rstrip("/")
        self.url = str(address.copy_with(path="", query=None, fragment=None, userinfo=b""))
        self.url = self.url.rstrip("/")
        headers = {"cache-control": "no-cache"}  # a cached response would hide a fault
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._client = self._httpx.Client(
            base_url=address.copy_with(path="/", query=None, fragment=None),
            headers=headers,
            params=address.params,
            timeout=self._httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS, pool=None),
            limits=self._httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=address.host not in _LOCAL,  # a proxy cannot reach this machine itself
            verify=_certificates(),
        )
        self._key = api_key

    def post(self, path: str, body: dict[str, Any]) -> tuple[Any, bool]:
        """Send a request; return the content, and whether it says that a text was truncated.

        RefusedError for any status but 200, AuditError if the server is busy.
        """
        response = self._send("POST", path, json=body)
        for seconds in _PAUSES:
            if response.status_code not in _BUSY:
                break
            time.sleep(max(seconds, min(_requested_pause(response), MOST_SECONDS)))
            response = self._send("POST", path, json=body)
        place, status = f"{self.url}{path}", response.status_code
        if status in (401, 403, 407):
            raise OptionError(f"{place}: {self._about_key(response)}")
        if status != 200:
            message = f"{place}: status {status}: {_reason(response)}"
            if status in _BUSY:
                raise AuditError(f"{message}. {_BUSY[status]}")
            raise RefusedError(message, status)
        try:
            content = response.json()
        except ValueError as error:
            raise AuditError(
                f"{place}: the response is not JSON: {response.text[:120]!r}"
            ) from error
        return content, _says_truncated(response.headers.get(TRUNCATED_HEADER), content)

    def _about_key(self, response: Any) -> str:
        status = f"status {response.status_code}: {_reason(response)}"
        if response.headers.get("www-authenticate", "").lower().startswith("basic"):
            return (
                f"requires a user and a password ({status}). Write them into the address, "
                "http://USER:PASSWORD@HOST"
            )
        if self._key:
            return (
                f"rejects the API key ({status}). Pass the right one with --api-key or "
                "ISOBATCH_API_KEY"
            )
        return (
            f"requires an API key ({status}). Pass it with --api-key KEY, or in the environment "
            "variable ISOBATCH_API_KEY"
        )

    def info(self) -> dict[str, Any]:
        """Return the content of GET /info; {} where there is none, as not every server has it."""
        response = self._send("GET", "/info")
        try:
            content = response.json() if response.status_code == 200 else {}
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _send(self, method: str, path: str, **options: Any) -> Any:
        """Send it, and again where the same server redirects it; its key goes to no other one."""
        response = self._request(method, path, **options)
        for _ in range(MOST_REDIRECTS):
            if not response.is_redirect:
                return response
            target = response.next_request.url
            here = response.request.url
            same = (target.scheme, target.host, target.port) == (here.scheme, here.host, here.port)
            if not same:
                shown = target.copy_with(userinfo=b"", query=None, fragment=None)
                raise OptionError(f"{self.url}{path}: redirects to {shown}. Use that address")
            response = self._request(method, target.path, **options)
        raise AuditError(f"{self.url}{path}: redirects more than {MOST_REDIRECTS} times")

    def _request(self, method: str, path: str, **options: Any) -> Any:
        try:
            return self._client.request(method, path, **options)
        except self._httpx.ConnectError as error:
            raise OptionError(f"{self.url}: {_unconnected(str(error))}") from error
        except self._httpx.TimeoutException as error:
            raise AuditError(
                f"{self.url}{path}: no response within {TIMEOUT_SECONDS:.0f} s ({error}); check "
                "whether the server responds at all, or audit with --quick"
            ) from error
        except (self._httpx.RemoteProtocolError, self._httpx.ReadError) as error:
            hint = "; is it https://?" if self.url.startswith("http:") else ""
            raise AuditError(f"{self.url}{path}: no HTTP response ({error}){hint}") from error
        except self._httpx.HTTPError as error:
            raise AuditError(f"{self.url}{path}: {type(error).__name__}: {error}") from error


def _certificates() -> ssl.SSLContext:
    """Trust httpx's authorities, the machine's, and those of the variable SSL_CERT_FILE."""
    context = ssl.create_default_context(cafile=audit_library("certifi").where())
    context.set_default_verify_paths()
    return context


def _unconnected(reason: str) -> str:
    """Explain why there is no connection, and name the fix."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return (
            f"its certificate is not trusted ({reason}). Specify the file of its authority, or of "
            "a self-signed certificate, in the environment variable SSL_CERT_FILE"
        )
    if "SSL" in reason:
        return f"the server does not use TLS ({reason}). Use an http:// address"
    return f"no server responds ({reason}). Start it, or check host and port"


def _requested_pause(response: Any) -> float:
    """Return the seconds that a busy server asks to wait: a header, or as Hugging Face's."""
    try:
        if (header := response.headers.get("retry-after")) is not None:
            return float(header)
        return float(response.json()["estimated_time"])
    except (KeyError, TypeError, ValueError):
        return 0.0


def _says_truncated(header: str | None, content: Any) -> bool:
    """Read the mark of a truncated text: Isobatch's header, or "truncated" in the content."""
    parts = content if isinstance(content, list) else [content]
    marked = any(isinstance(part, dict) and part.get("truncated") is True for part in parts)
    return marked or header not in (None, "", "0")


def _reason(response: Any) -> str:
    """Return the server's own error message, wherever its API puts it."""
    try:
        content = response.json()
    except ValueError:
        return str(response.text[:200]) or "without a message"
    found = content
    for name in ("error", "detail", "message"):
        found = found.get(name, found) if isinstance(found, dict) else found
    return found if isinstance(found, str) else json.dumps(found)[:200]

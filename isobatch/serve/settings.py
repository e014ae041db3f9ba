"""Settings of the server; it can be imported without the extra `serve`.

Invariant: a Settings that exists is valid and never changes.
"""

import re
from dataclasses import dataclass, field

from isobatch.batching.plan import CACHED_ENCODINGS, MAX_BATCH_TOKENS
from isobatch.errors import OptionError
from isobatch.tables.values import has_surrogate

MAX_CONCURRENT_REQUESTS = 512
MAX_CLIENT_BATCH_SIZE = 32
PAYLOAD_LIMIT = 2_000_000
"""The first three are text-embeddings-inference's defaults."""

LONGEST_WAIT_MS = 60_000.0
"""Far above what is sensible; much larger values overflow Condition.wait, which would end the
model's thread."""

BODY_SECONDS = 30.0
"""Time for a body to arrive: until then a slow sender counts as a concurrent request."""


_ROOT_PATH = re.compile(r"(/[\w.~-]*[\w~-])+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#,\s]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and options of a server.

    max_batch_tokens: maximum number of queued tokens per batch; one request is never split.
    max_wait_ms: maximum time for which a request waits for others while the model is free.
    cache_size: maximum number of cached predictions; 0 disables the cache.
    api_key: required for all routes except the documentation, and /health and /metrics unless
    `health_needs_key`; None opens all of them.
    cors_allow_origins: origins whose pages may read responses.
    page: serve the lesson page at /. Not with an `api_key`, which a browser cannot send.
    root_path: path of the server behind a proxy, such as /isobatch; empty without one.
    """

    model_name: str = "default"
    max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS
    max_client_batch_size: int = MAX_CLIENT_BATCH_SIZE
    payload_limit: int = PAYLOAD_LIMIT
    max_batch_tokens: int = MAX_BATCH_TOKENS
    max_wait_ms: float = 0.0
    cache_size: int = CACHED_ENCODINGS
    body_seconds: float = BODY_SECONDS
    api_key: str | None = field(default=None, repr=False)
    health_needs_key: bool = False
    cors_allow_origins: tuple[str, ...] = ()
    access_log: bool = True
    page: bool = False
    root_path: str = ""

    def __post_init__(self) -> None:
        at_least_one = {
            "max_concurrent_requests": self.max_concurrent_requests,
            "max_client_batch_size": self.max_client_batch_size,
            "payload_limit": self.payload_limit,
            "max_batch_tokens": self.max_batch_tokens,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise OptionError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.max_wait_ms <= LONGEST_WAIT_MS:  # written so that NaN is refused too
            raise OptionError(
                f"max_wait_ms must be from 0 to {LONGEST_WAIT_MS:g}, got {self.max_wait_ms}"
            )
        if self.cache_size < 0:
            raise OptionError(f"cache_size must be at least 0, got {self.cache_size}")
        if self.root_path and not _ROOT_PATH.fullmatch(self.root_path):
            raise OptionError(
                f"root_path must begin with / and not end with it, such as /isobatch (got "
                f"{self.root_path!r}). Leave it out for a server at the root"
            )
        if not self.model_name.strip():
            raise OptionError("model_name is empty. Leave it out for the default")
        _check_unicode("model_name", self.model_name)
        self._check_access()

    def _check_access(self) -> None:
        """Check the options that are about keys and origins, each alone and together."""
        if self.api_key is not None:
            _check_key(self.api_key)
        if self.health_needs_key and self.api_key is None:
            raise OptionError(
                "health_needs_key has no effect without an API key. Set ISOBATCH_API_KEY, or leave "
                "out --health-needs-key"
            )
        if self.page and self.api_key is not None:
            raise OptionError(
                "page: a browser cannot send the API key. Leave out --page, or the key"
            )
        for origin in self.cors_allow_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise OptionError(
                    f"cors_allow_origin must be a scheme and a host, such as https://a.example "
                    f"(got {origin!r}), without a path and a / at the end, as browsers send it"
                )


def _check_unicode(name: str, value: str) -> None:
    if has_surrogate(value):  # so Python keeps such bytes of the environment and of arguments
        raise OptionError(f"{name} has bytes that are not UTF-8. Encode it as UTF-8")


def _check_key(key: str) -> None:
    _check_unicode("api_key", key)
    if not key.strip():
        raise OptionError("api_key is empty, which would protect nothing. Leave it out instead")
    if key != key.strip() or any(ord(each) < 32 or ord(each) == 127 for each in key):
        raise OptionError(
            "api_key begins or ends with white space, or has a control character, which no client "
            "can send in a header. Remove it, for example from the end of the file that the key "
            "is read from"
        )

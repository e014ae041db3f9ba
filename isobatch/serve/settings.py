"""Settings of the server; it can be imported without the extra `serve`.

Invariant: a Settings that exists is valid and never changes.
"""

from dataclasses import dataclass, field

from isobatch.batching.cache import CACHED_ENCODINGS
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.errors import OptionError

MAX_CONCURRENT_REQUESTS = 512
MAX_CLIENT_BATCH_SIZE = 32
PAYLOAD_LIMIT = 2_000_000
"""The first three are text-embeddings-inference's defaults."""

LONGEST_WAIT_MS = 60_000.0
"""Far above what is sensible; much larger values overflow Condition.wait, which would end the
model's thread."""

BODY_SECONDS = 30.0
"""Time for a body to arrive: until then a slow sender counts as a concurrent request."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and options of a server.

    max_batch_tokens: maximum number of queued tokens per batch; one request is never split.
    max_wait_ms: maximum time for which a request waits for others while the model is free.
    cache_size: maximum number of cached predictions; 0 disables the cache.
    api_key: required for all routes except the documentation, and /health and /metrics unless
    `health_needs_key`; None opens all of them.
    cors_allow_origins: origins whose pages may read responses.
    page: serve the lesson page at /; ignored with an `api_key`, which a browser cannot send.
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
        if self.api_key == "":
            raise OptionError("api_key is empty, which would protect nothing. Leave it out instead")

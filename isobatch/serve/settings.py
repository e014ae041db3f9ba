"""Settings of the server: its limits and habits, each with its default.

It reads no environment and knows no HTTP. Invariant: a Settings that exists makes sense, and stays
as it is.
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
"""Far above what is sensible; what no clock can wait for would end the model's thread."""

BODY_SECONDS = 30.0
"""How long a body may take to come in: a slow sender holds a place at the door meanwhile."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server treats its requests.

    max_batch_tokens: how many waiting tokens the model takes at once; one request is never split.
    max_wait_ms: how long a request may wait for company where the model is free; 0: not at all.
    api_key: None opens every route; else all but the documentation ask for it, and /health and
    /metrics only where `health_needs_key`.
    cors_allow_origins: origins whose pages may read answers; none by default.
    """

    model_name: str = "default"
    max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS
    max_client_batch_size: int = MAX_CLIENT_BATCH_SIZE
    payload_limit: int = PAYLOAD_LIMIT
    max_batch_tokens: int = MAX_BATCH_TOKENS
    max_wait_ms: float = 0.0
    cached_answers: int = CACHED_ENCODINGS
    body_seconds: float = BODY_SECONDS
    api_key: str | None = field(default=None, repr=False)
    health_needs_key: bool = False
    cors_allow_origins: tuple[str, ...] = ()
    access_log: bool = True

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
        if not 0 <= self.max_wait_ms <= LONGEST_WAIT_MS:  # so that NaN is refused, too
            raise OptionError(
                f"max_wait_ms must be from 0 to {LONGEST_WAIT_MS:g}, got {self.max_wait_ms}"
            )
        if self.cached_answers < 0:
            raise OptionError(f"cached_answers must be at least 0, got {self.cached_answers}")
        if self.api_key == "":
            raise OptionError("api_key is empty, which would protect nothing; leave it out instead")

"""The server's Prometheus metrics.

Where text-embeddings-inference has a metric, its name is used, so that its dashboards work
unchanged. No label holds anything that a client wrote.
"""

from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from isobatch.batching.cache import OutputCache
from isobatch.batching.plan import count_padding
from isobatch.types import Task

SECONDS = tuple(15e-6 * 1.5**power for power in range(35))
SIZES = tuple(float(2**power) for power in range(16))
"""Bucket bounds, as in TEI: durations grow by half, sizes by powers of two."""


class ServerMetrics(Collector):
    """All metrics of one server.

    It is itself the collector of what prometheus_client's own classes cannot express: TEI's
    counters, and the cache's hits, which the cache counts.
    """

    def __init__(
        self,
        cache: OutputCache | None,
        queue_size: Callable[[], int],
        task: Task = "text-classification",
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # TEI has no `_created` series
        self._registry = registry = CollectorRegistry()
        self._cache = cache
        counter = partial(Counter, registry=None)
        self.requests = counter("te_request_count", "Requests received, by method", ["method"])
        self.successes = counter("te_request_success", "Requests that succeeded", ["method"])
        self.failures = counter("te_request_failure", "Requests that failed, by reason", ["err"])
        verb = "embed" if task == "feature-extraction" else "predict"
        self.texts = counter(f"te_{verb}_count", "Texts received")
        self.predicted_texts = counter(f"te_{verb}_success", "Texts computed")
        registry.register(self)
        seconds = partial(Histogram, buckets=SECONDS, registry=registry)
        self.duration = seconds("te_request_duration", "Seconds per request")
        self.tokenization = seconds("te_request_tokenization_duration", "Seconds of tokenization")
        self.queue = seconds("te_request_queue_duration", "Seconds in the queue")
        self.inference = seconds("te_request_inference_duration", "Seconds of the request's batch")
        sizes = partial(Histogram, buckets=SIZES, registry=registry)
        self.input_length = sizes("te_request_input_length", "Tokens per text")
        self.batch_size = sizes("te_batch_next_size", "Texts per batch")
        self.batch_tokens = sizes("te_batch_next_tokens", "Tokens per batch")
        self.padding_avoided = Counter(
            "isobatch_padding_tokens_avoided",
            "Padding tokens that batches of 32 in order of arrival would have computed",
            registry=registry,
        )
        self.truncated_inputs = Counter(
            "isobatch_truncated_inputs",
            "Texts truncated to the model's maximum length",
            registry=registry,
        )
        queued = Gauge("te_queue_size", "Requests in the queue", registry=registry)
        queued.set_function(queue_size)
        if cache is not None:
            cached = Gauge("isobatch_cache_size", "Cached predictions", registry=registry)
            cached.set_function(lambda: len(cache))
        ProcessCollector(registry=registry)

    def count_batch(self, lengths: list[int]) -> None:
        """Count a computed batch by the number of tokens of each text."""
        self.batch_size.observe(len(lengths))
        self.batch_tokens.observe(sum(lengths))
        self.padding_avoided.inc(count_padding(lengths))

    def collect(self) -> Iterator[Metric]:
        """Yield TEI's counters without Prometheus' suffix `_total`, and so untyped; cache hits."""
        counters = (
            self.requests,
            self.successes,
            self.failures,
            self.texts,
            self.predicted_texts,
        )
        for family in (family for counter in counters for family in counter.collect()):
            untyped = Metric(family.name, family.documentation, "unknown")
            for sample in family.samples:
                untyped.add_sample(family.name, sample.labels, sample.value)
            yield untyped
        yield CounterMetricFamily(
            "isobatch_cache_hits",
            "Texts whose outputs came from the cache",
            value=0 if self._cache is None else self._cache.hits,
        )

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

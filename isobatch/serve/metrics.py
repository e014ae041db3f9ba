"""Counts and times of the server, in Prometheus' words.

The names of text-embeddings-inference stand where it has one: its dashboards read them unchanged.
Everything is counted in the event loop, so that no lock is needed; whatever the model thread knows
comes in a BatchReport. Invariant: no label holds anything that a client wrote.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from isobatch.serve.batching import BatchReport

SECONDS = tuple(15e-6 * 1.5**power for power in range(35))
SIZES = tuple(float(2**power) for power in range(16))
"""Upper ends of the histograms' buckets, as TEI has them: times by halves more, sizes by twos."""


class Histogram:
    """Counts per bucket; `collect` writes them as Prometheus wants them, added up."""

    def __init__(self, name: str, text: str, ends: Sequence[float]) -> None:
        self.name = name
        self._text = text
        self._ends = ends
        self._counts = [0] * (len(ends) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value` into the first bucket that reaches it."""
        self._counts[bisect_left(self._ends, value)] += 1
        self._sum += value

    def collect(self) -> Metric:
        """The family, for one reading."""
        ends = [*map(str, self._ends), "+Inf"]
        buckets = list(zip(ends, map(float, accumulate(self._counts)), strict=True))
        return HistogramMetricFamily(self.name, self._text, buckets=buckets, sum_value=self._sum)


class LabelledCount:
    """A number per label, under a name without the suffix _total, which TEI's names lack.

    Prometheus asks a counter for the suffix, so that the type is left open ("untyped").
    """

    def __init__(self, name: str, text: str, label: str | None = None) -> None:
        self.name = name
        self._text = text
        self._label = label
        self._counts: Counter[str] = Counter()

    def add(self, amount: int = 1, label: str = "") -> None:
        """Count `amount` more under `label`."""
        self._counts[label] += amount

    def collect(self) -> Metric:
        """The family, for one reading."""
        metric = Metric(self.name, self._text, "unknown")
        counts = self._counts if self._label else {"": self._counts[""]}
        for value, count in counts.items():
            metric.add_sample(self.name, {self._label: value} if self._label else {}, count)
        return metric


class Metrics(Collector):
    """All metrics of one server. `gauges` are asked at each reading: name → (help, value)."""

    def __init__(self) -> None:
        self.requests = LabelledCount("te_request_count", "Requests read, by method", "method")
        self.successes = LabelledCount("te_request_success", "Requests answered", "method")
        self.failures = LabelledCount("te_request_failure", "Requests refused, by reason", "err")
        self.texts = LabelledCount("te_predict_count", "Texts asked")
        self.answered_texts = LabelledCount("te_predict_success", "Texts answered")
        self.duration = Histogram("te_request_duration", "Seconds a request took", SECONDS)
        self.tokenization = Histogram(
            "te_request_tokenization_duration", "Seconds of tokenization", SECONDS
        )
        self.queue = Histogram("te_request_queue_duration", "Seconds in line", SECONDS)
        self.inference = Histogram(
            "te_request_inference_duration", "Seconds of the batch that it was in", SECONDS
        )
        self.input_length = Histogram("te_request_input_length", "Tokens of a text", SIZES)
        self.batch_size = Histogram("te_batch_next_size", "Texts computed together", SIZES)
        self.batch_tokens = Histogram("te_batch_next_tokens", "Tokens computed together", SIZES)
        self.truncated_inputs = 0
        self.padding_avoided = 0
        self.cache_hits: Callable[[], int] = lambda: 0
        self.gauges: dict[str, tuple[str, Callable[[], int]]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add_batch(self, report: BatchReport) -> None:
        """Count what the model has just computed."""
        self.batch_size.observe(report.num_texts)
        self.batch_tokens.observe(report.num_tokens)
        self.padding_avoided += report.padding

    def collect(self) -> Iterator[Metric]:
        """Every family; prometheus_client calls this."""
        for part in vars(self).values():
            if isinstance(part, Histogram | LabelledCount):
                yield part.collect()
        yield from self._own_counters()
        for name, (text, value) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value=value())

    def _own_counters(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "isobatch_padding_tokens_avoided",
            "Pads that batches of 32 in order of arrival would have computed",
            value=self.padding_avoided,
        )
        yield CounterMetricFamily(
            "isobatch_truncated_inputs",
            "Texts cut to the longest that the model takes",
            value=self.truncated_inputs,
        )
        yield CounterMetricFamily(
            "isobatch_cache_hits",
            "Texts answered without computing them again",
            value=self.cache_hits(),
        )

    def written(self) -> bytes:
        """One reading, in Prometheus' text format."""
        return generate_latest(self._registry)

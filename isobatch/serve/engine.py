"""Engine: the texts of one request in, their logits out, with what it took.

It knows no dialect. Short texts are tokenized in the event loop, others in a thread; the Batcher
computes. Invariant: a request is checked before it costs anything, and costs nothing more once its
client has gone.
"""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from starlette.types import Receive

from isobatch.batching.cache import Output, OutputCache
from isobatch.errors import InputError
from isobatch.serve.batching import Batcher, Computed
from isobatch.serve.errors import (
    ClientGoneError,
    ComputeError,
    EmptyRequestError,
    TooManyTextsError,
)
from isobatch.serve.metrics import Metrics
from isobatch.serve.settings import Settings
from isobatch.tasks import Classifier
from isobatch.types import Encoding, TextInput, Truncation

logger = logging.getLogger("isobatch.serve")

INLINE_CHARACTERS = 4096
"""Up to here tokenization takes less than 2 ms, and a thread would take longer to come in."""


_TRUNCATIONS: dict[bool, Truncation] = {True: "cut", False: "error"}


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one request, from its first byte read to its last logit."""

    total: float
    tokenization: float
    queue: float
    inference: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Logits of each text of a request, in order, and what they took."""

    logits: list[Output]
    num_tokens: int
    num_characters: int
    num_truncated: int
    timings: Timings


class Engine:
    """One model behind a line. `start` and `close` belong to one event loop."""

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics) -> None:
        self.classifier = classifier
        self.settings = settings
        self.metrics = metrics
        self.created = int(time.time())
        self._cache = OutputCache(settings.cached_answers) if settings.cached_answers else None
        self._tokenizer = ThreadPoolExecutor(1, "isobatch-tokenizer")
        self._batcher = Batcher(
            partial(classifier.forward, cache=self._cache),
            settings.max_batch_tokens,
            compute_afresh=classifier.forward,
            max_wait_seconds=settings.max_wait_ms / 1000,
            report=metrics.add_batch,
        )
        self._publish()

    def start(self) -> None:
        """Begin to answer."""
        self._batcher.start()

    async def close(self) -> None:
        """Answer whoever waits, then stop."""
        await self._batcher.close()
        self._tokenizer.shutdown(wait=False, cancel_futures=True)

    def give_up(self) -> None:
        """Answer whoever still waits with an error: there is no time left."""
        if number := self._batcher.give_up():
            logger.warning("%d requests were given up, as the time to shut down is over", number)

    @property
    def alive(self) -> bool:
        """Whether the model's thread is there to answer."""
        return self._batcher.alive

    async def answer(
        self,
        texts: Sequence[TextInput],
        *,
        truncate: bool | None,
        single: bool,
        afresh: bool,
        receive: Receive,
        started: float,
    ) -> Answer:
        """Compute `texts`; `receive` tells when the client leaves, `started` when it came.

        truncate: cut what is too long, or refuse it; None for the classifier's own habit. afresh:
        compute every text, whatever is remembered.
        """
        self._check_number(texts)
        method = "single" if single else "batch"
        self.metrics.requests.add(1, method)
        self.metrics.texts.add(len(texts))
        begun = time.perf_counter()
        encodings = await self._encode(texts, truncate)
        tokenized = time.perf_counter()
        computed = await _unless_gone(self._batcher.submit(encodings, afresh=afresh), receive)
        if not all(math.isfinite(value) for row in computed.logits for value in row):
            raise ComputeError(
                "the model's logits are not finite numbers; is the checkpoint sound?"
            )
        timings = Timings(
            total=time.perf_counter() - started,
            tokenization=tokenized - begun,
            queue=computed.queue_seconds,
            inference=computed.inference_seconds,
        )
        self._count(encodings, timings, method)
        return Answer(
            logits=computed.logits,
            num_tokens=sum(map(len, encodings)),
            num_characters=sum(map(_num_characters, texts)),
            num_truncated=sum(encoding.truncated for encoding in encodings),
            timings=timings,
        )

    def _check_number(self, texts: Sequence[TextInput]) -> None:
        if not texts:
            raise EmptyRequestError("there is no text in this request")
        if len(texts) > (limit := self.settings.max_client_batch_size):
            raise TooManyTextsError(
                f"{len(texts)} texts in one request, {limit} are allowed; send several requests "
                "(they are computed together), or start the server with --max-client-batch-size"
            )

    async def _encode(self, texts: Sequence[TextInput], truncate: bool | None) -> list[Encoding]:
        truncation: Truncation | None = None if truncate is None else _TRUNCATIONS[truncate]
        encode = partial(self.classifier.tokenize, texts, truncation=truncation)
        if sum(map(_num_characters, texts)) <= INLINE_CHARACTERS:
            results = encode()
        else:
            loop = asyncio.get_running_loop()
            results = await loop.run_in_executor(self._tokenizer, encode)
        encodings = []
        for result in results:
            if isinstance(result, InputError):
                raise result
            encodings.append(result)
        return encodings

    def _count(self, encodings: Sequence[Encoding], timings: Timings, method: str) -> None:
        metrics = self.metrics
        metrics.successes.add(1, method)
        metrics.answered_texts.add(len(encodings))
        metrics.truncated_inputs += sum(encoding.truncated for encoding in encodings)
        for encoding in encodings:
            metrics.input_length.observe(len(encoding))
        metrics.duration.observe(timings.total)
        metrics.tokenization.observe(timings.tokenization)
        metrics.queue.observe(timings.queue)
        metrics.inference.observe(timings.inference)

    def _publish(self) -> None:
        cache, batcher = self._cache, self._batcher
        self.metrics.gauges["te_queue_size"] = "Requests in line", lambda: batcher.queue_size
        if cache is not None:
            self.metrics.cache_hits = lambda: cache.hits
            self.metrics.gauges["isobatch_cache_size"] = "Answers remembered", lambda: len(cache)


def _num_characters(text: TextInput) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


async def _unless_gone(future: asyncio.Future[Computed], receive: Receive) -> Computed:
    """The future's result; ClientGoneError, and the future cancelled, if the client leaves."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        future.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ClientGoneError("the client has gone") from None
    finally:
        watcher.cancel()

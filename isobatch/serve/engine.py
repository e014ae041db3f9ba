"""ServingEngine: texts of a request → logits, with timings; checks, tokenizes, batches, counts.

Short texts are tokenized in the event loop, longer ones in a thread. A request is validated before
it costs anything, and dropped when its client disconnects.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from starlette.types import Receive

from isobatch.batching.cache import Output, OutputCache
from isobatch.errors import InputError
from isobatch.serve.batching import BatchedLogits, Batcher
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.prometheus import ServerMetrics
from isobatch.serve.settings import Settings
from isobatch.serve.text_field import TextField
from isobatch.tasks import Classifier
from isobatch.types import Encoding, TextInput

logger = logging.getLogger("isobatch.serve")

INLINE_CHARACTERS = 4096
"""Up to this length tokenization takes less than 2 ms, less than switching to a thread."""


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """Logits of each text of a request, in order, with its size and its times in seconds."""

    logits: list[Output]
    num_tokens: int
    num_characters: int
    num_truncated: int
    total_seconds: float
    tokenization_seconds: float
    queue_seconds: float
    inference_seconds: float


class ServingEngine:
    """One model behind a queue; call `start` and `close` in the same event loop."""

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self.classifier = classifier
        self.settings = settings
        self.created = int(time.time())
        self.closing = False
        cache = OutputCache(settings.cache_size) if settings.cache_size else None
        self.metrics = ServerMetrics(cache, lambda: self._batcher.queue_size)
        self._tokenizer = ThreadPoolExecutor(1, "isobatch-tokenizer")
        self._batcher = Batcher(
            partial(classifier.forward_or_errors, cache=cache),
            settings.max_batch_tokens,
            compute_uncached=classifier.forward_or_errors,
            max_wait_seconds=settings.max_wait_ms / 1000,
            report=self.metrics.count_batch,
        )

    def start(self) -> None:
        """Start the model thread."""
        self._batcher.start()

    async def close(self) -> None:
        """Compute what is queued, then stop."""
        await self._batcher.close()
        self._tokenizer.shutdown(wait=False, cancel_futures=True)

    def fail_pending(self) -> None:
        """Fail all requests that are still waiting: the time to shut down is over."""
        if number := self._batcher.fail_pending():
            logger.warning("shutdown timed out: failed %d pending requests", number)

    @property
    def healthy(self) -> bool:
        """Whether the server accepts requests and the model thread is running."""
        return self._batcher.alive and not self.closing

    async def infer(
        self,
        texts: Sequence[TextInput],
        *,
        truncate: bool | None,
        field: TextField,
        single: bool,
        use_cache: bool,
        receive: Receive,
        started: float,
    ) -> InferenceResult:
        """Compute the logits of `texts`; `receive` reports when the client disconnects.

        truncate: cut texts that are too long, or refuse them; None for the classifier's default.
        field: where the request has its texts, for errors. single: whether the request is a text
        without a list. started: when reading the request began.
        """
        self._check_number(texts)
        method = "single" if single else "batch"
        self.metrics.requests.labels(method).inc()
        self.metrics.texts.inc(len(texts))
        tokenizing = time.perf_counter()
        results = await self._tokenize(texts, truncate)
        encodings = []
        for index, encoded in enumerate(results):
            if isinstance(encoded, InputError):
                place = None if single else index
                raise field.error(encoded, place, self.classifier.max_tokens)
            encodings.append(encoded)
        tokenized = time.perf_counter()
        future = self._batcher.submit(encodings, use_cache=use_cache)
        batched = await _unless_disconnected(future, receive)
        result = InferenceResult(
            logits=_computed(batched.logits, field, single=single),
            num_tokens=sum(map(len, encodings)),
            num_characters=sum(map(_num_characters, texts)),
            num_truncated=sum(encoding.truncated for encoding in encodings),
            total_seconds=time.perf_counter() - started,
            tokenization_seconds=tokenized - tokenizing,
            queue_seconds=batched.queue_seconds,
            inference_seconds=batched.inference_seconds,
        )
        self._count(encodings, result, method)
        return result

    def _check_number(self, texts: Sequence[TextInput]) -> None:
        if not texts:
            message = "the request contains no text (expected at least 1)"
            raise RequestError(ErrorCode.EMPTY_REQUEST, message)
        if len(texts) > (limit := self.settings.max_client_batch_size):
            raise RequestError(
                ErrorCode.TOO_MANY_TEXTS,
                f"too many texts in one request (got {len(texts)}, maximum {limit}). Send several "
                "requests, which are batched together, or start the server with a larger "
                "--max-client-batch-size",
            )

    async def _tokenize(
        self, texts: Sequence[TextInput], truncate: bool | None
    ) -> list[Encoding | InputError]:
        truncation = self.classifier.truncation
        if truncate is not None:
            truncation = "cut" if truncate else "error"
        tokenize = partial(self.classifier.tokenize, texts, truncation=truncation)
        if sum(map(_num_characters, texts)) <= INLINE_CHARACTERS:
            return tokenize()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizer, tokenize)

    def _count(self, encodings: Sequence[Encoding], result: InferenceResult, method: str) -> None:
        metrics = self.metrics
        metrics.successes.labels(method).inc()
        metrics.predicted_texts.inc(len(encodings))
        metrics.truncated_inputs.inc(result.num_truncated)
        for encoding in encodings:
            metrics.input_length.observe(len(encoding))
        metrics.duration.observe(result.total_seconds)
        metrics.tokenization.observe(result.tokenization_seconds)
        metrics.queue.observe(result.queue_seconds)
        metrics.inference.observe(result.inference_seconds)


def _computed(
    outputs: Sequence[Output | InputError], field: TextField, *, single: bool
) -> list[Output]:
    """Return the logits of a request; RequestError, with its place, for a text without any.

    The request fails as a whole, for no API has a place for one error in a list; other requests of
    the batch do not.
    """
    for index, each in enumerate(outputs):
        if isinstance(each, InputError):
            failed = field.error(each, None if single else index, 0, ErrorCode.INFERENCE)
            if any(not isinstance(other, InputError) for other in outputs):
                hint = "The other texts of the request can be computed: send it without this one"
                failed = RequestError(ErrorCode.INFERENCE, f"{failed}. {hint}")
            logger.error("the model failed on a text: %s", failed, exc_info=each.__cause__)
            raise failed
    return [each for each in outputs if not isinstance(each, InputError)]


def _num_characters(text: TextInput) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


async def _unless_disconnected(
    future: asyncio.Future[BatchedLogits], receive: Receive
) -> BatchedLogits:
    """Await the future; if the client disconnects, cancel it and raise RequestError."""

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
        raise RequestError(ErrorCode.DISCONNECTED, "the client disconnected") from None
    finally:
        watcher.cancel()

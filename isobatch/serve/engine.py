"""ServingEngine: texts of a request → outputs, with timings; checks, tokenizes, batches, counts.

Short texts are tokenized in the event loop, longer ones in a thread. A request is validated before
it costs anything, and dropped when its client disconnects.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from starlette.types import Receive

from isobatch.batching.cache import Output, OutputCache
from isobatch.errors import InputError
from isobatch.serve.batching import Batcher
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.prometheus import ServerMetrics
from isobatch.serve.served_tasks import served_tasks
from isobatch.serve.settings import Settings
from isobatch.serve.text_field import TextField
from isobatch.tasks import Pipeline
from isobatch.tasks.premises import PremiseEncoding
from isobatch.tasks.zero_shot import ZeroShotClassifier
from isobatch.types import Encoding, TextInput, Truncation

logger = logging.getLogger("isobatch.serve")

INLINE_CHARACTERS = 4096
"""Up to this length tokenization takes less than 2 ms, less than switching to a thread."""

INLINE_TOKENS = 1024
"""Up to this number entities are decoded in the event loop, in less than 5 ms."""

ValueT = TypeVar("ValueT")


class Tokenize(Protocol):
    """Encodes the texts of a request, as `Pipeline.tokenize` does."""

    def __call__(
        self, texts: Sequence[TextInput], *, truncation: Truncation | None
    ) -> list[Encoding | InputError]:
        """Return for each text its encoding, or the error that it causes."""


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The model's output for each text of a request, in order, its size and times in seconds."""

    outputs: list[Output]
    encodings: list[Encoding]
    num_tokens: int
    num_characters: int
    num_truncated: int
    total_seconds: float
    tokenization_seconds: float
    queue_seconds: float
    inference_seconds: float


class ServingEngine:
    """One model behind a queue; call `start` and `close` in the same event loop."""

    def __init__(self, pipeline: Pipeline[Any], settings: Settings) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.zero_shot = _zero_shot(pipeline)
        self.created = int(time.time())
        self.closing = False
        cache = OutputCache(settings.cache_size) if settings.cache_size else None
        self.metrics = ServerMetrics(cache, lambda: self._batcher.queue_size, pipeline.task)
        self._tokenizer = ThreadPoolExecutor(1, "isobatch-tokenizer")
        self._batcher = Batcher(
            partial(pipeline.forward_or_errors, cache=cache),
            settings.max_batch_tokens,
            compute_uncached=pipeline.forward_or_errors,
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
    def is_computing(self) -> bool:
        """Whether the model's thread has not ended, as after a shutdown that took too long."""
        return self._batcher.is_computing

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
        tokenize: Tokenize | None = None,
        per_text: int = 1,
        more_characters: int = 0,
    ) -> InferenceResult:
        """Compute the outputs of `texts`; `receive` reports when the client disconnects.

        truncate: cut texts that are too long, or refuse them; None for the pipeline's default.
        field: where the request has its texts, for errors. single: whether the request is a text
        without a list. started: when reading the request began. tokenize: in place of the
        pipeline's own. per_text: how many inputs of the model each text is. more_characters: of
        labels, which are tokenized besides the texts.
        """
        method = "single" if single else "batch"
        self.metrics.requests.labels(method).inc()
        self._check_number(len(texts), per_text)
        self.metrics.texts.inc(len(texts))
        tokenizing = time.perf_counter()
        encode = partial(
            tokenize or self.pipeline.tokenize, texts, truncation=_truncation_of(truncate)
        )
        num_characters = sum(map(_num_characters, texts))
        if num_characters + more_characters <= INLINE_CHARACTERS:
            results = encode()
        else:
            results = await _unless_disconnected(self._in_thread(encode), receive)
        encodings = _encoded(results, field, single=single)
        self._check_windows(encodings)
        tokenized = time.perf_counter()
        parts = [_parts(encoding) for encoding in encodings]
        future = self._batcher.submit([*chain(*parts)], use_cache=use_cache)
        batched = await _unless_disconnected(future, receive)
        result = InferenceResult(
            outputs=_computed(
                _regrouped(batched.outputs, encodings, [*map(len, parts)]), field, single=single
            ),
            encodings=encodings,
            num_tokens=sum(map(len, encodings)),
            num_characters=num_characters,
            num_truncated=sum(encoding.truncated for encoding in encodings),
            total_seconds=time.perf_counter() - started,
            tokenization_seconds=tokenized - tokenizing,
            queue_seconds=batched.queue_seconds,
            inference_seconds=batched.inference_seconds,
        )
        self._count(encodings, result, method)
        return result

    def _check_number(self, num_texts: int, per_text: int) -> None:
        number = num_texts * per_text
        what = "texts" if per_text == 1 else f"pairs of a text and one of {per_text} labels"
        if not number:
            message = "the request contains no text (expected at least 1)"
            raise RequestError(ErrorCode.EMPTY_REQUEST, message)
        if number > (limit := self.settings.max_client_batch_size):
            raise RequestError(
                ErrorCode.TOO_MANY_TEXTS,
                f"too many {what} in one request (got {number}, maximum {limit}). Send several "
                "requests, which are batched together, or start the server with a larger "
                "--max-client-batch-size",
            )

    def _check_windows(self, encodings: Sequence[Encoding]) -> None:
        """Refuse more windows than texts: the longest body that is allowed could have hundreds."""
        number = sum(len(each.window_lengths) or 1 for each in encodings)
        limit = self.settings.max_client_batch_size
        if number > limit:
            raise RequestError(
                ErrorCode.TOO_MANY_TEXTS,
                f"too many windows in one request (got {number}, maximum {limit}): each is counted "
                "like a text. Send fewer or shorter texts, or start the server with a larger "
                "--max-client-batch-size",
            )

    async def decode(self, decode: Callable[[], ValueT], num_tokens: int) -> ValueT:
        """Call `decode`, which turns outputs of `num_tokens` tokens into predictions."""
        return decode() if num_tokens <= INLINE_TOKENS else await self._in_thread(decode)

    def _in_thread(self, function: Callable[[], ValueT]) -> asyncio.Future[ValueT]:
        return asyncio.get_running_loop().run_in_executor(self._tokenizer, function)

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


def _truncation_of(truncate: bool | None) -> Truncation | None:
    if truncate is None:
        return None
    return "cut" if truncate else "error"


def _zero_shot(pipeline: Pipeline[Any]) -> ZeroShotClassifier | None:
    """Return the pipeline for labels of requests, which shares the model; None without one."""
    if "zero-shot-classification" not in served_tasks(pipeline):
        return None
    return ZeroShotClassifier.from_classifier(pipeline)


def _parts(encoding: Encoding) -> list[Encoding]:
    """Return the inputs of the model that a text is: of a premise, the pair with each label."""
    return [*encoding.pairs()] if isinstance(encoding, PremiseEncoding) else [encoding]


def _regrouped(
    rows: Sequence[Output | InputError], encodings: Sequence[Encoding], parts: Sequence[int]
) -> list[Output | InputError]:
    """Return the output of each text; of a premise the rows of all its pairs, or an error."""
    remaining = iter(rows)
    outputs: list[Output | InputError] = []
    for encoding, number in zip(encodings, parts, strict=True):
        own = [next(remaining) for _ in range(number)]
        error = next((row for row in own if isinstance(row, InputError)), None)
        if error is None and isinstance(encoding, PremiseEncoding):
            outputs.append(np.stack(cast("list[Output]", own)))
        else:
            outputs.append(error or own[0])
    return outputs


def _encoded(
    results: Sequence[Encoding | InputError], field: TextField, *, single: bool
) -> list[Encoding]:
    """Return the encodings of a request; RequestError, with its place, for a text without one."""
    encodings = []
    for index, each in enumerate(results):
        if isinstance(each, InputError):
            raise field.error(each, None if single else index)
        encodings.append(each)
    return encodings


def _computed(
    outputs: Sequence[Output | InputError], field: TextField, *, single: bool
) -> list[Output]:
    """Return the outputs of a request; RequestError, with its place, for a text without any.

    The request fails as a whole, for no API has a place for one error in a list; other requests of
    the batch do not.
    """
    for index, each in enumerate(outputs):
        if isinstance(each, InputError):
            failed = field.error(each, None if single else index, ErrorCode.INFERENCE)
            if any(not isinstance(other, InputError) for other in outputs):
                hint = "The other texts of the request can be computed: send it without this one"
                failed = RequestError(ErrorCode.INFERENCE, f"{failed}. {hint}")
            logger.error("the model failed on a text: %s", failed, exc_info=each.__cause__)
            raise failed
    return [each for each in outputs if not isinstance(each, InputError)]


def _num_characters(text: TextInput) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


async def _unless_disconnected(future: asyncio.Future[ValueT], receive: Receive) -> ValueT:
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

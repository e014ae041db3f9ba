"""The Batcher alone: which requests share a batch, are dropped, or fail."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from isobatch.batching.cache import Output
from isobatch.batching.plan import count_padding
from isobatch.serve.batching import Batcher
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.types import Encoding


def encoding(number: int, length: int = 1) -> Encoding:
    return Encoding([number] * length, [0] * length)


class Model:
    """Logits are the first id; id 666 breaks a batch. Batches wait until `gate` is opened."""

    def __init__(self, *, opened: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        if opened:
            self.gate.set()

    def __call__(self, encodings: list[Encoding]) -> list[Output]:
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append([each.input_ids[0] for each in encodings])
        if 666 in self.batches[-1]:
            raise RuntimeError("unlucky")
        return [(float(each.input_ids[0]),) for each in encodings]


def drive(
    model: Callable[[list[Encoding]], list[Output]],
    scenario: Callable[[Batcher], Awaitable[None]],
    max_batch_tokens: int = 100,
    max_wait_seconds: float = 0.0,
    report: Callable[[list[int]], None] = lambda lengths: None,
) -> None:
    async def live() -> None:
        batcher = Batcher(model, max_batch_tokens, max_wait_seconds=max_wait_seconds, report=report)
        batcher.start()
        try:
            async with asyncio.timeout(10):
                await scenario(batcher)
        finally:
            await batcher.close()
        assert not batcher.alive

    asyncio.run(live())


async def until_entered(model: Model) -> None:
    assert await asyncio.to_thread(model.entered.wait, 10)


def failed(result: object) -> bool:
    """Whether a request's result is that the model failed."""
    return isinstance(result, RequestError) and result.code is ErrorCode.INFERENCE


def test_each_request_gets_its_own_rows_in_order() -> None:
    async def scenario(batcher: Batcher) -> None:
        futures = [batcher.submit([encoding(n), encoding(n + 100)]) for n in range(20)]
        answers = await asyncio.gather(*futures)
        assert [a.outputs for a in answers] == [[(float(n),), (n + 100.0,)] for n in range(20)]
        assert all(a.queue_seconds >= 0 and a.inference_seconds >= 0 for a in answers)

    drive(Model(), scenario)


def test_queued_requests_are_batched_in_order_up_to_the_budget() -> None:
    model = Model(opened=False)

    async def scenario(batcher: Batcher) -> None:
        futures = [batcher.submit([encoding(1)])]
        await until_entered(model)
        lengths = [4, 3, 4, 11, 1]
        futures += [batcher.submit([encoding(n, n)]) for n in lengths]
        model.gate.set()
        await asyncio.gather(*futures)

    drive(model, scenario, max_batch_tokens=10)
    assert model.batches == [[1], [4, 3], [4], [11], [1]]


def test_a_request_larger_than_the_budget_is_computed_whole() -> None:
    model = Model()

    async def scenario(batcher: Batcher) -> None:
        answer = await batcher.submit([encoding(n, 9) for n in (1, 2, 3)])
        assert answer.outputs == [(1.0,), (2.0,), (3.0,)]

    drive(model, scenario, max_batch_tokens=10)
    assert model.batches == [[1, 2, 3]]


def test_the_model_does_not_wait_for_more_requests_by_default() -> None:
    async def scenario(batcher: Batcher) -> None:
        await batcher.submit([encoding(1)])
        await batcher.submit([encoding(2)])

    model = Model()
    drive(model, scenario)
    assert model.batches == [[1], [2]]


def test_with_max_wait_it_waits_until_the_batch_is_full() -> None:
    model = Model()

    async def scenario(batcher: Batcher) -> None:
        first = batcher.submit([encoding(1, 4)])
        await asyncio.sleep(0.05)
        assert model.batches == []
        await asyncio.gather(first, batcher.submit([encoding(2, 6)]))

    drive(model, scenario, max_batch_tokens=10, max_wait_seconds=30)
    assert model.batches == [[1, 2]]


def test_waiting_ends_after_max_wait() -> None:
    model = Model()

    async def scenario(batcher: Batcher) -> None:
        answer = await batcher.submit([encoding(1)])
        assert 0.05 <= answer.queue_seconds < 5

    drive(model, scenario, max_wait_seconds=0.05)


def test_a_cancelled_request_is_dropped_before_any_work() -> None:
    model = Model(opened=False)

    async def scenario(batcher: Batcher) -> None:
        first = batcher.submit([encoding(1)])
        await until_entered(model)
        leaving, staying = batcher.submit([encoding(2)]), batcher.submit([encoding(3)])
        leaving.cancel()
        model.gate.set()
        assert (await staying).outputs == [(3.0,)]
        assert (await first).outputs == [(1.0,)]

    drive(model, scenario)
    assert model.batches == [[1], [3]]


def test_cancelling_during_the_computation_does_not_affect_others() -> None:
    model = Model(opened=False)

    async def scenario(batcher: Batcher) -> None:
        leaving = batcher.submit([encoding(1)])
        await until_entered(model)
        staying = batcher.submit([encoding(2)])
        leaving.cancel()
        model.gate.set()
        assert (await staying).outputs == [(2.0,)]

    drive(model, scenario)


def test_only_the_failing_request_fails_and_the_next_batch_is_computed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Model(opened=False)

    async def scenario(batcher: Batcher) -> None:
        futures = [batcher.submit([encoding(1)])]
        await until_entered(model)
        futures += [batcher.submit([encoding(n)]) for n in (2, 666, 3)]
        model.gate.set()
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [failed(result) for result in results] == [0, 0, 1, 0]
        assert (await batcher.submit([encoding(4)])).outputs == [(4.0,)]

    drive(model, scenario)
    assert model.batches == [[1], [2, 666, 3], [2], [666], [3], [4]]
    assert "RuntimeError: unlucky" in caplog.text


@pytest.mark.parametrize("kind", [MemoryError, SystemExit])
def test_when_every_batch_fails_every_request_fails(kind: type[BaseException]) -> None:
    def broken(encodings: list[Encoding]) -> list[Output]:
        raise kind

    async def scenario(batcher: Batcher) -> None:
        futures = [batcher.submit([encoding(n)]) for n in range(30)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert all(failed(result) for result in results)
        assert batcher.alive

    drive(broken, scenario)


def test_a_cancelled_request_of_a_failed_batch_is_not_computed_again() -> None:
    model = Model(opened=False)

    async def scenario(batcher: Batcher) -> None:
        first = batcher.submit([encoding(1)])
        await until_entered(model)
        model.entered.clear()
        queued = [batcher.submit([encoding(n)]) for n in (2, 666)]
        queued[0].cancel()  # before the batch is made: it is dropped
        leaving = batcher.submit([encoding(3)])
        release = model.gate
        model.gate = threading.Event()
        release.set()
        await first
        await until_entered(model)
        leaving.cancel()  # while the batch is computed
        model.gate.set()
        assert failed((await asyncio.gather(queued[1], return_exceptions=True))[0])

    drive(model, scenario)
    assert model.batches == [[1], [666, 3], [666]]


def test_closing_does_not_await_a_batch_whose_requests_have_failed() -> None:
    model = Model(opened=False)

    async def live() -> None:
        batcher = Batcher(model, 100)
        batcher.start()
        future = batcher.submit([encoding(1)])
        await until_entered(model)
        assert batcher.fail_pending() == 1
        async with asyncio.timeout(5):
            await batcher.close()
        assert batcher.is_computing
        with pytest.raises(RequestError, match="shut down before"):
            await future

    asyncio.run(live())
    model.gate.set()


def test_a_model_that_loses_a_row_fails_instead_of_shifting_the_others() -> None:
    async def scenario(batcher: Batcher) -> None:
        with pytest.raises(RequestError) as caught:
            await batcher.submit([encoding(1), encoding(2)])
        assert failed(caught.value)

    drive(lambda encodings: [(0.0,)], scenario)


def test_closing_computes_queued_requests_and_refuses_new_ones() -> None:
    model = Model(opened=False)

    async def live() -> None:
        batcher = Batcher(model, 1)
        batcher.start()
        futures = [batcher.submit([encoding(n)]) for n in range(5)]
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as caught:
            batcher.submit([encoding(9)])
        assert caught.value.code is ErrorCode.SHUTTING_DOWN
        model.gate.set()
        await closing
        assert [(await future).outputs for future in futures] == [[(float(n),)] for n in range(5)]

    asyncio.run(live())


def test_batches_are_reported_by_their_lengths() -> None:
    model = Model(opened=False)
    reports: list[list[int]] = []

    async def scenario(batcher: Batcher) -> None:
        futures = [batcher.submit([encoding(1)])]
        await until_entered(model)
        futures += [batcher.submit([encoding(2, 5), encoding(3, 2)])]
        model.gate.set()
        await asyncio.gather(*futures)

    drive(model, scenario, report=reports.append)
    assert reports == [[1], [5, 2]]
    assert [count_padding(lengths) for lengths in reports] == [0, 3]

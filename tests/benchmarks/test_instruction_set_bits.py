"""Bits between instruction sets are compared in several batches, orders and numbers of threads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import UnsupportedError, instruction_set_bits
from benchmarks.instruction_set_bits import compare_instruction_sets, count_changed
from benchmarks.instruction_sets import VARIABLE
from benchmarks.loaded_engines import BenchmarkRun
from benchmarks.schema import InstructionSetBits
from benchmarks.workload import BenchmarkPlan, Workload

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"]
Logit = Callable[[str, list[str], int], float]


@pytest.mark.parametrize(("other", "count"), [(1.5, 0), (np.nextafter(np.float32(1.5), 2), 1)])
def test_the_last_bit_counts(other: float, count: int) -> None:
    expected = np.asarray([[0.0], [1.5]], np.float32)
    again = np.asarray([[0.0], [other]], np.float32)
    found = count_changed("isobatch-1", expected, [expected, again, again])
    assert found == {"arithmetic": "isobatch-1", "rows": 2, "changed": count}


def test_the_sign_of_zero_counts() -> None:
    zeros = np.zeros((1, 1), np.float32)
    assert count_changed("x", zeros, [-zeros])["changed"] == 1


def plain(text: str, _batch: list[str], _threads: int) -> float:
    return float(len(text))


def of_batch(text: str, batch: list[str], _threads: int) -> float:
    return len(text) + (len(batch) == 1)


def of_order(text: str, batch: list[str], _threads: int) -> float:
    return len(text) + (batch[0] == TEXTS[-1])


def of_threads(text: str, _batch: list[str], threads: int) -> float:
    return len(text) + (threads == 3)


def other_everywhere(text: str, _batch: list[str], _threads: int) -> float:
    return len(text) + 0.5


def compared(
    monkeypatch: pytest.MonkeyPatch, sets: dict[str, tuple[str, Logit | None]]
) -> InstructionSetBits:
    """Compare processes that compute `Logit`; None: the precision is unsupported."""

    @contextmanager
    def load(
        _run: Any, _checkpoint: Any, _spec: Any, _task: str, environment: dict[str, str]
    ) -> Iterator[Any]:
        arithmetic, logit = sets[environment[VARIABLE]]
        if logit is None:
            raise UnsupportedError("no such precision")
        worker = SimpleNamespace(threads=2)

        def request(do: str, texts: list[str] | None = None, threads: int = 0) -> Any:
            if do == "set_threads":
                worker.threads = threads
            return {"logits": [[logit(text, texts, worker.threads)] for text in texts or []]}

        worker.request = request
        yield worker, {"details": {"arithmetic": arithmetic}}

    monkeypatch.setattr(instruction_set_bits, "runnable_sets", lambda _run: list(sets))
    monkeypatch.setattr(instruction_set_bits, "load_isobatch", load)
    workload = Workload(TEXTS, [], [], TEXTS, [])
    run = BenchmarkRun(BenchmarkPlan(slow_texts=2), workload, 2, Path())
    checkpoint: Any = SimpleNamespace(name="bundled")
    return compare_instruction_sets(run, checkpoint, ["fp32"])


def test_equal_bits_are_zero_rows_and_the_reference_gets_few_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = compared(monkeypatch, {"avx2": ("one", plain), "reference": ("one", plain)})
    each = {"arithmetic": "one", "changed": 0}
    assert found["sets"] == {
        "avx2": {"fp32": {**each, "rows": 6}},
        "reference": {"fp32": {**each, "rows": 2}},
    }


@pytest.mark.parametrize(
    ("logit", "changed"),
    [(of_batch, 6), (of_order, 6), (of_threads, 6), (other_everywhere, 6)],
)
def test_a_set_with_other_bits_is_found(
    logit: Logit, changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compared(monkeypatch, {"avx512": ("one", plain), "avx2": ("one", logit)})
    assert found["sets"]["avx512"]["fp32"]["changed"] == 0
    assert found["sets"]["avx2"]["fp32"]["changed"] == changed


def test_another_arithmetic_is_compared_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(monkeypatch, {"avx2": ("one", plain), "torch": ("two", other_everywhere)})
    assert found["sets"]["torch"]["fp32"]["changed"] == 0


def test_a_precision_that_a_set_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(monkeypatch, {"avx2": ("one", None)})
    assert found["left_out"] == {"avx2, fp32": "no such precision"}
    assert found["sets"] == {}

"""Fixtures: the bundled model and tiny checkpoint folders, each made once a process."""

import os

# Both before torch is loaded, and for subprocesses too. One thread unless a test sets a number: the
# workers of pytest-xdist share the processors, and for tiny models two threads that wait for each
# other are many times slower. Next to a busy process, threads that spin make a test ten times as
# slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import gc
from collections.abc import Callable, Iterator
from functools import cache

import hypothesis
import pytest
import torch
import transformers
from checked_once import checked_once
from tiny_checkpoints import TinyFolder, write_checkpoint

from isobatch import Classifier

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# The same examples on every run and on a busy machine: a test that fails, fails again.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than processors: tests of clusters and browsers mostly wait for others."""
    return min((os.cpu_count() or 1) + 1, 8)


def pytest_collection_finish() -> None:
    """Keep what is loaded by now out of garbage collections.

    1.4 million objects (torch, transformers, twelve thousand tests) take half a second each time,
    and accelerate collects in every step of its training. Hypothesis registers its generator at its
    first test, and warns (Python 3.14) if no collection sees who holds it: it has that test here.
    """
    hypothesis.given(hypothesis.strategies.none())(lambda _: None)()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_number_of_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def _checked_once() -> Iterator[None]:
    with checked_once():
        yield


@pytest.fixture
def checks_at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are checked at every load, as they are outside tests."""
    monkeypatch.setattr("checked_once.unless_passed", lambda _key, check: check())


@pytest.fixture
def two_threads(_same_number_of_threads: None) -> None:
    """Two threads share the work: on busy processors this takes two to three times the time."""
    torch.set_num_threads(2)


@pytest.fixture(params=["compiled", "torch"])
def each_way_to_compute(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Models are loaded with compiled kernels, where there are any, and with torch's own."""
    if request.param == "torch":
        monkeypatch.setenv("ISOBATCH_INSTRUCTION_SET", "torch")
    return str(request.param)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """The folder of a tiny checkpoint: never write into it, copy it first."""
    return cache(lambda tiny: write_checkpoint(tmp_path_factory.mktemp(tiny.model_type), tiny))


@pytest.fixture(scope="session")
def bundled_classifier() -> Callable[[str], Classifier]:
    """The bundled model in a precision: never change it."""
    return cache(lambda precision: Classifier.from_pretrained(precision=precision))

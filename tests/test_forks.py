"""Forks after loading: the child gives the same bits within seconds."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.usefixtures("two_threads"),
    # From Python 3.12 on: this process may have threads of other tests.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else multiprocessing
TEXTS = ["Today is a nice day!", "But what about tomorrow? Im not sure. " * 9, "", "dull"]
PARALLELISM = "TOKENIZERS_PARALLELISM"
SECONDS = 60
"""Time for a child that works; one that hangs uses all of it."""


def exit_code_of(child: Callable[[], None], seconds: float = SECONDS) -> int | None:
    """Run `child` in a fork and return its exit code; None if it had to be killed."""
    process = FORK.Process(target=child)
    process.start()
    process.join(seconds)
    code = process.exitcode
    process.kill()
    process.join()
    return code


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_child_gives_the_same_bits(
    bundled_classifier: Callable[[str], Classifier], precision: str
) -> None:
    classifier = bundled_classifier(precision)
    expected = classifier.logits(TEXTS)

    def child() -> None:
        assert torch.get_num_threads() == 2
        assert np.array_equal(classifier.logits(TEXTS), expected)

    assert exit_code_of(child) == 0
    assert np.array_equal(classifier.logits(TEXTS), expected)  # and so does the parent


def test_a_child_may_load_set_the_threads_and_fork_again(
    bundled_classifier: Callable[[str], Classifier],
) -> None:
    expected = bundled_classifier("fp32").logits(TEXTS)

    def grandchild() -> None:
        torch.set_num_threads(2)
        assert np.array_equal(bundled_classifier("fp32").logits(TEXTS), expected)

    def child() -> None:
        second = Classifier.from_pretrained(threads=3)  # the first thing that it does
        assert np.array_equal(second.logits(TEXTS), expected)
        assert exit_code_of(grandchild) == 0

    assert exit_code_of(child) == 0


def test_the_drop_in_model_and_its_gradients() -> None:
    model = AutoModelForSequenceClassification.from_pretrained()
    tokenizer = AutoTokenizer.from_pretrained()
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    expected = model(**inputs).logits.detach()

    def child() -> None:
        inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        logits = model(**inputs).logits
        logits.sum().backward()
        assert torch.equal(logits, expected)
        assert all(parameter.grad is not None for parameter in model.classifier.parameters())

    assert exit_code_of(child) == 0


def test_a_pool_of_forked_workers(bundled_classifier: Callable[[str], Classifier]) -> None:
    global _inherited
    _inherited = bundled_classifier("fp32")
    expected = _inherited.logits(TEXTS)
    with ProcessPoolExecutor(2, mp_context=FORK) as pool:
        for found in pool.map(_in_worker, [TEXTS] * 4, timeout=SECONDS):
            assert np.array_equal(found, expected)


_inherited: Classifier


def _in_worker(texts: list[str]) -> object:
    return _inherited.logits(texts)


def test_a_fork_while_another_thread_tokenizes() -> None:
    tokenizer = AutoTokenizer.from_pretrained()
    ended = threading.Event()

    def tokenize() -> None:
        while not ended.is_set():
            tokenizer(TEXTS * 50, truncation=True)

    def child() -> None:
        tokenizer(TEXTS, truncation=True, max_length=9)

    thread = threading.Thread(target=tokenize)
    thread.start()
    try:
        assert [exit_code_of(child, 20) for _ in range(3)] == [0, 0, 0]
    finally:
        ended.set()
        thread.join()


def test_what_torch_computed_before_does_not_hang_it() -> None:
    matrix = torch.randn(400, 400, generator=torch.Generator().manual_seed(0))
    expected = matrix @ matrix

    def child() -> None:
        assert torch.equal(matrix @ matrix, expected)

    assert exit_code_of(child) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP hangs, others do not")
def test_a_fork_that_python_does_not_see_hangs() -> None:
    """The negative control: by the C function, what the package does at a fork is left out."""
    matrix = torch.randn(400, 400)
    matrix @ matrix
    child = ctypes.PyDLL(None).fork()
    if not child:
        matrix @ matrix
        os._exit(0)
    time.sleep(2)
    ended, _ = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert not ended


def test_tokenizing_many_texts_in_a_child(
    bundled_classifier: Callable[[str], Classifier],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With threads it would wait for those of the parent: the inverse shows that it does."""
    classifier = bundled_classifier("fp32")
    assert len(classifier.tokenize(TEXTS * 50)) == 50 * len(TEXTS)

    def child() -> None:
        assert len(classifier.tokenize(TEXTS * 50)) == 50 * len(TEXTS)

    def child_with_threads() -> None:
        os.environ[PARALLELISM] = "true"
        child()

    monkeypatch.setenv(PARALLELISM, "true")
    assert exit_code_of(child) == 0
    assert exit_code_of(child_with_threads, 2) is None
    assert os.environ[PARALLELISM] == "true"
    monkeypatch.delenv(PARALLELISM)
    assert exit_code_of(child) == 0
    assert PARALLELISM not in os.environ
    assert capfd.readouterr().err == ""

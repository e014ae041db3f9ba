"""assert_batch_invariant passes and fails rightly, and its message tells what a reader needs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from isobatch.audit import assert_batch_invariant, audit
from isobatch.errors import AuditError, InputError, OptionError

Rows = list[list[float]]
TEXTS = ("a fine film", "dull", "never a dull minute in it")


def sound(texts: Sequence[str]) -> Rows:
    return [[len(text), text.count("a") - 0.5] for text in texts]


def padded(texts: Sequence[str]) -> Rows:
    longest = max(map(len, texts))
    return [[length, 0.001 * (longest - length)] for length in map(len, texts)]


def test_a_sound_function_passes() -> None:
    assert_batch_invariant(sound)
    assert_batch_invariant(sound, TEXTS)
    assert_batch_invariant(lambda texts: np.array(sound(texts), dtype=np.float32), iter(TEXTS))


def test_the_message_has_the_numbers_and_the_smallest_pair() -> None:
    with pytest.raises(AssertionError, match=r"answers depend on the batch: .* rows moved") as seen:
        assert_batch_invariant(padded, TEXTS)
    for part in (
        "not one bit may change",
        "'dull' in a batch of 3",
        "next to",
        "alone",
        "in batch",
    ):
        assert part in str(seen.value)


@pytest.mark.parametrize("least", [2, 9, 33, 64])
def test_a_fault_of_large_batches_is_found_and_sizes_can_be_chosen(least: int) -> None:
    sizes: list[int] = []

    def faulty(texts: Sequence[str]) -> Rows:
        sizes.append(len(texts))
        return [[a + 1e-6 * (len(texts) >= least), b] for a, b in sound(texts)]

    with pytest.raises(AssertionError, match="rows moved"):
        assert_batch_invariant(faulty)
    assert max(sizes) == 64
    sizes.clear()
    with pytest.raises(AssertionError, match=f"in a batch of {least}"):
        assert_batch_invariant(faulty, TEXTS, batch_sizes=(least,))
    assert max(sizes) == max(least, 3)
    if least > 2:
        assert_batch_invariant(faulty, TEXTS, batch_sizes=(2,))


def test_the_sizes_of_the_message_pass() -> None:
    def small(texts: Sequence[str]) -> Rows:
        if len(texts) > 32:
            raise ValueError("at most 32")
        return sound(texts)

    with pytest.raises(AssertionError, match=r"batch of 33 .* at most 32") as seen:
        assert_batch_invariant(small)
    named = str(seen.value).partition("batch_sizes=(")[2].rstrip(")")
    assert_batch_invariant(small, batch_sizes=[int(size) for size in named.split(",")])
    for senseless in ((), (1,), (0, 2), ("2",)):
        with pytest.raises(InputError, match="batch_sizes"):
            assert_batch_invariant(sound, batch_sizes=senseless)  # type: ignore[arg-type]


def test_what_is_allowed_passes_and_no_more() -> None:
    assert_batch_invariant(padded, TEXTS, atol=0.03)
    with pytest.raises(AssertionError, match=r"0\.001 is allowed"):
        assert_batch_invariant(padded, TEXTS, atol=0.001)


def test_no_number_is_no_answer_whatever_is_allowed() -> None:
    def broken(texts: Sequence[str]) -> Rows:
        return [[float("nan") if text == "dull" else 1.0] for text in texts]

    with pytest.raises(AssertionError, match=r"(?s)'dull'.*alone     \[nan\]"):
        assert_batch_invariant(broken, TEXTS, atol=1e9)


def test_a_batch_that_fails_is_reported() -> None:
    def one(texts: Sequence[str]) -> Rows:
        if len(texts) > 1:
            raise ValueError("one at a time")
        return sound(texts)

    with pytest.raises(AssertionError, match=r"a batch of 3 texts fails, .*: one at a time"):
        assert_batch_invariant(one, TEXTS)
    with pytest.raises(AssertionError, match="returned 3 rows for 4 texts"):
        assert_batch_invariant(lambda texts: sound(list(dict.fromkeys(texts))), [*TEXTS, "dull"])


def test_texts_that_are_none_are_refused() -> None:
    bad: list[Any] = ["one text", [], ["one"], [1, 2], ["one", None], iter(["one"])]
    for texts in bad:
        with pytest.raises(InputError, match="assert_batch_invariant"):
            assert_batch_invariant(sound, texts)


@pytest.mark.parametrize("atol", [-1.0, float("nan")])
def test_a_tolerance_that_is_none_is_refused(atol: float) -> None:
    with pytest.raises(InputError, match="atol"):
        assert_batch_invariant(sound, TEXTS, atol)


def test_what_is_no_function_is_refused() -> None:
    for target in (None, "transformers:somewhere", [1]):
        with pytest.raises(OptionError, match="cannot be called with texts"):
            assert_batch_invariant(target, TEXTS)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="cannot be called with texts"):
            audit(target, TEXTS)  # type: ignore[arg-type]


def test_a_text_without_an_answer_alone_is_an_error() -> None:
    def together(texts: Sequence[str]) -> Rows:
        if len(texts) == 1:
            raise ValueError("more than 1 value expected")
        return sound(texts)

    with pytest.raises(AuditError, match=r"no result alone.*more than 1 value expected"):
        assert_batch_invariant(together, TEXTS)


def test_an_audit_takes_texts_of_any_kind() -> None:
    assert audit(sound, iter(TEXTS), quick=True).num_texts == 3  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not one text"):
        audit(sound, "a text")
    for texts in ([], ["one"], ["one", "one"], ["one", " "], ["one", 2]):
        with pytest.raises(InputError):
            audit(sound, texts)  # type: ignore[arg-type]

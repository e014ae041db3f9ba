"""How far outputs moved, and what rounding may do: float formats show in the numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobatch.audit.movement import (
    FLOAT32,
    Tolerance,
    compare,
    decimal_step,
    largest_gaps,
    scores_of,
    tolerance_of,
    unit_of,
)
from isobatch.audit.report_page import Scale
from isobatch.audit.session import AuditSession
from isobatch.audit.subject import FloatFormat, Subject

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(24, 3)) * 2


def in_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Rounded to `bits` bits of mantissa."""
    mantissas, exponents = np.frexp(values)
    return np.ldexp(np.round(mantissas * 2.0**bits) / 2.0**bits, exponents)


def in_float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(np.float64)


def test_equal_bits_do_not_move_and_one_bit_does() -> None:
    after = LOGITS.copy()
    after[3, 1] = np.nextafter(after[3, 1], 9)
    assert compare(LOGITS, LOGITS, gives_scores=False).moved_rows == 0
    movement = compare(LOGITS, after, gives_scores=False)
    assert (movement.moved_rows, movement.broken_rows, movement.flips) == (1, 0, 0)
    assert tolerance_of(LOGITS, 0.0).judge(movement) == "drift"


def test_numbers_that_break_are_a_bug_on_either_side() -> None:
    broken = LOGITS.copy()
    broken[0, 0] = np.nan
    for before, after in ((LOGITS, broken), (broken, LOGITS), (broken, broken)):
        movement = compare(before, after, gives_scores=False)
        assert movement.broken_rows == 1
        assert np.isfinite(movement.max_logit or 0.0)
        assert Tolerance(1.0).judge(movement) == "bug"
    assert largest_gaps(broken, broken).max() == 0
    assert largest_gaps(LOGITS, broken)[0] == np.inf


def test_the_sign_of_a_zero_is_a_movement_and_the_bits_of_nan_are_not() -> None:
    zeros = np.array([[0.0, 1.0], [-0.0, 1.0], [np.nan, 0.0]])
    other = np.array([[-0.0, 1.0], [-0.0, 1.0], [-np.nan, 0.0]])
    assert (largest_gaps(zeros, other) > 0).tolist() == [True, False, False]
    assert largest_gaps(zeros, zeros).max() == 0
    movement = compare(zeros[:2], other[:2], gives_scores=False)
    assert (movement.moved_rows, movement.flips) == (1, 0)
    assert Tolerance(1e-4).judge(movement) == "drift"
    assert Scale.over(movement.points) == Scale(-16, 0, broken=False)


@given(st.floats(1e-3, 1e4), st.floats(1e-9, 1e3))
def test_a_tolerance_is_above_nothing_and_at_most_a_tenth(size: float, noise: float) -> None:
    answers = LOGITS / np.abs(LOGITS).max() * size
    allowed = tolerance_of(answers, noise).absolute
    assert 0 < allowed <= 0.1 * max(size, 0.05) * 1.001


def test_noise_counts_up_to_what_rounding_can_cause() -> None:
    size = np.abs(LOGITS).max()
    assert tolerance_of(LOGITS, 1e-3 * size).absolute == pytest.approx(1e-2 * size)
    assert tolerance_of(LOGITS, 0.05 * size).absolute == pytest.approx(1e-4 * size)


@pytest.mark.parametrize("bits", [8, 11])
def test_sixteen_bits_show_in_logits_and_behind_scores(bits: int) -> None:
    logits = in_bits(LOGITS, bits)
    assert unit_of(logits) == 2.0**-bits
    assert unit_of(in_float32(scores_of(logits))) >= 2.0**-bits
    assert unit_of(in_float32(1 / (1 + np.exp(-logits)))) >= 2.0**-bits
    assert unit_of(in_float32(scores_of(logits[:, :1]))) >= 2.0**-bits


@pytest.mark.parametrize("seed", range(20))
def test_full_precision_is_not_taken_for_less(seed: int) -> None:
    logits = in_float32(np.random.default_rng(seed).normal(size=(8, 2)) * 3)
    for answers in (logits, in_float32(scores_of(logits)), in_float32(scores_of(logits[:, :1]))):
        assert unit_of(answers) == FLOAT32
        assert decimal_step(answers) == 0


def test_numbers_that_show_nothing_count_as_full_precision() -> None:
    for answers in (np.zeros((9, 2)), np.full((9, 2), 0.5), np.eye(9), np.full((9, 2), np.nan)):
        assert unit_of(answers) == FLOAT32
        assert decimal_step(answers) == 0


def test_a_stated_format_counts() -> None:
    bfloat16, other = FloatFormat.named("bfloat16"), FloatFormat.named("of its own")
    assert tolerance_of(LOGITS, 0, dtype=bfloat16).absolute > tolerance_of(LOGITS, 0).absolute
    assert tolerance_of(LOGITS, 0, dtype=other) == tolerance_of(LOGITS, 0)
    half, float16 = FloatFormat.named("half"), FloatFormat.named("float16")
    assert half is float16 is FloatFormat.FLOAT16


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
def test_one_step_of_a_rounded_score_is_drift_and_more_are_a_bug(digits: int) -> None:
    scores = np.round(scores_of(LOGITS), digits)
    for before in (scores, in_float32(scores)):
        allowed = tolerance_of(before, 0.0, gives_scores=True)
        one, four = before + 10.0**-digits, before + 4 * 10.0**-digits
        assert allowed.judge(compare(before, one, gives_scores=True)) == "drift"
        assert allowed.judge(compare(before, four, gives_scores=True)) == "bug"


def test_the_tolerance_of_a_system_depends_on_its_dtype_and_not_on_displayed_facts() -> None:
    def tolerance(**traits: Any) -> float:
        subject = Subject(
            "s", "python", lambda texts: LOGITS[[len(text) for text in texts]], **traits
        )
        return AuditSession(subject, ("a", "bc")).tolerance.absolute

    assert tolerance(facts={"dtype": "bfloat16"}) == tolerance()
    assert tolerance(dtype=FloatFormat.BFLOAT16) > tolerance()


@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_rounding_moves_scores_of_entities_and_nothing_else(column: int) -> None:
    """A label, a start and an end are 1/16 and 1/1024 of their numbers."""
    before = np.array([[0.0625, 0.0, 5 / 1024, 0.9, 0.0, 9 / 1024, 12 / 1024, 0.8]])
    after = before.copy()
    after[0, column] += 1 / 1024
    movement = compare(before, after, gives_scores=False, reads="entities")
    verdict = Tolerance(0.04).judge(movement)
    assert verdict == ("drift" if column == 3 else "bug")

"""Scores by exactly defined operations: fixed bits, near the true values, as fast as before."""

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from claims.ambient_states import VISIBLE
from hypothesis import given
from hypothesis import strategies as st

from isobatch.ambient import float_environment
from isobatch.tasks import score_logits, scores
from isobatch.tasks.scores import MANY_LABELS, NEGLIGIBLE, exponentials
from isobatch.types import ScoreActivation

FLOAT_STATES = (
    "flush to zero",
    "a library with -Ofast",
    "rounding up",
    "rounding down",
    "rounding toward zero",
)

Powers = Callable[[Sequence[float]], list[float]]

SMALLEST = 2.0**-149
LARGEST = (2 - 2.0**-23) * 2.0**127
"""Of float32, the type of logits."""

LOGITS = {
    "two labels": (-1.40625, 1.734375),
    "near each other": (13421773 / 2**27, 10066330 / 2**25),
    "both zeros": (0.0, -0.0),
    "equal": (2.5, 2.5, 2.5),
    "five labels": (-0.703125, 0.046875, 3.296875, -2.203125, 1.109375),
    "one label": (-5.75,),
    "far apart": (20.5, -17.25, 3.0),
    "saturated": (36.5, -37.5),
    "beyond float32": (0.0, -104.0, -88.0),
    "large": (88.703125, 89.296875),
    "smallest but one step": (0.0, -689.9921875),
    "negligible": (0.0, -690.0),
    "subnormal": (SMALLEST, -SMALLEST, 0.0),
    "huge": (LARGEST, -LARGEST, 1.0),
}

SOFTMAX = {
    "two labels": "0x1.53a8b02a06dc9p-5 0x1.eac574fd5f924p-1",
    "near each other": "0x1.ccf850e0e69e4p-2 0x1.1983d78f8cb0ep-1",
    "both zeros": "0x1.0000000000000p-1 0x1.0000000000000p-1",
    "equal": "0x1.5555555555555p-2 0x1.5555555555555p-2 0x1.5555555555555p-2",
    "five labels": "0x1.ff7d031f17e93p-7 0x1.0eb487ffced7ap-5 0x1.b459441deacafp-1 "
    "0x1.c8838e5b6ef29p-9 0x1.87a7de3a03c79p-4",
    "one label": "0x1.0000000000000p+0",
    "far apart": "0x1.ffffff284e8bcp-1 0x1.73c4d4d0b5082p-55 0x1.af62e87208d9bp-26",
    "saturated": "0x1.0000000000000p+0 0x1.2e73f53fba844p-107",
    "beyond float32": "0x1.0000000000000p+0 0x1.f1e6b68529e33p-151 0x1.07b7112bc1ffep-127",
    "large": "0x1.6c5040f18404ep-2 0x1.49d7df873dfd9p-1",
    "smallest but one step": "0x1.0000000000000p+0 0x1.773ef9266193ap-996",
    "negligible": "0x1.0000000000000p+0 0x0.0p+0",
    "subnormal": "0x1.5555555555555p-2 0x1.5555555555555p-2 0x1.5555555555555p-2",
    "huge": "0x1.0000000000000p+0 0x0.0p+0 0x0.0p+0",
}
SIGMOID = {
    "two labels": "0x1.93199ddd24bfep-3 0x1.b32f6c03fbe1ap-1",
    "near each other": "0x1.0cca1275cc234p-1 0x1.261d54774efcap-1",
    "both zeros": "0x1.0000000000000p-1 0x1.0000000000000p-1",
    "equal": "0x1.d9291ddb596f8p-1 0x1.d9291ddb596f8p-1 0x1.d9291ddb596f8p-1",
    "five labels": "0x1.53110d9310f37p-2 0x1.05ffb8040c91dp-1 0x1.edbb8a7d9f79bp-1 "
    "0x1.976e1438cbe0fp-4 0x1.8107cac4f54edp-1",
    "one label": "0x1.9fd992191da21p-9",
    "far apart": "0x1.fffffff542e28p-1 0x1.14f49d26804a2p-25 0x1.e7b7cbc36fabdp-1",
    "saturated": "0x1.ffffffffffffep-1 0x1.dd5c566301ec8p-55",
    "beyond float32": "0x1.0000000000000p-1 0x1.f1e6b68529e33p-151 0x1.07b7112bc1ffep-127",
    "large": "0x1.0000000000000p+0 0x1.0000000000000p+0",
    "smallest but one step": "0x1.0000000000000p-1 0x1.773ef9266193ap-996",
    "negligible": "0x1.0000000000000p-1 0x0.0p+0",
    "subnormal": "0x1.0000000000000p-1 0x1.0000000000000p-1 0x1.0000000000000p-1",
    "huge": "0x1.0000000000000p+0 0x0.0p+0 0x1.764d4f5d5a2bdp-1",
}
MANY = {
    "softmax": "3b29ab9be76bba4f86c90ca3d957122965400f3ceae58f78159c10030a541929",
    "sigmoid": "8ea004e679ed1f083a0df3a0850b7b9f40256f430b7edd680606d941297d04ac",
}
"""SHA-256 of the scores of `many_logits()`, little-endian doubles."""


def many_logits() -> list[float]:
    return [(1237 * index % 4001 - 2000) / 64 for index in range(1000)]


def digest(values: Sequence[float]) -> str:
    return hashlib.sha256(struct.pack(f"<{len(values)}d", *values)).hexdigest()


def wrong_bits() -> list[str]:
    """The rows of LOGITS whose scores have other bits than those stored here."""
    stored: dict[ScoreActivation, dict[str, str]] = {"softmax": SOFTMAX, "sigmoid": SIGMOID}
    found = []
    for activation, expected in stored.items():
        for name, row in LOGITS.items():
            got = " ".join(score.hex() for score in score_logits(row, activation))
            found += [] if got == expected[name] else [f"{activation} of {name}: {got}"]
        if digest(score_logits(many_logits(), activation)) != MANY[activation]:
            found.append(f"{activation} of many: {digest(score_logits(many_logits(), activation))}")
    return found


def test_scores_have_the_stored_bits() -> None:
    assert wrong_bits() == []


PLATFORMS: dict[str, Powers] = {
    "math": lambda exponents: [math.exp(each) for each in exponents],
    "numpy": lambda exponents: np.exp(exponents).tolist(),
    "torch": lambda exponents: torch.tensor(exponents, dtype=torch.float64).exp().tolist(),
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_stored_bits_notice_another_exponential(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "exponentials", PLATFORMS[platform])
    assert len(wrong_bits()) >= 4


@pytest.mark.parametrize("state", FLOAT_STATES)
def test_the_float_environment_of_the_thread_changes_no_score(state: str) -> None:
    with VISIBLE[state]():
        found = wrong_bits()
    assert found == []


@pytest.mark.parametrize("state", FLOAT_STATES[-3:])
def test_without_protection_the_rounding_mode_changes_scores(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "has_default_floats", lambda: True)
    with VISIBLE[state]():
        found = wrong_bits()
    assert len(found) >= 4


def test_without_protection_no_score_of_normal_logits_is_flushed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scores, "has_default_floats", lambda: True)
    with VISIBLE["flush to zero"]():
        found = wrong_bits()
    assert found == []


negative = st.floats(max_value=0.0, allow_nan=False) | st.floats(NEGLIGIBLE - 1, 0.0)


@given(st.lists(negative | st.just(math.nan), min_size=1, max_size=2 * MANY_LABELS))
def test_arrays_and_single_numbers_have_the_same_bits(exponents: list[float]) -> None:
    padded = [*exponents, *[-1.0] * MANY_LABELS]
    alone = [exponentials([each])[0] for each in padded]
    assert digest(exponentials(padded)) == digest(alone)
    with np.errstate(all="raise"):
        assert digest(exponentials(padded)) == digest(alone)


@given(st.floats(NEGLIGIBLE, 0.0, exclude_min=True))
def test_an_exponential_is_near_the_true_one(exponent: float) -> None:
    (power,) = exponentials([exponent])
    with localcontext(prec=60):
        distance = abs(Decimal(power) - Decimal(exponent).exp()) / Decimal(math.ulp(power))
    assert distance < 0.85


def test_the_range_ends_before_subnormal_numbers() -> None:
    within, beyond, lowest = exponentials([math.nextafter(NEGLIGIBLE, 0.0), NEGLIGIBLE, -math.inf])
    assert (beyond, lowest) == (0.0, 0.0)
    assert within / 10_000_000 > 2.0**-1022
    assert exponentials([0.0, -0.0, -SMALLEST, -(2.0**-1074)]) == [1.0] * 4


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_order_of_labels_changes_no_score(activation: ScoreActivation) -> None:
    logits = many_logits()
    order = sorted(range(len(logits)), key=lambda index: index * 7919 % 1000)
    shuffled = score_logits([logits[index] for index in order], activation)
    straight = score_logits(logits, activation)
    assert shuffled == [straight[index] for index in order]


@given(st.lists(st.floats(-700, 700, width=32), min_size=1, max_size=2 * MANY_LABELS))
def test_scores_agree_with_torch(logits: list[float]) -> None:
    expected = torch.tensor(logits, dtype=torch.float64)
    softmax, sigmoid = expected.softmax(0).tolist(), expected.sigmoid().tolist()
    assert score_logits(logits, "softmax") == pytest.approx(softmax, rel=1e-13, abs=1e-299)
    assert score_logits(logits, "sigmoid") == pytest.approx(sigmoid, rel=1e-13, abs=1e-299)
    assert sum(score_logits(logits, "softmax")) == pytest.approx(1.0, abs=1e-14)


def test_a_first_import_under_flushed_denormals_leaves_no_wrong_constant() -> None:
    """Python computes constants while it compiles, and keeps them in .pyc files."""
    source = Path(float_environment.__file__).read_text(encoding="utf-8")
    assert torch.set_flush_denormal(True)
    try:
        power = compile("2.0**-1074", "constant", "eval")
        code = compile(source, float_environment.__file__, "exec")
    finally:
        torch.set_flush_denormal(False)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["has_default_floats"]()
    assert eval(power) == 0.0, "the control: a power would be wrong"

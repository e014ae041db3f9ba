"""The numbers of docs/arithmetic.md are those of the sources: coefficients, constants and names."""

import re
from collections.abc import Iterator
from pathlib import Path

import plain_arithmetic as plain
import pytest

from isobatch.kernels import activations, compiled, int8
from isobatch.tasks import scores

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "arithmetic.md").read_text(encoding="utf-8")
HEADER = (ROOT / "isobatch" / "kernels" / "compiled" / "functions.h").read_text(encoding="utf-8")

Coefficients = tuple[list[float], list[float]]


def tabled(page: str, function: str) -> Coefficients:
    """Return P and Q of the table below **function(x)**."""
    section = page.split(f"**{function}(x)**")[1].split("\n**")[0]
    rows = re.findall(r"^\| (\d) \| (\S+) \| (\S+) \|$", section, re.MULTILINE)
    assert [int(index) for index, _, _ in rows] == list(range(6))
    return [float(p) for _, p, _ in rows], [float(q) for _, _, q in rows]


def compiled_coefficients(header: str, function: str) -> Coefficients:
    """Return P and Q of a function of functions.h."""
    body = header.split(f"INLINE Floats {function}(Floats x)")[1].split("\n}")[0]
    found = [
        [float(number.rstrip("f")) for number in listed.replace("\n", " ").split(",")]
        for listed in re.findall(r"constexpr float [PQ]\[\] = \{([^}]*)\}", body)
    ]
    assert [len(each) for each in found] == [6, 6]
    return found[0], found[1]


def page_names(page: str) -> Iterator[str]:
    table = page.split("| activation in config.json | value |")[1].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        yield from re.findall(r"`(\w+)`", line.split("|")[1])


@pytest.mark.parametrize(
    ("function", "in_header"), [("gelu", "gelu"), ("tanh", "hyperbolic_tangent")]
)
def test_coefficients_are_those_of_the_kernels(function: str, in_header: str) -> None:
    table = tabled(PAGE, function)
    assert table == compiled_coefficients(HEADER, in_header)
    assert table == (
        (plain.GELU_P, plain.GELU_Q) if function == "gelu" else (plain.TANH_P, plain.TANH_Q)
    )
    changed = re.sub(r"(P\[\] = \{)[\d.]+f", r"\g<1>0.5f", HEADER)
    assert table != compiled_coefficients(changed, in_header), "the control"


def test_coefficients_of_gelu_are_those_of_torchs_int8() -> None:
    assert tabled(PAGE, "gelu") == (list(int8._GELU_P), list(int8._GELU_Q))
    assert f"x within ±{int8._GELU_LIMIT}" in PAGE


@pytest.mark.parametrize(
    "number",
    ["1.44269504", "-0.693359375", "2.12194440e-4", "1.5957691216057308", "0.044715", "1.702"],
)
def test_constants_are_those_of_the_kernels(number: str) -> None:
    assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", PAGE)
    assert re.search(rf"(?<![\d.]){re.escape(number)}f", HEADER)


def test_limits_are_those_of_the_kernels() -> None:
    for limit in ("5.5", "9"):
        assert f"c = x within ±{limit}:" in PAGE
        compiled_limit = float(limit)
        assert f"at_most(at_least(x, -{compiled_limit}f), {compiled_limit}f)" in HEADER
    assert "below -87 is replaced by -87" in PAGE
    assert "at_least(x, -87.0f)" in HEADER


def test_constants_of_exp64_are_those_of_the_scores() -> None:
    rows = dict(re.findall(r"^\| ([LHMP]\d?) \| (-?0x\S+) \|$", PAGE, re.MULTILINE))
    names = {"L": "_LOG2_E", "H": "_LN_2_HIGH", "M": "_LN_2_LOW"}
    names |= {f"P{i}": f"_P{i}" for i in range(1, 6)}
    assert {key: float.fromhex(text) for key, text in rows.items()} == {
        key: getattr(scores, name) for key, name in names.items()
    }
    assert f"0 from {scores.NEGLIGIBLE:.0f} down" in PAGE


def test_activations_are_all_that_config_json_may_name() -> None:
    names = list(page_names(PAGE))
    assert len(names) == len(set(names))
    assert set(names) == set(activations._BY_NAME) == set(plain.ACTIVATIONS)
    assert {activations.activation_named(name).name for name in names} == set(compiled.ACTIVATIONS)

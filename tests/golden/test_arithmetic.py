"""Compiled kernels give the bits that docs/arithmetic.md defines: those of `plain_arithmetic`.

Every instruction set that this machine can run is compared with a second implementation, in plain
Python; each control changes one rule of that, and then the bits differ.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import plain_arithmetic as plain
import pytest
import torch
from numpy.typing import NDArray
from plain_arithmetic import Number, PlainModel, Row
from safetensors.torch import load_file, save_file
from tiny_checkpoints import FAMILIES, Tiny, TinyFolder, random_ids
from tokenizer_folders import write_tokenizer

from isobatch import Classifier
from isobatch.batching.packed import pack
from isobatch.checkpoint import read_config, read_stored_tensors
from isobatch.kernels import (
    ARITHMETIC,
    EmbeddingWeights,
    NormWeights,
    activation_named,
    compiled,
)
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.kernels.distances import rows_by_logarithm, t5_rows
from isobatch.kernels.rotary import inverse_frequencies
from isobatch.model.loading import empty_model, parameter_shapes
from isobatch.specification import Disentangled, PositionRule, Rotary
from isobatch.types import Encoding, Precision

VARIANTS = [each.name for each in compiled.variant_statuses() if each.problem is None]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
LENGTHS = (1, 2, 3, 5, 7)

pytestmark = pytest.mark.skipif(not VARIANTS, reason="no compiled kernels run here")

MODELS = {
    "bert": Tiny("bert", head_dim=5, intermediate_size=40, num_labels=3),
    "distilbert": Tiny(
        "distilbert", head_dim=5, intermediate_size=40, num_labels=1, hidden_act="relu"
    ),
    "roberta": Tiny("roberta", head_dim=5, intermediate_size=40, hidden_act="gelu_new"),
    "xlm-roberta": Tiny(
        "xlm-roberta", head_dim=5, intermediate_size=24, num_labels=1, hidden_act="quick_gelu"
    ),
    "camembert": Tiny(
        "camembert",
        num_heads=3,
        head_dim=3,
        num_layers=1,
        intermediate_size=7,
        hidden_act="mish",
    ),
    "electra": Tiny(
        "electra", head_dim=5, intermediate_size=40, embedding_size=12, hidden_act="silu"
    ),
    "wide": Tiny(
        "bert",
        num_heads=1,
        head_dim=70,
        num_layers=1,
        intermediate_size=130,
        hidden_act="tanh",
        num_labels=3,
        problem_type="multi_label_classification",
    ),
    "modernbert": Tiny("modernbert", num_heads=3, num_layers=4, intermediate_size=20),
    "gte": Tiny("gte", num_layers=1, intermediate_size=20, hidden_act="gelu"),
    "nomic_bert": Tiny("nomic_bert", num_layers=1, intermediate_size=20, hidden_act="silu"),
    "mpnet": Tiny("mpnet", head_dim=5, num_layers=1, intermediate_size=20),
    "deberta": Tiny("deberta-v2", head_dim=5, num_layers=1, intermediate_size=20),
    "albert": Tiny("albert", head_dim=5, num_layers=1, intermediate_size=20),
    "qwen3": Tiny("qwen3", num_layers=1, intermediate_size=20, hidden_act="silu"),
    "peaked": Tiny("bert", head_dim=5, intermediate_size=40, num_layers=1),
}
"""By name; in the attention of "peaked" most exponents are below the limit of exp."""


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute by the test's variant, if it has one."""
    if "variant" in request.fixturenames:
        monkeypatch.setenv(VARIABLE, request.getfixturevalue("variant"))


@pytest.fixture(scope="module")
def folder_of(
    tiny_folder: TinyFolder, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    @cache
    def write(name: str) -> Path:
        tiny = MODELS[name]
        folder = tmp_path_factory.mktemp("arithmetic") / name
        shutil.copytree(tiny_folder(tiny), folder)
        write_tokenizer(folder, tiny.model_type)
        if name == "peaked":
            file = folder / "model.safetensors"
            tensors = load_file(file)
            steep = {key: 40 * value for key, value in tensors.items() if "query" in key}
            save_file(tensors | steep, file, metadata={"format": "pt"})
        return folder

    return write


def read_plain(folder: Path, precision: Precision) -> PlainModel:
    config = read_config(folder)
    stored = read_stored_tensors(folder, config, parameter_shapes(empty_model(config)))
    return PlainModel(config, {name: each.numpy() for name, each in stored}, precision == "int8")


def encodings_of(name: str) -> list[Encoding]:
    """Short sequences, and one of more than 64 tokens where that takes no time."""
    tiny = MODELS[name]
    lengths = {"camembert": (*LENGTHS, 70), "wide": (1, 5), "deberta": (1, 24, 5)}.get(
        name, LENGTHS
    )
    rows = random_ids(lengths, tiny, seed=3)
    rows.append([2, tiny.pad_token_id, 9])
    types = 2 if tiny.has_token_types else 1
    return [Encoding(row, [i % types for i in range(len(row))]) for row in rows]


@pytest.fixture(scope="module")
def plain_logits(folder_of: Callable[[str], Path]) -> Callable[[str, Precision], list[Row]]:
    """The logits of the plain implementation, computed once for all instruction sets."""

    @cache
    def compute(name: str, precision: Precision) -> list[Row]:
        model = read_plain(folder_of(name), precision)
        return [model.logits(each.input_ids, each.token_type_ids) for each in encodings_of(name)]

    return compute


def same_bits(one: object, other: object) -> bool:
    """Whether float32 numbers are equal, with the sign of zero; NaN is equal to nothing."""
    first, second = np.asarray(one, np.float32), np.asarray(other, np.float32)
    assert not np.isnan(second).any()
    return first.shape == second.shape and first.tobytes() == second.tobytes()


# ------------------------------------------------------------------------------------------ models


def test_the_models_have_every_family() -> None:
    assert {tiny.model_type for tiny in MODELS.values()} == {*FAMILIES}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_and_scores_are_those_of_the_page(
    name: str,
    precision: Precision,
    variant: str,
    folder_of: Callable[[str], Path],
    plain_logits: Callable[[str, Precision], list[Row]],
) -> None:
    classifier = Classifier.from_pretrained(folder_of(name), precision=precision)
    if classifier.arithmetic != ARITHMETIC:
        pytest.skip(f"the arithmetic is {classifier.arithmetic}")
    encodings = encodings_of(name)
    expected = plain_logits(name, precision)
    outputs = classifier.forward(encodings)
    for encoding, output, row in zip(encodings, outputs, expected, strict=True):
        assert same_bits(output, row), len(encoding)
        scores = classifier.decode(output, encoding).scores
        assert list(scores.values()) == plain.scores(row, classifier.score_activation)


def test_exponents_of_the_peaked_attention_are_below_the_limit_of_exp(
    folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    kept = plain.exp

    def exp(x: Number) -> Number:
        seen.append(float(x))
        return kept(x)

    monkeypatch.setattr(plain, "exp", exp)
    longest = encodings_of("peaked")[4]
    read_plain(folder_of("peaked"), "fp32").logits(longest.input_ids, longest.token_type_ids)
    assert sum(x < -87 for x in seen) > 20


def two_roundings(a: Number, b: Number, c: Number) -> Number:
    return a * b + c


def add_from_left(row: Row, places: object = None) -> Number:
    total = Number(0)
    for number in row:
        total += number
    return total


def start_at_the_end(x: Row, y: Row, start: Number) -> Number:
    for a, b in zip(x[::-1], y[::-1], strict=True):
        start = plain.fma(a, b, start)
    return start


def larger_scale(row: Row) -> tuple[list[int], Number]:
    largest = max(Number(1e-30), *map(abs, row))
    integers = [int(np.rint(number * (Number(127) / largest))) for number in row]
    return integers, np.nextafter(largest / Number(127), Number(1))


def scale_by_product(x: Row, weight: list[tuple[list[int], Number]], bias: Row) -> Row:
    """Multiply the sums of int8 by the product of both scales."""
    integers, row_scale = plain.quantize(x)
    sums = [sum(a * b for a, b in zip(integers, row, strict=True)) for row, _ in weight]
    scales = [row_scale * scale for _, scale in weight]
    return [Number(s) * scale + b for s, scale, b in zip(sums, scales, bias, strict=True)]


attention_of_the_page = plain.attention


def products_of_keys_first(*given: Any) -> Row:
    *others, distances = given
    return attention_of_the_page(*others, dict(reversed(distances.items())))


CONTROLS: dict[str, tuple[str, Precision, str, Callable[..., object]]] = {
    "contraction": ("bert", "fp32", "multiply_add", plain.fma),
    "products rounded twice": ("bert", "fp32", "fma", two_roundings),
    "sums from left to right": ("wide", "fp32", "sum64", add_from_left),
    "the exponential of numpy": ("bert", "fp32", "exp", np.exp),
    "products from the end": ("bert", "fp32", "product", start_at_the_end),
    "the scale of int8 one bit larger": ("bert", "int8", "quantize", larger_scale),
    "p2c before c2p": ("deberta", "fp32", "attention", products_of_keys_first),
    "scales of int8 multiplied first": ("bert", "int8", "int8_linear", scale_by_product),
}
"""The model, its precision, and the function of `plain_arithmetic` that another replaces."""


@pytest.mark.parametrize("fault", CONTROLS)
def test_with_another_rule_the_bits_differ(
    fault: str,
    folder_of: Callable[[str], Path],
    plain_logits: Callable[[str, Precision], list[Row]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, precision, function, other = CONTROLS[fault]
    expected = plain_logits(name, precision)
    model, encoding = read_plain(folder_of(name), precision), encodings_of(name)[1]
    monkeypatch.setattr(plain, function, other)
    changed = model.logits(encoding.input_ids, encoding.token_type_ids)
    assert not same_bits(changed, expected[1])
    assert np.allclose(changed, expected[1], rtol=1e-3, atol=1e-4)


def test_with_another_exponential_the_scores_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [list(row) for row in numbers(600, 2.0).reshape(200, 3)]
    expected = [plain.scores(row, "softmax") for row in rows]
    monkeypatch.setattr(plain, "exp64", math.exp)
    changed = [plain.scores(row, "softmax") for row in rows]
    assert changed != expected
    assert np.allclose(changed, expected, rtol=1e-14, atol=0)


# --------------------------------------------------------------------------------------- functions


def numbers(count: int, scale: float = 1.0, seed: int = 0) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def sample() -> NDArray[np.float32]:
    """Some hundred numbers: of every magnitude, next to every limit, zeros and denormals."""
    limits = np.array([5.5, 6, 9, 54.5, 87, 88, 89, 0.5 / 1.702, 104], np.float32)
    near = [np.nextafter(limits, np.float32(side)) for side in (0, 1e9)]
    magnitudes = np.geomspace(1e-44, 3e38, 90).astype(np.float32)
    tiny = np.array([0, 1e-45, 1.1754942e-38, 1.1754944e-38, 3.4028235e38], np.float32)
    above = np.concatenate([limits, *near, magnitudes, tiny, np.abs(numbers(120, 4.0))])
    return np.concatenate([above, -above])


@pytest.mark.parametrize("name", plain.ACTIVATIONS)
def test_every_number_of_an_activation_is_that_of_the_page(name: str, variant: str) -> None:
    x = sample()
    with np.errstate(all="ignore"):  # products of the largest numbers overflow
        expected = [plain.ACTIVATIONS[name](number) for number in x]
    # Each number in every lane: fma(x, 1, -0) is x, also for both zeros.
    ones, zeros = torch.ones(21, 1), torch.full((21,), -0.0)
    y = compiled.compute_linear(torch.tensor(x)[:, None], ones, zeros, activation_named(name))
    assert same_bits(y, np.repeat(np.array(expected)[:, None], 21, axis=1))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("num_in", [1, 20, 130])
def test_linears_are_those_of_the_page_at_every_magnitude(
    num_in: int, precision: Precision, variant: str
) -> None:
    scales = np.array([1, 1e-19, 1e-25, 1e-37, 1e-42, 1e18, 0], np.float32)
    x = numbers(len(scales) * num_in, seed=1).reshape(-1, num_in) * scales[:, None]
    weight = numbers(19 * num_in, 1e-3, seed=2).reshape(19, num_in)
    weight[3] = 0
    bias = numbers(19, 1e-22, seed=3)
    packed = compiled.PackedWeight(torch.tensor(weight), precision)
    y = compiled.compute_linear(torch.tensor(x), packed, torch.tensor(bias))
    rows = [list(row) for row in weight]
    if precision == "fp32":
        expected = [plain.linear(list(row), rows, list(bias)) for row in x]
    else:
        narrow = [plain.quantize(row) for row in rows]
        expected = [plain.int8_linear(list(row), narrow, list(bias)) for row in x]
    assert same_bits(y, expected)


@pytest.mark.parametrize("size", [1, 20, 64, 70, 200])
def test_norms_are_those_of_the_page_at_every_magnitude(size: int, variant: str) -> None:
    scales = np.array([1, 1e-12, 1e-25, 1e-42, 1e17, 0], np.float32)
    x = numbers(len(scales) * size, seed=4).reshape(-1, size) * scales[:, None]
    x = np.concatenate([x, x[:1] + np.float32(300), np.full((1, size), 0.1, np.float32)])
    weight, bias = numbers(size, seed=5), numbers(size, seed=6)
    norm = NormWeights(torch.tensor(weight), torch.tensor(bias), 1e-12)
    tables = EmbeddingWeights(torch.tensor(x), torch.zeros(len(x), size), None, norm)
    ids = list(range(len(x)))
    y = compiled.embed(tables, pack([Encoding(ids, [0] * len(ids))], PositionRule()))
    zero = [Number(0)] * size
    expected = [
        plain.norm(plain.add(list(row), zero), list(weight), list(bias), 1e-12) for row in x
    ]
    assert same_bits(y, expected)


# ------------------------------------------------------------------------ the plain implementation


def rounded(exact: Fraction) -> float:
    """Round to float32 by comparing with its neighbours, ties to the even one."""
    near = np.float32(float(exact))
    sides = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]

    def distance(number: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(number)) - exact), int(number.view(np.int32)) & 1

    return float(min(sides, key=distance))


def fma_cases() -> Sequence[tuple[Number, Number, Number]]:
    a, b = numbers(900, seed=7), numbers(900, seed=8)
    c = -(a * b) * np.geomspace(1e-12, 1e12, 900).astype(np.float32)
    c[::3] = -(a * b)[::3]  # the sum is the rounding error of the product
    a[1::5] *= np.float32(1e-20)
    b[1::5] *= np.float32(1e-20)  # denormal products
    # Sums closer to a tie of float32 than float64 can tell: 2⁻²⁴ (1 ∓ 2⁻⁴⁶) + 1.0…
    below = Number(1 + 2.0**-23), Number(2.0**-24 * (1 - 2.0**-23)), Number(1 + 2.0**-23)
    above = Number(8384513 * 2.0**-35), Number(8392705 * 2.0**-35), Number(1)
    return [*zip(a, b, c, strict=True), below, above]


def test_fma_is_rounded_once() -> None:
    cases = fma_cases()
    exact = [Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)) for a, b, c in cases]
    expected = [rounded(each) for each in exact]
    assert [float(plain.fma(*case)) for case in cases] == expected
    assert [float(two_roundings(*case)) for case in cases] != expected, "the control"
    in_float64 = [float(Number(float(a) * float(b) + float(c))) for a, b, c in cases]
    assert in_float64 != expected, "the control: a sum in float64 is rounded twice, too"


def test_frequencies_are_those_of_the_page() -> None:
    for rotary in (
        Rotary(10_000.0, 64),
        Rotary(10_000.0, 48, factor=3.0),
        Rotary(500_000.0, 128, factor=8.0, bands=(1.0, 4.0, 8192)),
        Rotary(10_000.0, 64, factor=32.0, bands=(0.7, 3.3, 500)),
    ):
        of_page = [plain.frequency(rotary, index) for index in range(rotary.size // 2)]
        assert inverse_frequencies(rotary).tolist() == [float(each) for each in of_page]
        if rotary.bands is not None:
            fast, slow = (
                [
                    plain.frequency(replace(rotary, bands=None, factor=factor), index)
                    for index in range(rotary.size // 2)
                ]
                for factor in (1.0, rotary.factor)
            )
            kinds = [(x == y, x == z) for x, y, z in zip(of_page, fast, slow, strict=True)]
            assert {(True, False), (False, True), (False, False)} == {*kinds}, "all three bands"


def test_rows_of_distances_are_those_of_the_page() -> None:
    distances = range(-3000, 3001)
    assert t5_rows(np.array(distances)).tolist() == [plain.bucket(each) for each in distances]
    for rule in (
        Disentangled(256, 512),
        Disentangled(24, 300),
        Disentangled(16),
        Disentangled(5, 9),
    ):
        found = rows_by_logarithm(np.array(distances), rule).tolist()
        assert found == [plain.distance_row(each, rule) for each in distances]

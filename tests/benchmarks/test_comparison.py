"""Isobatch compared with the best other engine, and the acceptance criteria."""

from typing import Any

import pytest
from benchmark_results import AVX2, AVX512, engine, result

from benchmarks.acceptance import SPEED_TARGETS, judge, judge_bits, judge_cold_start
from benchmarks.cold_start import seconds_over_import
from benchmarks.comparison import compare_engines
from benchmarks.machine_kinds import MACHINE_KINDS, kind_of
from benchmarks.table import render

AVX2_KIND = kind_of({"instruction_sets": AVX2})


def compared(engines: dict[str, Any]) -> dict[str, tuple[str, float, bool | None]]:
    found = compare_engines(AVX2_KIND, engines)
    return {each.name: (each.best, round(each.ratio, 2), each.is_met) for each in found}


def test_the_best_engine_is_chosen_for_each_figure() -> None:
    rows = compared(
        {
            "isobatch": engine(bulk=120.0, p50=10.0),
            "onnxruntime": engine("ONNX Runtime", bulk=100.0, p50=12.0),
            "openvino": engine("OpenVINO", bulk=60.0, p50=10.5),
            "ctranslate2": engine("CTranslate2", bulk=90.0, p50=30.0),
        }
    )
    assert rows == {
        "fp32, bulk": ("ONNX Runtime, batch 4", 1.20, True),
        "fp32, one text": ("OpenVINO, batch 4", 1.05, False),
    }


def test_int8_that_is_slower_than_fp32_misses_its_target() -> None:
    rows = compared(
        {
            "isobatch": engine(bulk=120.0, p50=10.0),
            "isobatch-int8": engine(precision="int8", bulk=119.0, p50=5.0),
        }
    )
    assert rows == {
        "int8 compared with fp32, bulk": ("Isobatch in fp32", 0.99, False),
        "int8 compared with fp32, one text": ("Isobatch in fp32", 2.00, True),
    }


def test_a_figure_that_was_not_measured_is_not_compared() -> None:
    ours, theirs = engine(p50=None), engine("ONNX Runtime", bulk=None)
    assert compared({"isobatch": ours, "onnxruntime": theirs}) == {}
    text = render(result(AVX2, {"isobatch": ours, "onnxruntime": theirs}))  # type: ignore[arg-type]
    assert "| Isobatch | fp32 | 100.0 | 1.00× | – | 1 | 0 of 9 |" in text


def test_the_targets_are_those_of_the_kind_of_machine() -> None:
    engines = {
        "isobatch-bf16": engine(precision="bf16", bulk=139.0, p50=10.0),
        "openvino-bf16": engine("OpenVINO", "bf16", bulk=100.0, p50=11.0),
    }
    on_avx512 = render(result(AVX512, engines))  # type: ignore[arg-type]
    assert "| 139.0 texts/s | OpenVINO, batch 4: 100.0 texts/s | 1.39× | 1.40× | **missed** |" in (
        on_avx512
    )
    assert "| 10.0 ms | OpenVINO, batch 4: 11.0 ms | 1.10× | 1.10× | met |" in on_avx512
    on_avx2 = render(result(AVX2, engines))  # type: ignore[arg-type]
    assert "| 1.39× | – | – |" in on_avx2


def test_each_kind_with_targets_exists() -> None:
    assert SPEED_TARGETS.keys() <= {kind.name for kind in MACHINE_KINDS}


def test_criteria_of_a_precision_that_was_left_out_are_not_judged() -> None:
    names = [each["name"] for each in judge("base", {"isobatch": engine(changed=2)})]  # type: ignore[dict-item]
    assert not [name for name in names if name.startswith(("bf16", "int8"))]
    (bits,) = [
        each
        for each in judge("bundled", {"isobatch": engine(changed=2)})  # type: ignore[dict-item]
        if "bits" in each["name"]
    ]
    assert (bits["got"], bits["met"]) == (2, False)


@pytest.mark.parametrize(("changed", "is_met"), [(0, True), (1, False)])
def test_one_row_with_other_bits_misses_the_target(changed: int, is_met: bool) -> None:
    each = {"arithmetic": "isobatch-1", "rows": 9, "changed": changed}
    good = {"arithmetic": "isobatch-1", "rows": 9, "changed": 0}
    sets = {"avx2": {"fp32": good, "int8": good}, "reference": {"fp32": good, "int8": each}}
    assert judge_bits({"passes": "", "sets": sets, "left_out": {}})["met"] is is_met  # type: ignore[typeddict-item]


def test_nothing_compared_is_not_a_success() -> None:
    assert judge_bits({"passes": "", "sets": {}, "left_out": {}})["met"] is None


def test_cold_start_is_the_difference_of_medians() -> None:
    measured = {"command": "", "classify": [9.0, 2.6, 2.5], "import_torch": [1.9, 2.0, 8.0]}
    seconds = seconds_over_import(measured)  # type: ignore[arg-type]
    assert seconds == pytest.approx(0.6)
    assert judge_cold_start(0.59)["met"] is True
    assert judge_cold_start(0.61)["met"] is False

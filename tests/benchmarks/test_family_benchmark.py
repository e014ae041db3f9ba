"""The benchmark of families: every family has a shape, and both sides compute the same logits."""

import pytest

from benchmarks.families.__main__ import measure
from benchmarks.families.family_table import render_families, render_speeds
from benchmarks.families.shapes import SHAPES
from benchmarks.machine_kinds import MACHINE_KINDS
from isobatch.checkpoint.families import FAMILIES


def test_every_family_has_a_shape() -> None:
    assert {each.model_type for each in SHAPES} == {*FAMILIES} - {"new"}, "new is GTE"
    assert all(f"`{each.model_type}`" in render_families() for each in SHAPES)


@pytest.mark.parametrize("model_type", ["nomic_bert"])
def test_a_family_is_measured_on_both_sides(model_type: str) -> None:
    (shape,) = [each for each in SHAPES if each.model_type == model_type]
    measured = measure(shape, rounds=1, quick=True)
    assert measured["parity"] < 1e-5
    assert measured["changed"]["isobatch"] == 0
    openvino_runs = "openvino" not in measured["left_out"]
    assert measured["seconds"].keys() == {"isobatch", "transformers"} | (
        {"openvino"} if openvino_runs else set()
    )
    assert [len(times) for times in measured["seconds"].values()] == [1] * (2 + openvino_runs)
    result = {
        "date": "2026-01-01",
        "machine": {"cpu": "a processor"},
        "threads": 2,
        "rounds": 1,
        "versions": {"torch": "1"},
        "families": [measured],
    }
    table = render_speeds([(MACHINE_KINDS[0], result)])
    assert f"| `{model_type}` | {shape.checkpoint} |" in table
    assert "0 of 16" in table
    assert (f"`{model_type}` has no OpenVINO" in table) is not openvino_runs

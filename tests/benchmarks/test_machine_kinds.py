"""Results are kept for each kind of machine, and a new run replaces only its own."""

from pathlib import Path
from typing import Any

import pytest
from benchmark_results import AVX2, AVX512, engine, result

from benchmarks.machine_kinds import MACHINE_KINDS, kind_of
from benchmarks.result_files import newest_by_kind, write_result_by_kind
from benchmarks.table import render_kinds, render_kinds_engines


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (AVX512, "avx512-vnni-bf16"),
        ([flag for flag in AVX512 if flag != "avx512_bf16"], "avx512-vnni"),
        ([flag for flag in AVX512 if "_" not in flag], "avx512"),
        ([flag for flag in AVX512 if flag != "avx512vl"], "avx2"),
        ([*AVX2, "avx_vnni"], "avx2-vnni"),
        (AVX2, "avx2"),
        (["avx", "sse4_2"], "other"),
        (["asimd", "asimddp"], "neon-dotprod"),
        (["asimd"], "neon"),
    ],
)
def test_the_kind_follows_from_the_processor_s_flags(flags: list[str], name: str) -> None:
    assert kind_of({"instruction_sets": flags}).name == name


def test_a_new_run_replaces_only_the_section_of_its_own_kind(tmp_path: Path) -> None:
    def run(flags: list[str], speed: float, date: str) -> str:
        fast = engine(bulk=speed, kernel="avx2" if flags is AVX2 else "avx512")
        write_result_by_kind(result(flags, {"isobatch": fast}, date), tmp_path)
        return render_kinds(newest_by_kind(tmp_path))

    first = run(AVX512, 111.0, "2026-11-26T01:00:00+00:00")
    both = run(AVX2, 22.0, "2026-11-26T02:00:00+00:00")
    newer = run(AVX2, 33.0, "2026-11-26T03:00:00+00:00")
    assert both.startswith(first)
    assert newer.startswith(first)
    assert "### AVX-512 with VNNI and bf16" in first
    assert "| 22.0 |" in both
    assert "| 22.0 |" not in newer
    assert newer.count("### ") == 2
    assert "| 33.0 |" in newer.partition("### AVX2 without VNNI")[2]


def test_a_table_says_on_which_instruction_set_it_was_measured() -> None:
    measured = result(AVX2, {"isobatch": engine(), "isobatch-int8": engine(precision="int8")})
    for text in (
        render_kinds([(kind_of(measured["machine"]), measured)]),  # type: ignore[list-item]
        render_kinds_engines([(kind_of(measured["machine"]), measured)]),  # type: ignore[list-item]
    ):
        assert "A processor (AVX2 without VNNI), 2 threads" in text
        kernels = "fp32 avx2, arithmetic isobatch-1; int8 avx2, arithmetic isobatch-1"
        assert f"Isobatch's kernels: {kernels}." in text


def test_every_kept_result_is_shown_under_its_own_kind() -> None:
    kept: list[tuple[Any, Any]] = newest_by_kind()
    assert [kind for kind, _ in kept] == [kind_of(each["machine"]) for _, each in kept]
    assert [MACHINE_KINDS.index(kind) for kind, _ in kept] == sorted(
        MACHINE_KINDS.index(kind) for kind, _ in kept
    )

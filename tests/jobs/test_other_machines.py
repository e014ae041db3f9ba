"""A job resumes on a machine of another kind if the arithmetic is the same, and else is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from jobs.machines import TORCH_ON_AVX2, TORCH_ON_AVX512, machine
from jobs.small_jobs import Place, before_commit, break_off, command, small_checkpoint

from isobatch.kernels import ARITHMETIC
from isobatch.kernels.compiled.variants import TORCH, VARIABLE, variant_statuses
from isobatch.scoring import chunks

ELSEWHERE: dict[str, Any] = {
    "instruction_set": "AVX512",
    "processor": "another processor",
    "kernel": "compiled avx512vnni",
    "versions": {"torch": "2.14.0", "numpy": "3.0.0", "safetensors": "1.0.0"},
}
"""All that may differ where the arithmetic is the same."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture
def place(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 3)
    return Place(tmp_path, checkpoint)


def saved(place: Place, name: str) -> Any:
    return json.loads((place.work.path / name).read_bytes())


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl.gz", "out.parquet"])
def test_a_job_resumes_on_another_kind_of_machine_to_the_same_bytes(
    tmp_path: Path, checkpoint: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 3)
    place = Place(tmp_path, checkpoint, output)
    with machine():
        expected = place.unbroken()
        place.stop_at(2)
        manifest = saved(place, "manifest.json")
    with machine(**ELSEWHERE):
        assert place.run() == 0
    assert place.output.read_bytes() == expected
    assert saved(place, "manifest.json") == manifest
    assert manifest["arithmetic"] == ARITHMETIC
    assert "instruction_set" not in manifest
    first, second = saved(place, "runs.json")
    assert (first["instruction_set"], second["instruction_set"]) == ("AVX2", "AVX512")
    assert second["processor"] == "another processor"
    assert {*second["kernels"].values()} == {"compiled avx512vnni"}
    assert second["versions"]["torch"] == "2.14.0"


def compiled_variants() -> list[str]:
    return [each.name for each in variant_statuses() if each.built and each.problem is None]


@pytest.mark.skipif(len(compiled_variants()) < 2, reason="fewer than two compiled variants")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_job_of_one_instruction_set_ends_in_the_same_bytes_by_another(
    place: Place,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Computed by the kernels themselves; torch's own are the inverse."""
    fastest, *_, slowest = compiled_variants()
    options = ("--precision", precision, "--logits")
    monkeypatch.setenv(VARIABLE, fastest)
    assert place.run(*options) == 0
    expected = place.output.read_bytes()
    place.forget()
    monkeypatch.setenv(VARIABLE, slowest)
    with before_commit(2, break_off):
        assert place.run(*options) == 7
    monkeypatch.setenv(VARIABLE, TORCH)
    capfd.readouterr()
    assert place.run(*options) == 7
    assert ": the arithmetic" in capfd.readouterr().err
    monkeypatch.setenv(VARIABLE, fastest)
    assert place.run(*options) == 0
    assert place.output.read_bytes() == expected
    sets = [run["instruction_set"] for run in saved(place, "runs.json")]
    assert sets == [slowest, fastest]
    monkeypatch.setenv(VARIABLE, slowest)
    assert command("verify", place.output, "--all") == 0
    monkeypatch.setenv(VARIABLE, TORCH)
    assert command("verify", place.output) == 10


@pytest.mark.parametrize(
    ("was", "now"),
    [(TORCH_ON_AVX512, TORCH_ON_AVX2), (ARITHMETIC, TORCH_ON_AVX2), (TORCH_ON_AVX2, ARITHMETIC)],
)
def test_another_arithmetic_is_refused(
    place: Place, was: str, now: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The inverse: torch's own bits depend on the instruction set.

    Device and kernels are in one manifest only: they are not said to have changed.
    """
    with machine(was):
        place.stop_at(2)
    before = sorted(place.input.parent.rglob("*"))
    capfd.readouterr()
    with machine(now, kernel="compiled avx512"):
        assert place.run() == 7
    said = " ".join(capfd.readouterr().err.split())
    assert f': the arithmetic changed (arithmetic: was "{was}", is "{now}"), so ' in said
    assert f"finish it on a machine where `isobatch info` shows {was} (" in said
    assert "or start over with --restart" in said
    assert "Restore" not in said
    assert sorted(place.input.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "versions", [{"tokenizers": "9.9"}, {"isobatch": "9.9"}, {"python": "9.9"}]
)
def test_versions_that_token_ids_or_cells_depend_on_are_compared(
    place: Place, versions: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    with machine():
        place.stop_at(1)
    capfd.readouterr()
    with machine(versions=versions):
        assert place.run() == 7
    [name] = versions
    assert f"the version of a library changed (versions.{name}: was" in capfd.readouterr().err


def test_releases_of_one_minor_version_of_python_are_the_same(place: Place) -> None:
    with machine(versions={"python": "3.12.1"}):
        place.stop_at(1)
    with machine(versions={"python": "3.12.11"}):
        assert place.run() == 0


@pytest.mark.parametrize(
    ("other", "word"),
    [({"kernel": "torch int8, weights of 7 bits"}, "kernels"), ({"device": "cuda"}, "device")],
)
def test_other_kernels_and_devices_count_only_without_the_portable_arithmetic(
    place: Place, other: dict[str, str], word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with machine(TORCH_ON_AVX2):
        place.stop_at(1)
    capfd.readouterr()
    with machine(TORCH_ON_AVX2, **other):  # type: ignore[arg-type]
        assert place.run() == 7
    assert f": the {word} changed ({word}" in capfd.readouterr().err
    with machine():
        assert place.run("--restart") == 0
    with machine(**other):  # type: ignore[arg-type]
        assert place.run() == 0


@pytest.mark.parametrize(
    ("format", "words"),
    [(2, "older version of Isobatch (manifest format 2;"), (99, "newer version of Isobatch")],
)
def test_progress_of_another_manifest_format_is_refused_with_the_fix(
    place: Place, format: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place.stop_at(2)
    path = place.work.path / "manifest.json"
    manifest = saved(place, "manifest.json") | {"manifest": format, "instruction_set": "AVX2"}
    del manifest["arithmetic"]
    path.write_text(json.dumps(manifest))
    capfd.readouterr()
    assert place.run() == 7
    said = capfd.readouterr().err
    assert words in said
    assert "with --restart" in said
    assert len(place.lines_in_ledger()) == 2, "the work is kept"
    assert place.run("--restart") == 0


def test_a_run_on_the_same_machine_is_recorded_once(place: Place) -> None:
    place.stop_at(1)
    assert place.run() == 0
    assert place.run() == 0
    assert len(saved(place, "runs.json")) == 1


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_spoiled_runs_are_refused(
    place: Place, content: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place.stop_at(1)
    (place.work.path / "runs.json").write_text(content)
    capfd.readouterr()
    assert place.run() == 7
    said = capfd.readouterr().err
    assert "runs.json" in said
    assert "--restart" in said
    assert place.run("--restart") == 0

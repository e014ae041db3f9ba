"""The choice between compiled variants, and what is reported of those that cannot compute.

Modules are planted: no test depends on what this processor has, or on what was built.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from typer.testing import CliRunner

from isobatch.cli import app
from isobatch.errors import OptionError
from isobatch.kernels import compiled
from isobatch.kernels.compiled import variants
from isobatch.kernels.compiled.variants import VARIANTS, Variant, VariantStatus
from setup import VARIANTS as BUILT

NEWEST, *_, BASELINE = variants.variants_of_machine()
PACKAGE = "isobatch.kernels.compiled"
EVERYTHING = dict.fromkeys((name for each in VARIANTS for name in each.capabilities), True)


class Planted(NamedTuple):
    """An empty folder in the place of the package's, and what the processor is said to have."""

    folder: Path
    capabilities: dict[str, bool]

    def status(self, variant: Variant) -> VariantStatus:
        variants.status_of.cache_clear()
        return variants.status_of(variant)


def forget() -> None:
    """Clear what was found out about this machine."""
    for found in (variants.status_of, variants._select):
        found.cache_clear()


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    capabilities: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(variants, "FOLDER", tmp_path)
    monkeypatch.setattr(variants, "BUILD_REPORT", tmp_path / "build_report.json")
    monkeypatch.setattr(compiled, "__path__", [str(tmp_path)])
    monkeypatch.delenv(variants.VARIABLE, raising=False)
    for variant in VARIANTS:
        monkeypatch.delitem(sys.modules, f"{PACKAGE}._{variant.name}", raising=False)
        monkeypatch.delattr(compiled, f"_{variant.name}", raising=False)
    importlib.invalidate_caches()
    forget()
    yield Planted(tmp_path, capabilities)
    forget()


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of modules that were imported, each of which crashes."""
    imported: list[str] = []

    def crash(name: str) -> None:
        imported.append(name)
        raise AssertionError("illegal instruction")

    monkeypatch.setattr(variants, "import_module", crash)
    return imported


def test_what_is_built_is_what_can_be_chosen() -> None:
    for machine, built in BUILT.items():
        assert set(built) == {each.name for each in VARIANTS if each.machine == machine}


def test_a_module_of_missing_instructions_is_never_imported(
    planted: Planted, imports: list[str]
) -> None:
    (planted.folder / f"_{NEWEST.name}.abi3.so").touch()
    for missing in NEWEST.capabilities:
        planted.capabilities.update(EVERYTHING | {missing: False})
        status = planted.status(NEWEST)
        assert status == VariantStatus(NEWEST.name, True, f"this processor has no {missing}")
    assert variants.unavailable("bf16") is not None
    assert imports == []
    planted.capabilities.update(EVERYTHING)
    with pytest.raises(AssertionError, match="illegal instruction"):
        planted.status(NEWEST)
    assert imports == [f"{PACKAGE}._{NEWEST.name}"]


def test_a_variant_that_was_not_built_is_never_imported(
    planted: Planted, imports: list[str]
) -> None:
    planted.capabilities.update(EVERYTHING)
    reason = "not built (there is no build report)"
    assert planted.status(NEWEST) == VariantStatus(NEWEST.name, False, reason)
    assert imports == []


def test_a_damaged_module_is_reported(planted: Planted) -> None:
    (planted.folder / f"_{BASELINE.name}.abi3.so").write_bytes(b"\x7fELF")
    status = planted.status(BASELINE)
    assert status.built
    assert "cannot be imported" in str(status.problem)


def test_a_module_with_other_bits_does_not_compute(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module:
        golden_hashes: Callable[[], dict[str, int]] = staticmethod(lambda: {"gelu": 2, "norm": 3})

    (planted.folder / f"_{BASELINE.name}.abi3.so").touch()
    monkeypatch.setattr(variants, "import_module", lambda _name: Module)
    monkeypatch.setattr(variants, "golden_hashes", lambda: {"gelu": 1, "norm": 3})
    assert "its bits are wrong in gelu:" in str(planted.status(BASELINE).problem)
    assert "its bits are wrong" in str(variants.unavailable("fp32"))
    monkeypatch.setattr(variants, "golden_hashes", lambda: {"gelu": 2, "norm": 3})
    assert planted.status(BASELINE).problem is None


def test_a_failed_build_is_in_info_with_the_compiler_s_message(
    planted: Planted,
) -> None:
    message = "g++: error: unrecognized option '-mavxvnni'"
    failed = {"built": False, "command": "g++ -mavxvnni", "error": message}
    report = {each.name: failed for each in variants.variants_of_machine()}
    variants.BUILD_REPORT.write_text(json.dumps(report), encoding="utf-8")
    scope = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)
    shown = scope["variants"]
    assert [each["name"] for each in shown] == list(report)
    assert all(each["problem"] == f"not built ({message})" for each in shown)
    assert not any(each["built"] for each in shown)
    assert scope["instruction_set"] not in report
    assert "install a C++ compiler and repeat the installation" in scope["promise"]
    assert "unrecognized option" in CliRunner().invoke(app, ["info"]).stdout
    names = [each.name for each in variants.variants_of_machine()]
    assert variants.unavailable("int8") == f"{', '.join(names)}: not built ({message})"


def test_an_unknown_instruction_set_lists_the_supported_ones(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = VariantStatus(BASELINE.name, True, None)
    failed = VariantStatus(NEWEST.name, False, "not built")
    monkeypatch.setattr(variants, "variant_statuses", lambda: (failed, usable))
    for name in ("avx3", "AVX2", " avx2"):
        monkeypatch.setenv(variants.VARIABLE, name)
        with pytest.raises(OptionError) as error:
            variants.unavailable("fp32")
        assert f"{variants.VARIABLE}: {name!r} cannot be used: unknown" in str(error.value)
        assert f"Use one of {BASELINE.name}, torch, or remove" in str(error.value)
    for empty in ("", " "):
        monkeypatch.setenv(variants.VARIABLE, empty)
        with pytest.raises(
            OptionError, match=f"{variants.VARIABLE} is empty. .*unset {variants.VARIABLE}"
        ):
            variants.unavailable("fp32")


def test_one_that_does_not_run_here_is_an_error_with_its_reason(
    planted: Planted, monkeypatch: pytest.MonkeyPatch, imports: list[str]
) -> None:
    (planted.folder / f"_{NEWEST.name}.abi3.so").touch()
    monkeypatch.setenv(variants.VARIABLE, NEWEST.name)
    with pytest.raises(OptionError, match=f"this processor has no {NEWEST.capabilities[0]}"):
        variants.unavailable("fp32")
    assert imports == []


def test_torch_turns_compiled_kernels_off(
    planted: Planted, monkeypatch: pytest.MonkeyPatch, imports: list[str]
) -> None:
    planted.capabilities.update(EVERYTHING)
    (planted.folder / f"_{NEWEST.name}.abi3.so").touch()
    monkeypatch.setenv(variants.VARIABLE, variants.TORCH)
    assert variants.unavailable("fp32") == f"{variants.VARIABLE} is torch"
    assert imports == []

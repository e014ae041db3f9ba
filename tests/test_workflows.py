"""The workflows of GitHub Actions cannot run here: their syntax, and the platforms they cover."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "examples").glob("*/*.yml"))
SCHEMA = ["--builtin-schema", "vendor.github-workflows"]


def read(name: str) -> dict[str, Any]:
    path = ROOT / ".github/workflows" / name
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def lint(*paths: Path) -> Any:
    check_jsonschema = pytest.importorskip(
        "check_jsonschema", reason="the extra `check` is not installed"
    )
    return CliRunner().invoke(check_jsonschema.main, [*SCHEMA, *map(str, paths)])


def test_workflows_follow_the_schema_of_github() -> None:
    assert {path.name for path in WORKFLOWS} == {"docs.yml", "tests.yml", "wheels.yml"}
    assert EXAMPLES
    linted = lint(*WORKFLOWS, *EXAMPLES)
    assert linted.exit_code == 0, linted.output


def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    workflow = (ROOT / ".github/workflows/docs.yml").read_text(encoding="utf-8")
    (tmp_path / "docs.yml").write_text(workflow.replace("runs-on:", "run-on:"))
    assert lint(tmp_path / "docs.yml").exit_code == 1


def test_tests_run_on_linux_of_both_processors_and_on_macos() -> None:
    runners = {
        each["os"] for each in read("tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["include"]
    }
    assert {re.sub(r"-\d+(\.\d+)?", "", runner) for runner in runners} == {
        "ubuntu",
        "ubuntu-arm",
        "macos",
    }


def test_wheels_are_abi3_and_for_the_same_platforms() -> None:
    jobs = read("wheels.yml")["jobs"]
    tested = read("tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert {*jobs["wheels"]["strategy"]["matrix"]["os"]} == {each["os"] for each in tested}
    uses = [step.get("uses", "") for step in jobs["wheels"]["steps"]]
    assert any(each.startswith("pypa/cibuildwheel@v") for each in uses)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["cibuildwheel"]["build"].split() == [
        "cp311-manylinux_*",
        "cp311-macosx_*",
    ]
    assert "abi3" in (ROOT / "setup.py").read_text(encoding="utf-8") or "py_limited_api" in (
        ROOT / "setup.py"
    ).read_text(encoding="utf-8")


def test_workflows_have_no_more_rights_than_they_need() -> None:
    """Reading by default; a job that publishes names the rest."""
    for path in WORKFLOWS:
        assert read(path.name)["permissions"] == {"contents": "read"}, path.name

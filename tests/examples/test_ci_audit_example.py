"""The audit in CI: its tests pass, fail on a faulty system, and the workflow is one."""

import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from click.testing import CliRunner

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier
from isobatch.cli import app
from isobatch.errors import MissingAttentionMaskWarning

FOLDER = Path(__file__).parent.parent.parent / "examples/ci_audit"
WORKFLOW = FOLDER / "audit.yml"


class Outcomes:
    """Collects what became of each test."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self.of[report.nodeid.partition("::")[2]] = report.outcome


def run_tests(*arguments: str) -> dict[str, str]:
    """Run the file in this process, which has torch loaded; the outcome of each test."""
    outcomes = Outcomes()
    given = [str(FOLDER / "test_batch_invariance.py"), "-q", "-c", "/dev/null", *arguments]
    pytest.main([*given, "-p", "no:cacheprovider", "--import-mode=importlib"], plugins=[outcomes])
    return outcomes.of


def test_it_passes() -> None:
    outcomes = run_tests()
    assert len(outcomes) == 4
    assert {*outcomes.values()} == {"passed"}


def test_it_fails_where_the_mask_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained()
    model = AutoModelForSequenceClassification.from_pretrained()

    def forgetful(_: Classifier, texts: Sequence[str]) -> Any:
        batch = tokenizer(list(texts), padding=True, return_tensors="pt")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", MissingAttentionMaskWarning)
            return model(batch.input_ids).logits

    monkeypatch.setattr(Classifier, "logits", forgetful)
    outcomes = run_tests("-k", "unusual_texts and empty")
    assert outcomes == {"test_nor_do_those_of_unusual_texts[empty]": "failed"}


def test_the_workflow_follows_the_schema_of_github() -> None:
    check_jsonschema = pytest.importorskip(
        "check_jsonschema", reason="the extra `check` is not installed"
    )
    given = ["--builtin-schema", "vendor.github-workflows", str(WORKFLOW)]
    linted = CliRunner().invoke(check_jsonschema.main, given)
    assert linted.exit_code == 0, linted.output


def test_the_commands_of_the_workflow_take_these_options_and_files() -> None:
    [job] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    lines = [step["run"].partition(" > ")[0] for step in job["steps"] if "run" in step]
    commands = [shlex.split(line) for line in lines]
    by_program = {words[0]: words[1:] for words in commands}
    assert by_program.keys() == {"pip", "pytest", "isobatch"}

    [file] = by_program["pytest"]
    assert file == "tests/test_batch_invariance.py"
    name, *options = by_program["isobatch"]
    audit = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    parsed = audit.make_context(name, options).params  # raises for an unknown option
    target = re.fullmatch(r"python:([\w.]+):(\w+)", parsed["target"])
    assert target is not None
    assert target[1].replace(".", "/") + ".py" == file
    assert f"def {target[2]}(texts" in (FOLDER / Path(file).name).read_text(encoding="utf-8")
    [kept] = [step["with"]["path"] for step in job["steps"] if "upload" in step.get("uses", "")]
    assert all(Path(parsed[report]).match(kept) for report in ("junit", "html"))

"""The documentation and deployment files are true: examples, tables, units, images."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import yaml
from serve.served import running
from serve.test_metrics import OWN_NAMES, TEI_NAMES

from isobatch import Classifier
from isobatch.cli import app as command_line
from isobatch.serve.app import create_app
from isobatch.serve.http_errors import ErrorCode
from isobatch.serve.settings import Settings

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(curl .*?)```\n```json\n(.*?)```", DOCUMENT, flags=re.S)


@pytest.fixture(scope="module")
def url(bundled_classifier: Callable[[str], Classifier]) -> Iterator[str]:
    classifier = bundled_classifier("fp32")
    with running(create_app(classifier, Settings(model_name="sst2-minilm"))) as url:
        yield url


def variables() -> set[str]:
    """Every environment variable of the command."""
    command = typer.main.get_command(command_line).commands["serve"]  # type: ignore[attr-defined]
    return {option.envvar for option in command.params if option.envvar}


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.parametrize(("command", "answer"), EXAMPLES, ids=lambda text: text[:45])
def test_the_examples_print_the_documented_output(url: str, command: str, answer: str) -> None:
    there = command.replace("http://127.0.0.1:8080", url)
    assert there != command
    words = shlex.split(there.replace("\\\n", ""))
    ran = subprocess.run([*words, "--silent", "--noproxy", "*"], capture_output=True, check=True)
    assert json.loads(ran.stdout) == like(json.loads(answer))


def like(value: object, key: str = "") -> object:
    """The same but for the time, and for digits that another processor may not share."""
    if isinstance(value, dict):
        return {name: like(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [like(each) for each in value]
    if key == "created":
        return pytest.approx(time.time(), abs=60)
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


def test_there_are_examples_of_every_api() -> None:
    asked = {re.search(r"8080(/\S*)", command)[1] for command, _ in EXAMPLES}  # type: ignore[index]
    assert asked == {"/predict", "/", "/v1/classify"}


def test_every_error_is_in_the_table() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", DOCUMENT, flags=re.M)
    written = {(int(status), error_type) for status, error_type in rows}
    codes = {(code.status, code.error_type) for code in ErrorCode}
    assert written == codes | {(405, "MethodNotAllowed")}
    labels = {code.label for code in ErrorCode}
    assert [label for label in labels if f"`{label}`" not in DOCUMENT] == []


def test_every_metric_is_in_the_table() -> None:
    assert [name for name in (*TEI_NAMES, *OWN_NAMES) if f"`{name}" not in DOCUMENT] == []


def test_every_documented_option_exists() -> None:
    command = typer.main.get_command(command_line).commands["serve"]  # type: ignore[attr-defined]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    named = set(re.findall(r"`(--[a-z-]+)", DOCUMENT)) - {"--build-arg"}
    assert named <= options
    assert set(re.findall(r"ISOBATCH_[A-Z_]+", DOCUMENT)) <= variables()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    (unit,) = re.findall(r"```ini\n(.*?)```", DOCUMENT, flags=re.S)
    (tmp_path / "isobatch.service").write_text(
        unit.replace("/opt/isobatch/bin/isobatch", sys.executable), encoding="utf-8"
    )
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "isobatch.service")]
    ran = subprocess.run(verify, capture_output=True, text=True, check=False)
    mine = [line for line in ran.stderr.splitlines() if "isobatch.service" in line]
    assert mine == []


class TestImage:
    def test_it_runs_unprivileged_and_without_a_compiler(self) -> None:
        *_, final = DOCKERFILE.split("\nFROM ")
        assert re.search(r"^USER 10001$", final, flags=re.M)
        assert final.startswith("python:3.11-slim")
        assert "apt-get" not in DOCKERFILE

    def test_its_variables_are_options(self) -> None:
        named = set(re.findall(r"ISOBATCH_[A-Z_]+", DOCKERFILE))
        assert named >= {"ISOBATCH_HOST", "ISOBATCH_PORT"}
        assert named <= variables()

    def test_its_health_check_detects_whether_the_server_runs(self, url: str) -> None:
        (words,) = re.findall(r"HEALTHCHECK.*? CMD (\[.*?\])\n", DOCKERFILE, flags=re.S)
        _, *command = json.loads(words.replace("\\\n", ""))
        for address, status in ((url, 0), ("http://127.0.0.1:9", 1)):
            asked = [each.replace("http://127.0.0.1:8080", address) for each in command]
            environment = os.environ | {"no_proxy": "*"}
            ran = subprocess.run(
                [sys.executable, *asked], capture_output=True, check=False, env=environment
            )
            assert ran.returncode == status

    def test_copied_files_exist_and_are_not_ignored(self) -> None:
        ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        copied = [
            source
            for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.M)
            for source in line.split()[:-1]
        ]
        assert copied
        for source in copied:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source

    @pytest.mark.skipif(not shutil.which("hadolint"), reason="there is no hadolint")
    def test_hadolint_reports_nothing(self) -> None:
        ran = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, check=False)
        assert ran.stdout == b""


def test_compose_grants_minimal_privileges() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["isobatch"]
    assert set(service["environment"]) <= variables()
    given = {name: service["environment"][name] for name in ("ISOBATCH_MODEL", "ISOBATCH_API_KEY")}
    assert given == {"ISOBATCH_MODEL": None, "ISOBATCH_API_KEY": None}, "unset, never empty"
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["build"]["args"].keys() == set(re.findall(r"^ARG (\w+)", DOCKERFILE, flags=re.M))
    named = {volume.partition(":")[0] for volume in service["volumes"]}
    assert named == compose["volumes"].keys()

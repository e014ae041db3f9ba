"""`isobatch audit`: options reach the audit, reports are written, and the exit code shows it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pyarrow
import pyarrow.parquet
import pytest
from processes import started_process
from shell import run

import isobatch.audit
from isobatch.audit.auditor import AuditProgress
from isobatch.audit.report_data import AuditReport, Finding, Movement, ProbeResult, Reproduction
from isobatch.cli import main
from isobatch.cli.audit import print_report
from isobatch.cli.stop_signals import Stopped
from isobatch.errors import AuditError, OptionError

MOVEMENT = Movement(2, 1, 1, 0.5, 0.1, (0.0, 0.5))
REPRODUCTION = Reproduction("a\x1b[2J", "b c", ("alone", "together"), (1.0, 2.0), (1.0, 1.5))


def report_of(*severities: Any) -> AuditReport:
    findings = tuple(
        Finding(each, f"a-{each}", f"The {each}", "why", "what", ("p",), MOVEMENT, REPRODUCTION)
        for each in severities
    )
    status = severities[0] if severities else "exact"
    probes = (ProbeResult("p", "x", "y", status, "1 of 2 answers move", MOVEMENT),)
    return AuditReport("a model", "python", {}, 2, probes, findings, 0.1)


class Room:
    """A stub of the audit that records how it was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report = report_of()
        self.target: str | None = None
        self.options: dict[str, Any] = {}
        self.texts: Sequence[str] | None = None
        self.quick = False
        monkeypatch.setattr(isobatch.audit, "open_subject", self.open_subject)
        monkeypatch.setattr(isobatch.audit, "audit", self.audit)

    def open_subject(self, target: str | None, **options: Any) -> object:
        self.target, self.options = target, options
        return SimpleNamespace()

    def audit(
        self,
        subject: object,
        texts: Sequence[str] | None = None,
        *,
        quick: bool = False,
        on_progress: Callable[[AuditProgress], None],
    ) -> AuditReport:
        self.texts, self.quick = texts, quick
        on_progress(AuditProgress(0, 1, "p"))
        on_progress(AuditProgress(1, 1, ""))
        return self.report


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    for name in ("MODEL", "API_KEY", "PRECISION", "DEVICE", "THREADS", "REVISION"):
        monkeypatch.delenv(f"ISOBATCH_{name}", raising=False)
    return Room(monkeypatch)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run it in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["isobatch", "audit", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("severities", "arguments", "code"),
    [
        ((), (), 0),
        ((), ("--fail-on", "drift"), 0),
        (("drift",), (), 0),
        (("drift",), ("--fail-on", "drift"), 1),
        (("bug", "drift"), (), 1),
        (("bug",), ("--fail-on", "drift"), 1),
        ((), ("--fail-on", "note"), 2),
    ],
)
def test_the_exit_code_says_what_was_found(
    severities: tuple[str, ...],
    arguments: tuple[str, ...],
    code: int,
    room: Room,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room.report = report_of(*severities)
    assert command(monkeypatch, *arguments) == code


def test_off_a_terminal_it_is_json(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room.report = report_of("bug")
    assert command(monkeypatch) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["verdict"] == "bug"
    verdict, *findings = shown.err.splitlines()
    assert verdict == "isobatch: Your answers depend on the batch: 1 bug"
    assert len(findings) == 1
    assert findings[0].startswith("isobatch: bug: ")
    assert room.target is None
    assert room.options == {
        "tokenizer": None,
        "precision": None,
        "device": "cpu",
        "threads": None,
        "revision": None,
        "pooling": None,
        "api_key": None,
        "dialect": None,
    }


def test_options_reach_the_subject_and_texts_the_audit(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_bytes(b"a fine film\r\n\n  spaces stay \nlast")
    given = "onnx:m.onnx --tokenizer t --precision fp16 --device cuda --threads 3 --revision r"
    more = ["--dialect", "predict", "--api-key", "k", "--quick", "--texts", str(texts)]
    assert command(monkeypatch, *given.split(), *more) == 0
    assert room.target == "onnx:m.onnx"
    assert room.options == {
        "tokenizer": "t",
        "precision": "fp16",
        "device": "cuda",
        "threads": 3,
        "revision": "r",
        "pooling": None,
        "api_key": "k",
        "dialect": "predict",
    }
    assert room.quick
    assert room.texts == ["a fine film", "  spaces stay ", "last"]


def test_texts_come_from_stdin_too(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(b"one\ntwo\n"), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert command(monkeypatch, "--texts", "-") == 0
    assert room.texts == ["one", "two"]


def test_texts_in_parquet_are_refused_by_a_message_about_lines(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "texts.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"]}), path)
    assert command(monkeypatch, "--texts", str(path)) == 6
    message = capsys.readouterr().err
    assert "is a Parquet file; write its texts into a file, one per line" in message


@pytest.mark.parametrize(
    ("target", "key"), [("http://127.0.0.1:1/predict", "s3cret"), ("a-folder", None)]
)
def test_the_key_of_the_environment_is_for_servers(
    target: str, key: str | None, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOBATCH_API_KEY", "s3cret")
    command(monkeypatch, target)
    assert room.options["api_key"] == key


def test_files_are_written_for_people_and_machines(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.report = report_of("drift")
    page, xml = tmp_path / "a.html", tmp_path / "a.xml"
    arguments = ["--html", str(page), "--junit", str(xml), "--fail-on", "drift"]
    assert command(monkeypatch, *arguments) == 1
    assert "Scores move with the batch" in page.read_text(encoding="utf-8")
    assert "<failure" in xml.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--html", "--junit"])
def test_a_file_that_cannot_be_written_loses_no_report(
    option: str,
    room: Room,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, option, "/dev/full") == 6
    shown = capsys.readouterr()
    assert json.loads(shown.out)["verdict"] == "exact"
    assert "/dev/full" in shown.err


@pytest.mark.parametrize("option", ["--html", "--junit"])
@pytest.mark.parametrize("place", ["/nowhere/x", "/"])
def test_a_path_that_cannot_be_written_fails_before_the_audit(
    option: str,
    place: str,
    room: Room,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, option, place) == 6
    shown = capsys.readouterr()
    assert shown.out == ""
    assert place in shown.err


def test_output_of_the_audited_system_is_not_in_the_report(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def noisy(target: str | None, **options: Any) -> object:
        sys.stdout.write("loading\n")
        return SimpleNamespace()

    monkeypatch.setattr(isobatch.audit, "open_subject", noisy)
    assert command(monkeypatch) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["verdict"] == "exact"
    assert "loading" in shown.err


def test_errors_have_their_exit_code(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(target: str | None, **options: Any) -> object:
        raise AuditError(f"{target}: gives no rows")

    monkeypatch.setattr(isobatch.audit, "open_subject", refuse)
    assert command(monkeypatch, "python:a:b") == 8
    assert capsys.readouterr().err == "isobatch: python:a:b: gives no rows\n"
    assert command(monkeypatch, "--texts", "/nowhere.txt") == 6


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AuditError("python:a:b: gives no rows"), 8, "gives no rows"),
        (OptionError("http://h: requires an API key"), 2, "requires an API key"),
        (Stopped(signal.SIGINT), 130, "interrupted"),
        (Stopped(signal.SIGHUP), 129, "ended by a hangup of the terminal"),
        (RuntimeError("broken <here>"), 1, "RuntimeError: broken <here>"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_an_audit_that_ends_early_writes_its_files(
    error: BaseException,
    code: int,
    words: str,
    late: bool,
    room: Room,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(target: object, *arguments: Any, **options: Any) -> object:
        if late:
            done = (ProbeResult("order", "x", "y", "exact", "same"),)
            options["on_progress"](AuditProgress(1, 2, "neighbours", done))
        raise error

    monkeypatch.setattr(isobatch.audit, "audit" if late else "open_subject", refuse)
    page, xml = tmp_path / "a.html", tmp_path / "a.xml"
    arguments = ["http://me:pw-9-pw@h", "--html", str(page), "--junit", str(xml)]
    if isinstance(error, RuntimeError):
        monkeypatch.setattr(sys, "argv", ["isobatch", "audit", *arguments])
        with pytest.raises(RuntimeError):
            main()
    else:
        assert command(monkeypatch, *arguments) == code
    suite = ElementTree.fromstring(xml.read_text(encoding="utf-8"))[0]
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")
    assert suite.get("tests") == str(1 + late) == str(len(suite.findall("testcase")))
    found = suite.find("testcase/error")
    assert found is not None
    assert words in str(found.get("message"))
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], len(report["probes"])) == ("error", int(late))
    assert words in report["error"]
    assert "could not be completed" in page.read_text(encoding="utf-8")
    everything = f"{report} {xml.read_text()} {page.read_text()}"
    assert "pw-9-pw" not in everything


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_stopped_audit_writes_its_files(
    number: signal.Signals, reason: str, tmp_path: Path
) -> None:
    """SIGINT is Ctrl-C; a CI system sends SIGTERM at its time limit."""
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "def predict(texts):\n    Path('called').touch()\n    time.sleep(60)\n"
    )
    arguments = [sys.executable, "-m", "isobatch", "audit", "python:slow:predict"]
    environment = os.environ | {"PYTHONPATH": str(Path(isobatch.__file__).parent.parent)}
    options = {"cwd": tmp_path, "env": environment}
    with started_process([*arguments, "--junit", "a.xml"], **options) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "called").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err.decode()) == (128 + number, f"isobatch: {reason}\n")
    assert json.loads(out)["error"] == reason
    found = ElementTree.parse(tmp_path / "a.xml").find(".//testcase/error")
    assert found is not None
    assert found.get("message") == reason


def test_an_encoding_without_a_file_of_texts_is_refused(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--encoding", "cp1252") == 2
    said = "isobatch: --encoding is for the file of --texts. Leave it out\n"
    assert capsys.readouterr().err == said
    assert command(monkeypatch) == 0


def test_a_configuration_fault_has_its_exit_code(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xml = tmp_path / "a.xml"
    for severities, code in ((["configuration"], 8), (["bug", "configuration"], 1)):
        room.report = report_of(*severities)
        assert command(monkeypatch, "--junit", str(xml)) == code
    room.report = report_of("configuration")
    assert command(monkeypatch, "--junit", str(xml), "--html", str(tmp_path / "a.html")) == 8
    assert "<error" in xml.read_text()
    assert "<failure" not in xml.read_text()
    assert "fails on a text alone" in (tmp_path / "a.html").read_text()


def test_the_probes_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--list") == 0
    probes = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in probes] == [each.name for each in isobatch.audit.PROBES]
    assert {*probes[0]} == {"name", "changes", "proves"}


@pytest.mark.parametrize("severities", [(), ("drift",), ("bug", "drift")])
def test_people_get_the_verdict_first_and_no_control_characters(
    severities: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(report_of(*severities))
    shown = capsys.readouterr().out
    first = {(): "= Exact", ("drift",): "≈ Scores move"}.get(severities, "✕ Your answers depend")
    assert shown.startswith(first)
    assert "\x1b" not in shown
    assert "1 probes" not in shown
    if severities:
        for words in ("why", "what", "1 of 2 (50.0", "a�[2J", "together", "number 2 1.50000"):
            assert words in shown


def test_the_command_itself_loads_nothing_heavy() -> None:
    code = (
        "import sys, isobatch.cli.audit as a; sys.exit(bool({'torch', 'jinja2'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_bundled_model_is_exact_as_a_shell_sees_it(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a fine film\na dull one, and long besides\nno\n")
    ran = run("audit", "--quick", "--quiet", "--texts", str(texts), "--fail-on", "drift")
    assert (ran.returncode, ran.stderr) == (0, b"")
    report = json.loads(ran.stdout)
    assert (report["verdict"], report["num_texts"]) == ("exact", 3)

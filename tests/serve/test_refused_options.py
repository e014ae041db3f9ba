"""`isobatch serve` with options that it refuses: one line, plain or JSON, before any model.

In this process: no server starts.
"""

import asyncio
import json
import logging
import re
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs.small_jobs import command
from serve.served import write_tiny

from isobatch import Classifier
from isobatch.cli.stop_signals import Stopped
from isobatch.errors import OptionError
from isobatch.serve.address import bind
from isobatch.serve.server import run_server
from isobatch.serve.settings import Settings

LOGGERS = ("isobatch", "uvicorn", "huggingface_hub", "")


@pytest.fixture(autouse=True)
def own_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore how the process logs, which the command sets."""
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(each.handlers, each.level, each.propagate) for each in loggers]
    yield
    logging.captureWarnings(False)
    for each, (handlers, level, propagate) in zip(loggers, before, strict=True):
        each.handlers, each.level, each.propagate = handlers, level, propagate


def said(capfd: pytest.CaptureFixture[str]) -> str:
    output, errors = capfd.readouterr()
    assert output == ""
    assert "Traceback" not in errors
    return errors


REFUSED = {
    "health_needs_key has no effect without an API key": ["--health-needs-key"],
    "page: a browser cannot send the API key": ["--page", "--api-key", "k"],
    "api_key is empty": ["--api-key", ""],
    "model_name is empty": ["--served-model-name", " "],
    "Invalid value for '--shutdown-seconds'": ["--shutdown-seconds", "1e9"],
    "cors_allow_origin must be a scheme": ["--cors-allow-origin", "https://a.example/"],
    "root_path must begin with /": ["--root-path", "isobatch"],
    "Input should be less than or equal to 86400": ["--shutdown-seconds", "nan"],
    "host '127.0.0..1' is not an address": ["--host", "127.0.0..1"],
    "host is empty": ["--host", " "],
    "use 0.0.0.0 for all": ["--host", "*"],
    "is more than an address": ["--host", "http://127.0.0.1"],
    "and the port with --port": ["--host", "127.0.0.1:8080"],
    "host '[::1]:80' is more than": ["--host", "[::1]:80"],
    "This machine has no such address": ["--host", "203.0.113.9"],
    "Invalid value for '--port'": ["--port", "99999"],
}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("message", "arguments"), REFUSED.items())
def test_an_option_is_refused_in_one_line(
    capfd: pytest.CaptureFixture[str], message: str, arguments: list[str], as_json: bool
) -> None:
    more = ["--json-output"] if as_json else []
    assert command("serve", *arguments, *more) == 2
    lines = said(capfd).splitlines()
    if as_json:
        (line,) = lines
        entry = json.loads(line)
        assert entry.keys() == {"time", "level", "message"}
        assert entry["level"] == "ERROR"
        assert message in entry["message"]
    else:
        assert message in lines[-1]


def test_the_environment_wants_json_too(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOBATCH_JSON_OUTPUT", "1")
    assert command("serve", "--no-such-option") == 2
    assert "no-such-option" in json.loads(said(capfd))["message"]
    monkeypatch.setenv("ISOBATCH_API_KEY", "")
    assert command("serve") == 2
    assert json.loads(said(capfd))["message"].startswith("ISOBATCH_API_KEY is empty")


def test_a_checkpoint_s_error_is_json_with_its_exit_code(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert command("serve", "/no/such/model", "--port", 0, "--json-output") == 4
    assert json.loads(said(capfd))["message"].startswith("/no/such/model: ")


@pytest.mark.filterwarnings("always")
def test_an_unexpected_error_a_warning_and_an_interrupt_are_json(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cause: list[BaseException] = []

    def fail(*_: object, **__: object) -> Classifier:
        warnings.warn(f"a library's warning of {cause!r}", stacklevel=1)
        raise cause.pop()

    monkeypatch.setattr(Classifier, "from_pretrained", fail)
    for error, status, message in (
        (ZeroDivisionError("by zero"), 1, "unexpected error: ZeroDivisionError: by zero"),
        (Stopped(signal.SIGINT), 130, "interrupted"),
    ):
        cause.append(error)
        assert command("serve", "--port", 0, "--json-output") == status
        warning, failure = [json.loads(line) for line in said(capfd).splitlines()]
        assert warning["level"] == "WARNING"
        assert "a library's warning of" in warning["message"]
        assert failure["message"] == message
        assert ("trace" in failure) == (status == 1)


class TestAddresses:
    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OptionError, match=r"Another process uses it\. .* or 0 for a free"):
                bind("127.0.0.1", port)
        bind("127.0.0.1", 0).close()

    def test_a_privileged_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Refused(socket.socket):
            def bind(self, address: object) -> None:
                raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(socket, "socket", Refused)
        with pytest.raises(OptionError, match=r"Permission denied\. Ports below 1024 need pri"):
            bind("127.0.0.1", 80)

    @pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
    @pytest.mark.parametrize("host", ["::1", "[::1]"])
    def test_an_ipv6_address_with_and_without_brackets(self, host: str) -> None:
        with bind(host, 0) as bound:
            assert bound.family == socket.AF_INET6
            assert bound.getsockname()[0] == "::1"

    @pytest.mark.parametrize("host", ["localhost", " 127.0.0.1 "])
    def test_a_name_is_its_ipv4_address(self, host: str) -> None:
        with bind(host, 0) as bound:
            assert bound.getsockname()[0] == "127.0.0.1"

    def test_an_unknown_name(self) -> None:
        with pytest.raises(OptionError, match="Use an address of this machine") as raised:
            bind("no.such.host.invalid", 0)
        (host,) = re.findall(r"--host (\S+),", str(raised.value))
        bind(host, 0).close()

    def test_responses_are_sent_at_once_by_any_event_loop(self) -> None:
        """uvloop sets TCP_NODELAY on every socket, asyncio on those that say that they are TCP."""

        async def no_delay() -> int:
            accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.Future()
            with bind("127.0.0.1", 0) as bound:
                server = await asyncio.start_server(
                    lambda _, writer: accepted.set_result(writer), sock=bound
                )
                _, client = await asyncio.open_connection(*bound.getsockname()[:2])
                ours = (await accepted).get_extra_info("socket")
                value: int = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                for writer in (client, accepted.result()):
                    writer.close()
                server.close()
            return value

        assert asyncio.run(no_delay()) == 1

    def test_a_port_that_another_process_took_while_the_model_was_loaded(
        self, tmp_path: Path
    ) -> None:
        """Both can bind, with SO_REUSEADDR, but only one can listen."""
        classifier = Classifier.from_pretrained(write_tiny(tmp_path))
        with bind("127.0.0.1", 0) as first, bind("127.0.0.1", first.getsockname()[1]) as second:
            first.listen()
            with pytest.raises(OptionError, match="Another process uses it"):
                run_server(classifier, Settings(), second, 1, on_ready=lambda _: None)


def test_the_log_needs_no_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    from isobatch.cli.server_logging import configure_logging

    monkeypatch.setattr(sys, "stderr", None)
    configure_logging(as_json=True)
    logging.getLogger("isobatch.serve").info("unheard")

"""Signals: one line and 128 + their number, at every stage of a command."""

import signal
import subprocess
import sys

import pytest

from isobatch.cli.stop_signals import Stopped, StopSignals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

STAGES = """
import os, signal, sys, types
number, stage = int(sys.argv.pop()), sys.argv.pop()
from isobatch import cli
def stop(*arguments, **options):
    os.kill(os.getpid(), number)
if stage == "import":
    class Finder:
        def find_spec(self, name, *others):
            if name == "isobatch.cli.commands":
                stop()
    sys.meta_path.insert(0, Finder())
elif stage == "load":
    from isobatch.checkpoint import source
    import isobatch.tasks.pipeline as pipeline
    pipeline.locate_checkpoint = stop
elif stage == "swallowed":
    import isobatch.tasks.pipeline as pipeline
    def replaced(*arguments):
        try:
            stop()
        except BaseException:
            raise ImportError("as numpy's C code does") from None
    pipeline.locate_checkpoint = replaced
elif stage == "write":
    import isobatch.cli.classify as classify
    classify.print_json_lines = stop
sys.argv[1:] = ["classify", "good"]
cli.main()
"""


@pytest.mark.parametrize(
    ("stage", "name", "code", "line"),
    [
        ("import", "SIGINT", 130, "isobatch: interrupted\n"),
        ("import", "SIGTERM", 143, "isobatch: terminated\n"),
        ("load", "SIGTERM", 143, "isobatch: terminated\n"),
        ("swallowed", "SIGINT", 130, "isobatch: interrupted\n"),
        ("write", "SIGINT", 130, "isobatch: interrupted\n"),
        ("write", "SIGHUP", 129, "isobatch: ended by a hangup of the terminal\n"),
    ],
)
def test_a_signal_is_one_line(stage: str, name: str, code: int, line: str) -> None:
    number = str(int(getattr(signal, name)))
    ran = subprocess.run(
        [sys.executable, "-c", STAGES, stage, number], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (code, line)
    assert ran.stdout == ""


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert (stopped.value.code, signals.received) == (143, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

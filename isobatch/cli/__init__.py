"""The command line: one file per command; the only room that prints or reads the environment.

Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 unexpected error, or an
audit found a fault, 2 invalid usage or option, 3 invalid text, 4 unusable checkpoint, 5 no
batch-invariant kernel, 6 unreadable input file, 7 a job that cannot start or resume, 8 a system
that cannot be audited, 130 interrupted, 143 terminated.
"""

import os
import sys

import typer

from isobatch.cli import audit, classify, evaluate, info, lesson, precisions, quantize, run, serve
from isobatch.cli.environment import CheckedCommand
from isobatch.cli.options import show_version
from isobatch.cli.server_command import ServerCommand
from isobatch.errors import IsobatchError, exit_code

app = typer.Typer(
    name="isobatch",
    help="Text classification in which the batch never changes the answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 success · 1 unexpected error, or audit found a fault · 2 invalid usage · "
    "3 invalid text · 4 unusable checkpoint · 5 no batch-invariant kernel · 6 unreadable file · "
    "7 job cannot start or resume · 8 system cannot be audited · 130 interrupted · 143 terminated",
)
app.command("audit", cls=CheckedCommand)(audit.audit)
app.command("classify", cls=CheckedCommand)(classify.classify)
app.command("evaluate", cls=CheckedCommand)(evaluate.evaluate)
app.command("info", cls=CheckedCommand)(info.info)
app.command("lesson", cls=CheckedCommand)(lesson.lesson)
app.command("precisions", cls=CheckedCommand)(precisions.precisions)
app.command("quantize", cls=CheckedCommand)(quantize.quantize)
app.command("run", cls=CheckedCommand)(run.run)
app.command("serve", cls=ServerCommand)(serve.serve)
app.callback()(show_version)


SPIN_COUNT = "5000"
"""Iterations that an idle OpenMP thread spins before it sleeps; libgomp's default 300,000 is 4 ms.

While another process is busy, spinning threads take the CPU from the threads that they wait for:
one text took 280 ms instead of 2.4. With 5,000 it takes 3 to 6 ms, and 2.4 on an idle machine.
"""


def main() -> None:
    """Run the command line; print an IsobatchError as one line and exit with its code."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    try:
        app()
    except IsobatchError as error:
        sys.stderr.write(f"isobatch: {error}\n")
        sys.exit(exit_code(error))
    except BrokenPipeError:
        # The reader has exited, as with `| head`; the flush at shutdown must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

"""The command line: one file per command, no logic; the only room that prints.

It alone reads the environment. Data goes to stdout, everything else to stderr. Exit codes: 0 done,
1 unforeseen, or a fault that an audit found, 2 bad usage or option, 3 a text that cannot be
classified, 4 a checkpoint that cannot be used, 5 kernels that cannot keep the promise, 6 a file of
rows that cannot be read, 7 a job that cannot begin or go on, 8 a system that cannot be audited, 130
interrupted, 143 terminated.
"""

import os
import sys

import typer

from isobatch.cli import audit, classify, evaluate, info, lesson, precisions, quantize, run, serve
from isobatch.cli.options import show_version
from isobatch.errors import IsobatchError, exit_code

app = typer.Typer(
    name="isobatch",
    help="Text classification in which the batch never changes the answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done · 1 unforeseen, or audit found a fault · 2 bad usage · 3 bad text · "
    "4 bad checkpoint · 5 promise cannot be kept here · 6 bad file of rows · "
    "7 job cannot begin or go on · 8 system cannot be audited · 130 interrupted · 143 terminated",
)
app.command("audit")(audit.audit)
app.command("classify")(classify.classify)
app.command("evaluate")(evaluate.evaluate)
app.command("info")(info.info)
app.command("lesson")(lesson.lesson)
app.command("precisions")(precisions.precisions)
app.command("quantize")(quantize.quantize)
app.command("run")(run.run)
app.command("serve")(serve.serve)
app.callback()(show_version)


SPINS = "5000"
"""How often a thread of OpenMP looks for work before it sleeps; libgomp's own 300,000 are 4 ms.

Beside a busy process, threads that spin keep the processor from those they wait for: one text took
280 ms instead of 2.4. With 5,000 it takes 3 to 6 there, and as before on a quiet machine.
"""


def main() -> None:
    """Run the command line, and turn an error of Isobatch into one line and an exit code."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported, later on
    try:
        app()
    except IsobatchError as error:
        sys.stderr.write(f"isobatch: {error}\n")
        sys.exit(exit_code(error))
    except BrokenPipeError:
        # The reader has gone, as with `| head`; a second complaint at shutdown helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

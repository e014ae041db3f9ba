"""All commands, in one typer application."""

import typer

from isobatch.cli import (
    audit,
    classify,
    evaluate,
    info,
    lesson,
    precisions,
    quantize,
    run,
    serve,
    train,
    verify,
)
from isobatch.cli.environment import CheckedCommand
from isobatch.cli.option_groups import GroupedCommand
from isobatch.cli.options import show_version
from isobatch.cli.server_command import ServerCommand

app = typer.Typer(
    name="isobatch",
    help="Text classification in which the batch never changes the answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 success · 1 unexpected error, or audit found a fault · 2 invalid usage · "
    "3 invalid text · 4 unusable checkpoint · 5 no batch-invariant kernel · 6 unreadable file · "
    "7 job cannot start or resume · 8 system cannot be audited, or fails on a text alone · "
    "9 output not reproduced · 10 output cannot be verified · "
    "11 training cannot continue · "
    "129 hangup · 130 interrupted · 143 terminated. A reader that ends early (isobatch … | head) "
    "is a success: 0",
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
app.command("train", cls=GroupedCommand)(train.train)
app.command("verify", cls=CheckedCommand)(verify.verify)
app.callback()(show_version)

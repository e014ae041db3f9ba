"""Terminals of 80 and 60 columns: each command's output, and help, breaks between words only.

The words at each width are those at 400 columns: a word that is broken, or cut off, is another one.
"""

import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main
from audit.sample_reports import buggy
from shell import TerminalStream, run_at

from isobatch import Classifier
from isobatch.cli import app, quantize
from isobatch.cli.audit import print_report
from isobatch.cli.classify import print_table
from isobatch.cli.commands import NAMES
from isobatch.cli.display import open_display
from isobatch.cli.evaluation_tables import print_evaluation
from isobatch.cli.info import print_scope
from isobatch.cli.lesson import print_cost, print_steps, replay_command
from isobatch.cli.precisions import print_precisions
from isobatch.cli.scoring_progress import summarize
from isobatch.cli.terminal_layout import (
    fitted_table,
    open_console,
    say,
    shortened_text,
    wrapped,
)
from isobatch.cli.verify import describe_result
from isobatch.evaluation import LabelledFiles, LabelOptions, evaluate_files
from isobatch.jobs import Verification
from isobatch.jobs.row_comparison import CellDifference, DifferentRow
from isobatch.lesson import SENTENCES, LessonCheckpoint, measure_mask_cost
from isobatch.precision import PrecisionAgreement, PrecisionResult
from isobatch.quantize import QuantizeReport, RoundingError
from isobatch.scope import describe_scope
from isobatch.scoring import RowCounts, ScoringProgress
from isobatch.tables import TableFile

WIDTHS = (60, 80)
WIDE = 400
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BORDERS = re.compile(r"[│┃━─┏┓┗┛┡┩┢┪└┘┌┐├┤┼╇╈╋┳┻┬┴⠀-⣿╸╺]+")
TEXTS = (
    "A fine film.",
    "Dull, and far too long for what it has to say, which is very little indeed.",
    "An incomprehensibility of 1234567.891 internationalizations, see isobatch-terminal-widths.csv",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled file of short and long texts."""
    path = tmp_path_factory.mktemp("widths") / "texts.jsonl"
    rows = [{"text": text, "label": "POSITIVE", "kind": "review"} for text in TEXTS]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def screen(output: bytes) -> list[str]:
    """The lines of an output, without colours and what moves the cursor."""
    return CONTROL.sub("", output.decode()).replace("\r", "\n").splitlines()


def words(lines: Sequence[str]) -> set[str]:
    return {word for line in lines for word in BORDERS.sub(" ", line).split()}


def check(outputs: dict[int, bytes]) -> None:
    """Check that no line is too long, and that the words are those of the wide terminal."""
    wide = words(screen(outputs[WIDE]))
    assert len(wide) > 5
    for width in WIDTHS:
        lines = screen(outputs[width])
        assert max(len(line.rstrip()) for line in lines) <= width
        assert words(lines) == wide


def printed(show: Callable[[], object], width: int, **environment: str) -> bytes:
    """What `show` prints on a terminal of that width: its stdout, and then its stderr."""
    out = io.BytesIO()
    shown = {"COLUMNS": str(width), "TERM": "xterm-256color", **environment}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shown.items():
            patch.setenv(name, value)
        for stream in ("stdout", "stderr"):
            patch.setattr(sys, stream, TerminalStream(out, "utf-8", write_through=True))
        show()
        return out.getvalue()


def check_printed(show: Callable[[], object]) -> None:
    check({width: printed(show, width) for width in (*WIDTHS, WIDE)})


@pytest.fixture(scope="module")
def classifier(bundled_classifier: Callable[[str], Classifier]) -> Classifier:
    return bundled_classifier("fp32")


def test_predictions(classifier: Classifier) -> None:
    predictions = list(zip(TEXTS, classifier.predict([*TEXTS]), strict=True))
    check_printed(lambda: print_table(predictions))


def test_facts_and_kernels(classifier: Classifier) -> None:
    scope = describe_scope(classifier, "the bundled model")
    check_printed(lambda: print_scope(scope))


def test_the_lesson() -> None:
    checkpoint = LessonCheckpoint.from_pretrained()
    steps = checkpoint.steps(SENTENCES)
    check_printed(lambda: print_steps(SENTENCES, steps))
    cost = measure_mask_cost(checkpoint, TEXTS)
    check_printed(lambda: print_cost(cost, replay_command("folder with spaces/model", "main")))


def test_an_evaluation(classifier: Classifier, table: Path) -> None:
    file = TableFile(table, "jsonl", "none")
    files = LabelledFiles((file,), LabelOptions("label", by="kind"))
    evaluation = evaluate_files(files, classifier)
    assert evaluation.mistakes
    assert evaluation.slices
    check_printed(lambda: print_evaluation(evaluation))


def test_precisions_and_rounding() -> None:
    agreement = PrecisionAgreement(872, 0.9987, 0.102736)
    results = [PrecisionResult("fp32", 1234.5, agreement), PrecisionResult("int8", 9.8, agreement)]
    check_printed(lambda: print_precisions(results))
    rounding = (RoundingError("word embeddings", 1, 0.0123, 0.4567),)
    report = QuantizeReport("a", "b", 45_600_000, 91_200_000, 23_400_000, rounding)
    check_printed(lambda: quantize.print_report(report))


def test_summaries() -> None:
    labels = {"POSITIVE": 9_876, "NEGATIVE": 2_469}
    done = RowCounts(12_345, 6, 7, 5, 8, 9, 123_456, 65_432, labels)
    progress = ScoringProgress(12_345, RowCounts(rows=1000), done, 3723.4)
    check_printed(lambda: say(summarize(progress, 512, "0123abcd"), err=True))
    difference = CellDifference("score", "0.98765", "0.98764")
    row = DifferentRow(16, "o.csv:17", "i.csv:17", (difference,))
    found = Verification(
        output="o.csv",
        rows=12_345,
        chosen=1000,
        checked=1000,
        different=1,
        first=(row,),
        problems=("the file was changed after the run",),
        notes=("torch 2.13.0 wrote it, torch 2.14.0 computes it",),
        arithmetic="isobatch-1",
    )
    lines = list(describe_result(Path("o.csv"), found))
    check_printed(lambda: [say(line) for line in lines])


def test_probes_and_findings_of_an_audit() -> None:
    report = replace(buggy(), target="transformers:a/model")
    check_printed(lambda: print_report(report))
    check({width: run_at(width, "audit", "--list").stdout for width in (*WIDTHS, WIDE)})


@pytest.mark.parametrize("width", WIDTHS)
def test_progress_fits(width: int) -> None:
    """A long description has two lines; the bar and its numbers keep one."""

    def show() -> None:
        with open_display(quiet=False, beginning="reading") as display:
            speed = "1,234 rows/s · 123,456 tokens/s · 65% padding avoided"
            text = f"1,234,567 of 9,999,999 rows · {speed}"
            display.draw(1_234_567, 9_999_999, text, "12 min 45 s left")
            display.say(
                "resuming: 1,234,567 of 9,999,999 rows are saved in the folder of the output"
            )

    drawn = [line for line in screen(printed(show, width)) if line.strip()]
    assert max(len(line.rstrip()) for line in drawn) <= width
    assert "…" not in "".join(drawn)
    assert {"padding", "avoided", "tokens/s", "12%", "left", "resuming:", "output"} <= words(drawn)


def help_page(name: str | None, width: int) -> str:
    command = typer.main.get_command(app)
    if name is not None:
        command = command.commands[name]  # type: ignore[attr-defined]
    context = command.make_context("isobatch", [], resilient_parsing=True)
    context.terminal_width = width
    return str(command.get_help(context))


@pytest.mark.parametrize("name", [None, *NAMES])
def test_help_pages(name: str | None) -> None:
    """A list of choices may be broken after a |, and no description is shortened."""
    wide = help_page(name, WIDE).split()
    assert not [word for word in wide if re.fullmatch(r"[a-z]+\.\.\.", word)]
    for width in WIDTHS:
        page = help_page(name, width)
        assert re.sub(r"\|\n +", "|", page).split() == wide
        assert max(map(len, page.splitlines())) <= width


def test_colours_are_left_out_where_they_are_not_wanted() -> None:
    colour = re.compile(rb"\x1b\[(?:\d+;)*(3[0-7]|9[0-7])[;m]")
    assert colour.search(printed(lambda: print_report(buggy()), 80))
    assert not colour.search(printed(lambda: print_report(buggy()), 80, NO_COLOR="1"))


def test_json_is_whole_on_a_narrow_terminal() -> None:
    assert json.loads(run_at(60, "classify", "--json", TEXTS[2]).stdout)["text"] == TEXTS[2]
    assert json.loads(run_at(60, "audit", "--list", "--json").stdout)


def test_messages_for_a_pipe_are_not_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    say("word " * 40, err=True)
    assert capsys.readouterr().err == "word " * 40 + "\n"


def test_wide_characters_count_as_two() -> None:
    assert wrapped("結果 出力 終了", 9) == "結果 出力\n  終了"


def test_lines_break_between_words_and_keep_their_indent() -> None:
    text = "  note: a model of pairs\nshort"
    assert wrapped(text, 14) == "  note: a\n    model of\n    pairs\nshort"
    assert wrapped("x" * 20 + " y", 10) == "x" * 20 + "\n  y"
    assert wrapped("", 10) == ""


def test_a_table_becomes_narrower_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """With borders, without them, as a list; only a word wider than the terminal is broken."""
    header, rows = ("name", "value"), [("internationalization", "1234.5678"), ("x", "")]

    def drawn(width: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        console = open_console()
        with console.capture() as captured:
            console.print(fitted_table(header, rows, width))
        return [line.rstrip() for line in captured.get().splitlines()]

    assert drawn(36)[3] == "│ internationalization │ 1234.5678 │"
    assert drawn(35)[2] == "internationalization 1234.5678"
    assert drawn(29) == [
        "name   internationalization",
        "value  1234.5678",
        "",
        "name  x",
    ]
    assert "".join(line[7:] for line in drawn(16)[:3]) == "internationalization"


def test_a_text_that_is_cut_says_where_all_of_it_is() -> None:
    assert shortened_text("a" * 200) == "a" * 200
    assert shortened_text("a" * 1201).endswith("a … (1,201 characters; --json has all)")

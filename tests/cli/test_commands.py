"""The command line from a shell: stdout, stderr and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from embedding_folders import write_encoder
from processes import started_process
from shell import ISOBATCH, run, run_at, run_on_terminal, run_process

from isobatch.cli import classify
from isobatch.errors import CheckpointError
from isobatch.kernels import supported_precisions
from isobatch.lesson import SENTENCES


def test_texts_off_a_terminal_are_json_lines() -> None:
    ran = run_process("classify", *SENTENCES)
    predictions = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0
    assert [each["text"] for each in predictions] == list(SENTENCES)
    assert [each["label"] for each in predictions] == ["POSITIVE", "NEGATIVE"]
    assert predictions[0].keys() == {
        "text",
        "label",
        "score",
        "scores",
        "logits",
        "num_tokens",
        "num_windows",
        "truncated",
    }
    assert ran.stderr == b""


def test_lines_of_stdin_keep_their_count_and_order() -> None:
    lines = ["a fine film", "", "naïve 😀", "  spaces stay  "]
    ran = run("classify", stdin="\r\n".join(lines).encode() + b"\n")
    assert [json.loads(line)["text"] for line in ran.stdout.splitlines()] == lines


def test_empty_stdin_has_no_texts() -> None:
    ran = run("classify")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_a_terminal_gets_a_table() -> None:
    shown = run_on_terminal("classify", "A fine film.")
    assert "A fine film." in shown
    assert "POSITIVE" in shown
    assert "│" in shown


def test_json_is_json_on_a_terminal_too() -> None:
    assert json.loads(run_on_terminal("classify", "--json", "A fine film."))["label"] == "POSITIVE"


def test_no_text_on_a_terminal_is_a_usage_error() -> None:
    assert "no text" in run_on_terminal("classify")


def test_no_colour_off_a_terminal() -> None:
    assert b"\x1b" not in run("info").stdout


def test_a_truncated_text_is_marked_and_counted() -> None:
    ran = run("classify", "word " * 600, "short")
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [answer["truncated"] for answer in answers] == [True, False]
    assert answers[0]["num_tokens"] == 512
    assert ran.stderr.decode() == "1 of 2 texts were truncated to 512 tokens\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["classify", "--precision", "fp8", "x"], b"", 2, "fp8"),
        (["classify", "--device", "abacus", "x"], b"", 2, "abacus"),
        (["classify", "--threads", "0", "x"], b"", 2, "threads"),
        (["classify", "--no-such-option"], b"", 2, "no-such-option"),
        (["no-such-command"], b"", 2, "no-such-command"),
        (["classify", "--truncation", "maybe", "x"], b"", 2, "maybe"),
        (["classify", "--truncation", "error", "word " * 600], b"", 3, "text 0"),
        (["classify"], b"good\nbad \xff byte\n", 3, "stdin:2: byte 5"),
        (["classify", "--model", "no/such/folder/anywhere", "x"], b"", 4, "no/such/folder"),
        (["info", "./missing"], b"", 4, "./missing"),
        (["lesson", "--text", "only one"], b"", 2, "two sentences"),
    ],
)
def test_errors_are_one_line_and_have_their_exit_code(
    arguments: list[str], stdin: bytes, code: int, words: str
) -> None:
    ran = run(*arguments, stdin=stdin)
    assert ran.returncode == code, ran.stderr.decode()
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr


def test_a_process_ends_with_the_same_exit_code_and_output() -> None:
    """The other tests of errors run the command in this process."""
    arguments = ("info", "./missing")
    here, process = run(*arguments), run_process(*arguments)
    assert (process.returncode, process.stdout, process.stderr) == (4, b"", here.stderr)
    assert here.returncode == 4


def test_a_reader_that_ends_early_is_not_a_failure() -> None:
    texts = b"a fine film\n" * 3000
    with started_process([*ISOBATCH, "classify"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(texts[:12_000])
        process.stdout.close()
        process.stdin.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait() == 0  # the reader has what it wanted


def test_settings_come_from_the_environment() -> None:
    ran = run("info", ISOBATCH_MODEL="./missing")
    assert ran.returncode == 4
    assert b"./missing" in ran.stderr


def test_info_prints_choices_reasons_versions_and_the_scope() -> None:
    shown = run("info").stdout.decode()
    for word in ("384→1536 gelu", "same bits", "torch", "distilbert", "instruction set"):
        assert word in shown
    assert "A text's logits and scores are bit-identical" in shown
    report = json.loads(run("info", "--json").stdout)
    assert any(choice["operation"].startswith("block 384→1536") for choice in report["choices"])
    assert report["precision_reason"] == "the default"
    assert report["task"] == "text-classification"
    assert report["head"] == "first token, dense 384→384 relu, output 384→2"
    assert report["score_rule"] == "config.json: problem_type"
    assert report["versions"]["torch"].startswith("2.")
    assert report["instruction_set"]
    assert report["arithmetic"] in report["promise"]
    assert {"name", "built", "problem"} == report["variants"][0].keys()


@pytest.mark.parametrize("precision", supported_precisions(torch.device("cpu")))
def test_every_precision_gives_a_line_the_same_bits_in_every_batch(precision: str) -> None:
    arguments = ("classify", "--precision", precision)
    together = run(*arguments, stdin="\n".join(["bad", *SENTENCES, "good " * 40]).encode())
    alone = run(*arguments, SENTENCES[0])
    assert alone.returncode == 0, alone.stderr
    assert together.stdout.splitlines()[1:2] == alone.stdout.splitlines()


def test_a_text_cannot_control_the_terminal() -> None:
    shown = run_at(80, "classify", stdin=b"fine \x1b[2J\x1b[31m film\n").stdout.decode()
    assert "fine \N{REPLACEMENT CHARACTER}[2J" in shown
    assert "\x1b[2J" not in shown


def test_a_precision_comes_from_the_environment_too() -> None:
    scope = json.loads(run("info", "--json", ISOBATCH_PRECISION="auto").stdout)
    assert scope["precision"] != "auto"
    assert scope["precision_reason"]


def test_an_unknown_precision_is_a_usage_error() -> None:
    ran = run("classify", "--precision", "fp64", "good")
    assert ran.returncode == 2
    assert all(name in ran.stderr for name in (b"fp32", b"bf16", b"int8", b"auto"))


def test_precisions_are_compared_on_texts_from_stdin(tmp_path: Path) -> None:
    lines = "\n".join(SENTENCES).encode()
    ran = run("precisions", stdin=lines)
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    assert results[0]["precision"] == "fp32"
    assert all(each["agreement"]["num_texts"] == len(SENTENCES) for each in results)
    refused = run("precisions", "--save", stdin=lines)
    assert (refused.returncode, refused.stdout) == (2, b""), "before anything is measured"
    assert b"use a checkpoint folder" in refused.stderr


def test_precisions_are_compared_for_classifiers_alone(tmp_path: Path) -> None:
    refused = run("precisions", str(write_encoder(tmp_path)), stdin=b"good")
    assert refused.returncode == 2
    assert b"is for feature-extraction, and precisions are compared by the labels" in refused.stderr


def test_precisions_without_texts_on_a_terminal_are_a_usage_error() -> None:
    assert "no texts" in run_on_terminal("precisions")


@pytest.mark.parametrize("place", ["/nowhere/x.html", "/"])
def test_the_page_of_a_lesson_is_checked_before_it_is_computed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobatch.page.LessonPage.from_pretrained", None)
    ran = run("lesson", "--html", place)
    assert (ran.returncode, place in ran.stderr.decode()) == (6, True)


def test_version_and_help_do_not_import_torch() -> None:
    code = "import sys, isobatch, isobatch.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert run("--version").stdout.startswith(b"isobatch ")


def test_the_last_collections_of_a_process_have_nothing_to_walk_through() -> None:
    code = (
        "import atexit, gc, sys; from isobatch.cli import main;"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000));"
        "sys.argv = ['isobatch', '--version']; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout.splitlines()[-1] == b"True"


def test_lines_are_read_one_by_one() -> None:
    """An endless stdin must not be read to its end before the first prediction."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb", buffering=0) as writer:
        writer.write(b"first\nsecond\n")
        lines = classify.read_lines(reader)
        assert next(lines) == "first"


@pytest.mark.parametrize(
    "command",
    [
        ("classify", "good", "--model"),
        ("run", "{texts}", "-o", "-", "--model"),
        ("evaluate", "{texts}", "--label-column", "label", "--model"),
        ("info",),
        ("lesson",),
        ("lesson", "--html", "{page}"),
        ("precisions",),
        ("quantize", "--json", "{folder}"),
        ("audit",),
    ],
    ids=lambda command: " ".join(command[:2]),
)
@pytest.mark.parametrize("given", ["option", "environment"])
def test_every_command_that_loads_a_checkpoint_takes_a_revision(
    command: tuple[str, ...], given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is a function that records what is requested, and gives the bundled model."""
    requested = []

    def download(name: str, revision: str | None) -> Path:
        requested.append((name, revision))
        raise CheckpointError("enough is known")

    monkeypatch.setattr("isobatch.checkpoint.source._from_hub", download)
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\na fine film,POSITIVE\n")
    places = {"texts": texts, "page": tmp_path / "page.html", "folder": tmp_path / "int8"}
    arguments = [each.format(**places) for each in command]
    arguments.insert(2 if command[0] == "quantize" else len(arguments), "some/model")
    environment = {"ISOBATCH_REVISION": "v1"} if given == "environment" else {}
    option = () if environment else ("--revision", "v1")
    ran = run(*arguments, *option, stdin=b"a text\n", **environment)
    assert set(requested) == {("some/model", "v1")}, ran.stderr
    assert ran.returncode in (4, 8)


def test_a_revision_of_a_local_model_is_an_invalid_option() -> None:
    ran = run("classify", "good", "--revision", "v1")
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"revision 'v1' is of a model on the hub" in ran.stderr

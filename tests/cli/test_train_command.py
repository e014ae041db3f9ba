"""`isobatch train` as a shell sees it; a stand-in takes the steps."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from shell import run, run_on_terminal
from training.stand_in_training import NUM_STEPS, StandIn, evaluated, step_done

from isobatch.checkpoint import bundled_folder, locate_checkpoint
from isobatch.cli import app
from isobatch.cli.display import Display
from isobatch.cli.training_progress import TrainingDisplay, describe_step
from isobatch.errors import TrainingError
from isobatch.jobs import RayOptions
from isobatch.training.recipe import RecipeOptions
from isobatch.training.train_record import read_record

ROWS = "text,label,weight\n" + "".join(
    f"{word} film {number},{label},{1 + number % 2}\n"
    for number in range(6)
    for word, label in (("fine", "pos"), ("dull", "neg"))
)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return path


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return use(monkeypatch, StandIn())


def use(monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> StandIn:
    for module in ("fine_tuning", "training_verification"):
        monkeypatch.setattr(f"isobatch.training.{module}.train", stand_in.train)
    return stand_in


# ---------------------------------------------------------------------------------- options


def test_files_and_options_become_a_request(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    held_out = tmp_path / "held_out.csv"
    held_out.write_text("text,label,weight\nfine,pos,1\ndull,neg,1\n")
    weights = tmp_path / "weights.json"
    weights.write_text('{"pos": 3, "neg": 1}')
    out = tmp_path / "out"
    ran = run(
        *("train", str(labelled), "-o", str(out), "--validation", str(held_out)),
        *("--weight-column", "weight", "--class-weights", str(weights), "--task", "single"),
        *("--epochs", "2", "--batch-size", "4", "--learning-rate", "3e-4", "--seed", "7"),
        *("--patience", "1", "--freeze", "1", "--label-smoothing", "0.1", "--precision", "bf16"),
        *("--metric", "macro_f1", "--block-tokens", "64", "--threads", "1"),
        *("--blocks-in-flight", "2", "--restart"),
    )
    assert ran.returncode == 0, ran.stderr.decode()
    (request,) = stand_in.requests
    assert (request.base, request.out, request.task) == (None, out, "single")
    assert (len(request.texts), request.texts.texts[0]) == (12, "fine film 0")
    assert request.texts.values[:2] == ["pos", "neg"]
    assert request.texts.weights is not None
    assert request.texts.weights[:4] == [1, 1, 2, 2]
    assert request.validation is not None
    assert request.validation.texts == ["fine", "dull"]
    assert request.class_weights == {"pos": 3, "neg": 1}
    assert (request.threads, request.blocks_in_flight, request.restart) == (1, 2, True)
    assert request.options == RecipeOptions(
        epochs=2,
        batch_size=4,
        learning_rate=3e-4,
        seed=7,
        patience=1,
        freeze=1,
        label_smoothing=0.1,
        precision="bf16",
        metric="macro_f1",
        block_tokens=64,
    )
    parts = [(fact["part"], fact["path"], fact["rows"]) for fact in request.files]
    assert parts == [("training", "../rows.csv", 12), ("validation", "../held_out.csv", 2)]


def test_several_label_columns_and_a_share(tmp_path: Path, stand_in: StandIn) -> None:
    rows = tmp_path / "rows.tsv"
    rows.write_text("text\tsport\tnews\ngoal\t1\t0\nvote\t0\t1\n")
    columns = ("--label-column", "sport", "--label-column", "news", "--task", "multi")
    ran = run("train", str(rows), "-o", str(tmp_path / "o"), *columns, "--validation-share", "0.3")
    assert ran.returncode == 0, ran.stderr.decode()
    (request,) = stand_in.requests
    assert request.texts.label_columns == ("sport", "news")
    assert (request.validation, request.validation_share) == (None, 0.3)
    assert request.options == RecipeOptions()


def test_a_teacher_and_texts_without_labels(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    more = tmp_path / "more.txt"
    more.write_text("one more\nand more\n")
    distilled = ("--unlabelled", str(more), "--layers", "3", "--teacher-weight", "0.5")
    out, teacher = tmp_path / "out", str(locate_checkpoint(None))
    ran = run("train", str(labelled), "-o", str(out), *distilled, "--teacher", teacher)
    assert ran.returncode == 0, ran.stderr.decode()
    assert "teacher weight 0.5, teacher temperature 2" in ran.stderr.decode()
    ran = run("train", "--verify", str(out))
    assert (ran.returncode, json.loads(ran.stdout)["verdict"]) == (0, "reproduced")
    for request in stand_in.requests:
        assert request.unlabelled is not None
        assert request.unlabelled.texts == ["one more", "and more"]
        assert (request.teacher, request.layers, request.options.teacher_weight) == (
            teacher,
            3,
            0.5,
        )
    again = ("--options", str(out / "train.json"))
    assert run("train", str(labelled), "-o", str(tmp_path / "b"), *again).returncode == 0
    assert (stand_in.requests[2].teacher, stand_in.requests[2].layers) == (teacher, 3)
    ran = run("train", str(labelled), "-o", str(tmp_path / "c"), *distilled[:2])
    assert (ran.returncode, b"Specify one: --teacher" in ran.stderr) == (2, True)


def test_a_cluster_is_a_part_of_the_request(
    labelled: Path, tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = ("--engine", "ray", "--workers", "3", "--threads", "2", "--ray-address", "auto")
    cluster += ("--ray-wait", "5")
    out = ("-o", str(tmp_path / "out"))
    assert run("train", str(labelled), *out).returncode == 0
    assert run("train", str(labelled), *out, *cluster).returncode == 0  # the same run
    local, remote = stand_in.requests
    assert local.ray is None
    assert remote.ray == RayOptions("auto", 3, 2, 5.0)
    assert stand_in.first_steps == [1]


def test_every_value_is_printed_and_which_were_chosen(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    ran = run("train", str(labelled), "-o", str(tmp_path / "out"), "--epochs", "4")
    said = ran.stderr.decode()
    for words in ("epochs 4,", "learning rate 0.0001 (chosen)", "metric accuracy (chosen)"):
        assert words in said
    for field in fields(RecipeOptions):
        assert (field.name.replace("_", " ") in said) != field.name.startswith("teacher")


def test_help_names_the_defaults() -> None:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    helps = {each.name: each.help for each in command.params}
    for field in fields(RecipeOptions):
        default = getattr(RecipeOptions(), field.name)
        shown = f"{default:g}" if isinstance(default, int | float) else default
        assert default is None or f"Default: {shown}." in helps[field.name], field.name


def test_help_has_groups() -> None:
    said = run("train", "--help").stdout.decode()
    names = re.findall(r"^([A-Z].*):$", said, flags=re.M)
    assert names == [
        "Arguments",
        "Files",
        "Base and task",
        "A teacher and a smaller model",
        "Steps",
        "Optimizer",
        "Choice of the best weights",
        "Speed and memory; they never change the result",
        "Reports and verification",
        "Options",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "{out}"], 2, "no input"),
        (["{rows}"], 2, "-o FOLDER"),
        (["{rows}", "-o", "{out}", "--epochs", "0"], 2, "epochs must be a whole number"),
        (["{rows}", "-o", "{out}", "--metric", "eval_loss"], 2, "macro_f1"),
        (["{rows}", "-o", "{out}", "--validation-share", "1.5"], 2, "validation_share"),
        (
            ["{rows}", "-o", "{out}", "--validation", "{rows}", "--validation-share", "0.2"],
            2,
            "--validation-share: has no effect with --validation. Leave it out",
        ),
        (
            ["{rows}", "-o", "{out}", "--teacher-weight", "0.5"],
            2,
            "--teacher-weight: has no effect without --teacher. Leave it out",
        ),
        (
            ["{rows}", "-o", "{out}", "--task", "regression", "--label-smoothing", "0.1"],
            2,
            "--label-smoothing: has no effect in a regression",
        ),
        (
            ["{rows}", "-o", "{out}", "--workers", "2"],
            2,
            "--workers: has no effect without --engine ray. Leave it out",
        ),
        (["{rows}", "-o", "{out}", "--validation", "-"], 2, "cannot be stdin"),
        (["{rows}", "-o", "{out}", "--label-column", "stars"], 2, "stars"),
        (["{rows}.gone", "-o", "{out}"], 6, "gone"),
        (["{rows}", "-o", "{out}", "--base", "./no/base"], 4, "no/base"),
        (["{rows}", "-o", "{rows}"], 7, "is a file"),
        (["{rows}", "-o", "{folder}"], 7, "not of a training"),
    ],
)
def test_errors_have_their_exit_code(
    arguments: list[str], code: int, words: str, labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    places = {"rows": labelled, "out": tmp_path / "out", "folder": tmp_path}
    ran = run("train", *(argument.format(**places) for argument in arguments))
    assert ran.returncode == code, ran.stderr.decode()
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
    assert labelled.read_text() == ROWS


def test_a_validation_file_needs_neither_weights_nor_ids(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    header, *lines = labelled.read_text().splitlines()
    keyed = [f"{header},key", *(f"{line},k{number}" for number, line in enumerate(lines))]
    labelled.write_text("\n".join(keyed))
    held_out = tmp_path / "held_out.csv"
    held_out.write_text("text,label\nfine,pos\ndull,neg\n")
    files = (str(labelled), "--validation", str(held_out), "-o", str(tmp_path / "out"))
    ran = run("train", *files, "--weight-column", "weight", "--id-column", "key")
    assert ran.returncode == 0, ran.stderr.decode()
    (request,) = stand_in.requests
    assert request.validation is not None
    assert (request.validation.weights, request.validation.places[0]) == (None, "held_out.csv:2")
    assert request.texts.places[0] == "rows.csv:2 (key k0)"


def test_a_training_that_cannot_continue_is_exit_code_11(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: int) -> None:
        raise TrainingError(f"step {step}: the loss of a text is nan (rows.csv:3)")

    use(monkeypatch, StandIn(fail))
    ran = run("train", str(labelled), "-o", str(tmp_path / "out"))
    assert (ran.returncode, b"rows.csv:3" in ran.stderr) == (11, True)


def test_files_in_the_output_folder_are_not_replaced(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    out = tmp_path / "out"
    assert run("train", str(labelled), "-o", str(out)).returncode == 0
    inside = labelled.rename(out / "rows.csv")
    ran = run("train", str(inside), "-o", str(out), "--restart")
    assert (ran.returncode, b"is in the output folder" in ran.stderr) == (2, True)
    moved = inside.rename(labelled)
    ran = run("train", str(moved), "-o", str(out), "--restart", "--tensorboard", f"{out}/board")
    assert (ran.returncode, b"board: is in the output folder" in ran.stderr) == (2, True)
    assert len(stand_in.requests) == 1


# ------------------------------------------------------------------------------- --options


def test_a_record_is_accepted_as_options(labelled: Path, tmp_path: Path, stand_in: StandIn) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    columns = ("--weight-column", "weight", "--class-weights", "balanced")
    run("train", str(labelled), "-o", str(first), "--epochs", "4", "--seed", "7", *columns)
    record = str(first / "train.json")
    again = ("--options", record, "--seed", "0", "--batch-size", "16")
    ran = run("train", str(labelled), "-o", str(second), *again)
    assert ran.returncode == 0, ran.stderr.decode()
    before, now = stand_in.requests
    assert (now.options.epochs, now.options.batch_size, now.options.seed) == (4, 16, 0)
    assert now.options.learning_rate == 1e-4  # the record is complete
    assert (now.class_weights, now.task) == ("balanced", "single")
    assert now.texts.weights == before.texts.weights != None  # noqa: E711


def test_a_revision_is_of_the_recorded_base(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    base = ("--base", str(bundled_folder()))
    outs = [tmp_path / name for name in ("first", "second", "third")]
    again = ("--options", str(outs[0] / "train.json"))
    for out, more in zip(
        outs, ((*base, "--revision", "main"), again, (*again, *base)), strict=True
    ):
        ran = run("train", str(labelled), "-o", str(out), *more)
        assert ran.returncode == 0, ran.stderr.decode()
    assert [request.revision for request in stand_in.requests] == ["main", "main", None]
    records = [json.loads((out / "train.json").read_text())["base"] for out in outs]
    assert [record.get("revision") for record in records] == ["main", "main", None]
    assert read_record(outs[0]).revision == "main"
    refused = run("train", str(labelled), "-o", str(tmp_path / "out"), *base, "--revision", "v1")
    assert refused.returncode == 2
    assert b"revision 'v1' is of a model on the hub" in refused.stderr


def test_options_may_be_a_file_of_names(labelled: Path, tmp_path: Path, stand_in: StandIn) -> None:
    file = tmp_path / "options.json"
    file.write_text('{"epochs": 5, "label_columns": ["label"], "class_weights": {"pos": 2}}')
    ran = run("train", str(labelled), "-o", str(tmp_path / "out"), "--options", str(file))
    assert ran.returncode == 0, ran.stderr.decode()
    (request,) = stand_in.requests
    assert (request.options.epochs, request.class_weights) == (5, {"pos": 2})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"epoch": 5}', "option 'epoch' is not supported. Write 'epochs'"),
        ('{"epochs": "5"}', "options.json: epochs must be a whole number from 1 to 10000"),
        ('{"revision": 5}', "options.json: revision must be a branch, tag or commit, got 5"),
        ('{"task": "both"}', "task must be auto"),
        ('{"label_columns": "label"}', "a list of names"),
        ('{"label_columns": []}', "a list of names, at least one"),
        ('{"record": 2, "files": 5}', "is damaged: an entry is not of the type"),
        ('{"teacher_temperature": 3}', "--teacher-temperature: has no effect without --teacher"),
        ('{"class_weights": {}}', "class_weights"),
        ("[1]", "object of options"),
        ("{", "is not JSON"),
    ],
)
def test_unusable_options_are_an_error(
    content: str, words: str, labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    file = tmp_path / "options.json"
    file.write_text(content)
    ran = run("train", str(labelled), "-o", str(tmp_path / "out"), "--options", str(file))
    assert (ran.returncode, words in ran.stderr.decode()) == (2, True), ran.stderr.decode()
    assert not stand_in.requests


# ---------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_and_the_same_command_resumes(
    name: str,
    code: int,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupt(step: int) -> None:
        if step == 3 and not any(stand_in.first_steps[1:]):
            signal.raise_signal(getattr(signal, name))

    stand_in = use(monkeypatch, StandIn(interrupt))
    arguments = ("train", str(labelled), "-o", str(tmp_path / "out"))
    before = signal.getsignal(getattr(signal, name))
    ran = run(*arguments)
    said = ran.stderr.decode()
    assert (ran.returncode, "stopped after step 3 of 6; its state is saved" in said) == (code, True)
    assert "Run the same command again to resume" in said
    assert "stopping after this step" in capfd.readouterr().err
    assert signal.getsignal(getattr(signal, name)) == before
    assert run(*arguments).returncode == 0
    assert stand_in.first_steps == [1, 4]
    ran = run(*arguments)  # a finished one is not trained again
    assert (ran.returncode, stand_in.first_steps) == (0, [1, 4])


def test_a_signal_before_the_first_step_ends_at_once(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = use(monkeypatch, StandIn(lambda step: signal.raise_signal(signal.SIGINT)))
    ran = run("train", str(labelled), "-o", str(tmp_path / "out"))
    assert (ran.returncode, ran.stderr.decode().splitlines()[-1]) == (130, "isobatch: interrupted")
    assert stand_in.first_steps == [1]


def test_a_signal_during_the_last_step_still_ends_a_finished_training(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(step: int) -> None:
        if step == NUM_STEPS:
            signal.raise_signal(signal.SIGTERM)

    stand_in = use(monkeypatch, StandIn(interrupt))
    real = stand_in.train

    def train(request: Any, **callbacks: Any) -> Any:
        asked = callbacks.pop("should_stop")
        steps = iter(range(1, NUM_STEPS + 1))
        return real(request, **callbacks, should_stop=lambda: asked() and next(steps) < 0)

    monkeypatch.setattr("isobatch.training.fine_tuning.train", train)
    ran = run("train", str(labelled), "-o", str(tmp_path / "out"))
    assert (ran.returncode, (tmp_path / "out/train.json").exists()) == (143, True)
    assert "digest of model.safetensors" in ran.stderr.decode()


SECOND = """
import signal, sys
from isobatch.cli.stop_signals import DeferredStop
with DeferredStop() as stop:
    assert not stop.should_stop()
    signal.raise_signal(signal.SIGTERM)
    assert stop.should_stop()
    print("saved", flush=True)
    if sys.argv[1] == "2":
        signal.raise_signal(signal.SIGINT)
    print("ended", flush=True)
"""


@pytest.mark.parametrize(
    ("signals", "code", "said"), [("1", 0, "saved\nended\n"), ("2", 130, "saved\n")]
)
def test_a_second_signal_ends_the_process_at_once(signals: str, code: int, said: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SECOND, signals], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (code, said)
    said = "stopping after this step; repeat to end immediately"
    assert ran.stderr == f"isobatch: terminated: {said}\n"


# --------------------------------------------------------------------------- another's folder


def test_a_folder_of_another_run_is_not_touched(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    arguments = ("train", str(labelled), "-o", str(tmp_path / "out"))
    assert run(*arguments, "--epochs", "4").returncode == 0
    before = (tmp_path / "out/model.safetensors").read_bytes()
    ran = run(*arguments, "--epochs", "5")
    said = ran.stderr.decode()
    assert (ran.returncode, "options.epochs: was 4, is 5" in said) == (7, True), said
    assert (tmp_path / "out/model.safetensors").read_bytes() == before
    assert "--restart" in said
    assert run(*arguments, "--epochs", "5", "--restart").returncode == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() != before


# -------------------------------------------------------------------------------- progress


class Recorded(Display):
    def __init__(self, is_live: bool) -> None:
        self.is_live = is_live
        self.said: list[str] = []
        self.drawn: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def draw(self, done: int, total: int, text: str, left: str = "") -> None:
        self.drawn.append(f"{done}/{total} {text} | {left}")


def test_a_terminal_gets_speed_and_time_left() -> None:
    shown = Recorded(is_live=True)
    display = TrainingDisplay(shown)
    for step in (1, 2, 3):
        display.show(step_done(step, num_steps=1_000))
    assert shown.drawn == [
        "1/1000 step 1 of 1,000 · loss 1.0000 | ",
        "2/1000 step 2 of 1,000 · loss 0.5000 · 64 texts/s · 1,800 tokens/s | 8 min 19 s left",
        "3/1000 step 3 of 1,000 · loss 0.3333 · 64 texts/s · 1,800 tokens/s | 8 min 18 s left",
    ]


ON_TERMINAL = """
import sys, time
from training.stand_in_training import StandIn
from isobatch.cli import main
from isobatch.training import fine_tuning
fine_tuning.train = StandIn(lambda step: time.sleep(0.2)).train
main()
"""


def test_a_terminal_of_80_columns_shows_a_bar_and_keeps_the_evaluations(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    arguments = ("train", str(labelled), "-o", str(tmp_path / "out"))
    script = (sys.executable, "-c", ON_TERMINAL)
    shown = run_on_terminal(*arguments, command=script, columns=80)
    assert re.search(r"step 5 of 6 · loss 0\.2000 · 64 texts/s · 1,800 tokens/s\s", shown), shown
    assert "0.5 s left" in shown
    assert shown.count("· accuracy 0.7500 (average) · best\r\n") == 2
    assert shown.index("digest of model.safetensors") > shown.rindex("\x1b[2K")  # not erased


def test_the_longest_progress_fits_80_columns() -> None:
    from collections import deque

    speed = {"texts": 65_536, "tokens": 5_000_000}
    steps = [step_done(each, num_steps=123_456, loss=99.0, **speed) for each in (99_998, 99_999)]
    assert len(describe_step(deque(steps))) <= 80


def test_off_a_terminal_an_evaluation_is_a_line() -> None:
    shown = Recorded(is_live=False)
    display = TrainingDisplay(shown)
    for event in (step_done(1), step_done(2), evaluated(3), evaluated(6, best=False)):
        display.show(event)
    assert (shown.drawn, shown.said) == (
        [],
        [
            "step 3 of 6 · epoch 1 · loss 0.2500 · accuracy 0.7500 (average) · best",
            "step 6 of 6 · epoch 1 · loss 0.2500 · accuracy 0.7500 (average) · 1 since the best",
        ],
    )


def test_quiet_is_quiet(labelled: Path, tmp_path: Path, stand_in: StandIn) -> None:
    ran = run("train", str(labelled), "-o", str(tmp_path / "out"), "-q")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


# -------------------------------------------------------------------------------- --verify


def test_a_training_is_verified(labelled: Path, tmp_path: Path, stand_in: StandIn) -> None:
    out = tmp_path / "out"
    assert run("train", str(labelled), "-o", str(out), "--epochs", "4").returncode == 0
    ran = run("train", "--verify", str(out), "--threads", "1")
    assert ran.returncode == 0, ran.stderr.decode()
    found = json.loads(ran.stdout)
    assert (found["verdict"], found["computed"]) == ("reproduced", found["recorded"])
    first, again = stand_in.requests
    assert again.out != first.out
    assert not again.out.exists()
    assert (again.options.epochs, again.threads) == (4, 1)
    assert again.texts.texts == first.texts.texts


def test_other_weights_and_a_changed_folder_are_exit_code_9(
    labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    out = tmp_path / "out"
    run("train", str(labelled), "-o", str(out))
    (out / "model.safetensors").write_bytes(b"other")
    ran = run("train", "--verify", str(out))
    assert ran.returncode == 9, ran.stderr.decode()
    (problem,) = json.loads(ran.stdout)["problems"]
    assert "has changed since the training was finished" in problem


@pytest.mark.parametrize("fault", ["edited", "gone", "no record"])
def test_what_cannot_be_verified_is_exit_code_10(
    fault: str, labelled: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    out = tmp_path / "out"
    run("train", str(labelled), "-o", str(out))
    if fault == "edited":
        labelled.write_text(ROWS + "one more,pos,1\n")
    elif fault == "gone":
        labelled.unlink()
    else:
        (out / "train.json").unlink()
    ran = run("train", "--verify", str(out))
    assert (ran.returncode, ran.stdout) == (10, b""), ran.stderr.decode()
    assert len(stand_in.requests) == 1


def test_moved_files_are_found(labelled: Path, tmp_path: Path, stand_in: StandIn) -> None:
    out, place = tmp_path / "out", tmp_path / "elsewhere"
    run("train", str(labelled), "-o", str(out))
    place.mkdir()
    moved = labelled.rename(place / labelled.name)
    for where in (place, moved):
        assert run("train", str(where), "--verify", str(out)).returncode == 0
    ran = run("train", str(moved), str(moved), "--verify", str(out))
    assert (ran.returncode, b"in their order (rows.csv)" in ran.stderr) == (2, True)


def test_verify_takes_no_options_of_the_recipe(tmp_path: Path, stand_in: StandIn) -> None:
    ran = run("train", "--verify", str(tmp_path), "--label-column", "stars")
    assert (ran.returncode, b"--label-column: has no effect" in ran.stderr) == (2, True)

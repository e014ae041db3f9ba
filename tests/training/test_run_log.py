"""The log and the event files of a run, also of one that was stopped."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import Tiny, TinyFolder
from training.stand_in_training import evaluated, step_done
from training_process import training_run
from training_runs import make_examples, make_recipe

from isobatch.errors import JobError, OptionError, TrainingStopped
from isobatch.training.run_log import RunLog, read_log
from isobatch.training.tensorboard_log import TensorBoardLog

TINY = Tiny("bert")


def without_seconds(log: Path) -> list[dict[str, Any]]:
    return [{n: each for n, each in event.items() if n != "seconds"} for event in read_log(log)]


def run_logged(folder: Path, tiny_folder: TinyFolder, asked: Iterator[bool], log: Path) -> None:
    """Run until `asked` says so; a line that is not in the state is written as by a kill."""
    examples = make_examples(TINY)
    recipe = make_recipe(TINY, examples)
    with training_run(
        tiny_folder(TINY), examples, recipe, folder, should_stop=lambda: next(asked, False)
    ) as run:
        run.resume()
        with RunLog(log, run.state.events) as written:
            run.on_event = written
            run.train()


def test_a_stopped_log_is_that_of_a_run_that_was_not(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    unbroken, stopped = tmp_path / "unbroken.jsonl", tmp_path / "stopped.jsonl"
    run_logged(tmp_path / "a", tiny_folder, iter(()), unbroken)
    with pytest.raises(TrainingStopped):
        run_logged(tmp_path / "b", tiny_folder, iter([False, True]), stopped)
    assert [event["step"] for event in read_log(stopped)] == [1, 1, 2]
    with stopped.open("a") as file:  # steps after the last saved state, the last one incomplete
        file.write('{"event": "step", "step": 3, "loss": 9.0}\n{"event": "st')
    run_logged(tmp_path / "b", tiny_folder, iter(()), stopped)
    assert without_seconds(stopped) == without_seconds(unbroken)
    assert len(without_seconds(unbroken)) == 10


def test_a_line_is_readable_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    with RunLog(path) as log:
        log(step_done(1))
        assert [event["step"] for event in read_log(path)] == [1]
        with path.open("ab") as file:
            file.write(b'{"half')
        assert len(read_log(path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log.jsonl") as log:
        log._file.close()
        log._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
        with pytest.raises(JobError, match="cannot be written: No space left"):
            log(step_done(1))


# ----------------------------------------------------------------------------- TensorBoard


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Every point of all event files, as TensorBoard reads them."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    return {
        (value.tag, event.step): value.tensor.float_val[0]
        for path in sorted(folder.glob("events.*"))
        for event in loader.EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for events in ([step_done(1), step_done(2)], [step_done(2), evaluated(2)]):
        with TensorBoardLog(tmp_path / "board") as log:
            for event in events:
                log(event)
    assert scalars(tmp_path / "board") == {
        ("training/loss", 1): 1.0,
        ("training/gradient_norm", 1): 1.0,
        ("training/learning_rate", 1): pytest.approx(1e-4),
        ("training/loss", 2): 0.5,
        ("training/gradient_norm", 2): 1.0,
        ("training/learning_rate", 2): pytest.approx(1e-4),
        ("validation_average/accuracy", 2): 0.75,
        ("validation_average/log_loss", 2): 0.5,
        ("validation_raw/accuracy", 2): 0.5,
        ("validation_raw/log_loss", 2): 0.75,
    }
    assert not {"tensorflow"} & {name.partition(".")[0] for name in sys.modules}


def test_without_the_library_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(OptionError, match=r'pip install "isobatch\[tensorboard\]"'):
        TensorBoardLog(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="Use another folder"):
        TensorBoardLog(tmp_path / "file" / "board")

"""What `python -m benchmarks` measures, and where the result goes."""

import argparse
import io
import json
from pathlib import Path

import pytest

from benchmarks import BenchmarkError, UnsupportedError, cold_start, worker
from benchmarks.arguments import (
    BUILD,
    choose_engines,
    choose_parts,
    choose_turns,
    make_plan,
    parse_options,
    result_folder,
)
from benchmarks.instruction_sets import VARIABLE
from benchmarks.result_files import ENGINES_RESULTS


@pytest.fixture(autouse=True)
def _no_forced_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def options(*arguments: str) -> argparse.Namespace:
    return parse_options([*arguments])


def engines(*arguments: str) -> set[str]:
    return {spec.name for spec in choose_engines(options(*arguments))}


def test_only_selects_turns_and_the_engines_of_their_precisions() -> None:
    chosen = options("--only", "fp32-bulk,int8-one,roof")
    assert choose_turns(chosen) == {"fp32": ["bulk"], "int8": ["one"]}
    assert "roof" in choose_parts(chosen)
    assert engines("--only", "int8-one") == {
        "isobatch-int8",
        "onnxruntime-int8",
        "ctranslate2-int8",
    }
    assert engines("--only", "roof,bits") == set()


def test_everything_is_the_default() -> None:
    turns = choose_turns(options())
    assert turns == {each: ["bulk", "one"] for each in ("fp32", "bf16", "int8")}
    assert turns == choose_turns(options("--only", "speed"))
    assert {"roof", "bits", "cold-start", "accuracy", "scaling"} <= {*choose_parts(options())}
    assert "transformers-sorted" in engines()


def test_precisions_limit_the_turns() -> None:
    assert choose_turns(options("--precisions", "int8")) == {"int8": ["bulk", "one"]}


def test_quick_is_small_and_without_transformers() -> None:
    assert make_plan(options("--quick")).sst2_texts < make_plan(options()).sst2_texts
    assert make_plan(options("--quick", "--rounds", "9")).rounds == 9
    assert not {name for name in engines("--quick") if name.startswith("transformers")}
    assert "transformers-sorted" in engines("--quick", "--engines", "isobatch,transformers-sorted")
    assert not {"accuracy", "scaling"} & {*choose_parts(options("--quick"))}


@pytest.mark.parametrize(
    "arguments",
    [("--quick",), ("--only", "roof"), ("--engines", "isobatch"), ("--precisions", "int8")],
)
def test_only_a_complete_run_replaces_what_the_documents_show(arguments: tuple[str, ...]) -> None:
    assert result_folder(options()) == ENGINES_RESULTS
    assert result_folder(options(*arguments)) == BUILD / "results"
    assert result_folder(options(*arguments, "--out", "here")) == Path("here")


def test_an_unknown_part_lists_the_known_ones() -> None:
    with pytest.raises(BenchmarkError, match=r"unknown part 'speeed'.*fp32-bulk.*cold-start"):
        options("--only", "roof,speeed")


def test_a_forced_instruction_set_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "avx2")
    with pytest.raises(BenchmarkError, match="ISOBATCH_INSTRUCTION_SET=avx2"):
        options()


def test_a_precision_that_the_machine_lacks_is_not_a_failure_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(_request: object) -> None:
        raise UnsupportedError("no bf16 here")

    monkeypatch.setattr(worker, "load", load)
    replies = io.StringIO()
    worker.serve(io.StringIO('{"do": "load"}\n'), replies)
    assert json.loads(replies.getvalue()) == {"unsupported": "no bf16 here"}


def test_a_command_that_fails_is_not_a_cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "_CLASSIFY", ("-c", "raise SystemExit('out of order')"))
    with pytest.raises(BenchmarkError, match="exit status 1\nout of order"):
        cold_start.measure_cold_start(1)

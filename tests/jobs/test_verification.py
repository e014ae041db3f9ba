"""`isobatch verify`: every bit is computed again; other bits, files and machines are not passed."""

import gzip
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet  # type: ignore[import-untyped]
import pytest
from cli.shell import run
from jobs.machines import TORCH_ON_AVX2, TORCH_ON_AVX512, machine
from jobs.small_jobs import (
    TEXTS,
    TOO_LONG,
    Place,
    before_commit,
    break_off,
    command,
    small_checkpoint,
)

from isobatch.errors import OptionError
from isobatch.jobs import Verifier, VerifyOptions, prepare
from isobatch.jobs.folder import JobFolder
from isobatch.kernels import ARITHMETIC
from isobatch.kernels.compiled.variants import VARIABLE

REPRODUCED, BAD_OPTION, NOT_REPRODUCED, NOT_VERIFIABLE = 0, 2, 9, 10
ALL_COLUMNS = ("--logits", "--scores")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture
def place(tmp_path: Path, checkpoint: Path) -> Place:
    return Place(tmp_path, checkpoint)


Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(capfd: pytest.CaptureFixture[str]) -> Verify:
    """The exit code, and what the command prints about one output, as JSON."""

    def verified(*arguments: object) -> tuple[int, dict[str, Any]]:
        capfd.readouterr()
        code = command("verify", "--quiet", *arguments)
        said = capfd.readouterr().out
        return code, json.loads(said)["outputs"][0] if said else {}

    return verified


@contextmanager
def other_bits(change: Callable[[list[list[Any]]], object]) -> Iterator[None]:
    """Let a run compute other values: columns of added values are changed in place."""
    column_values = prepare.column_values

    def changed(*arguments: Any) -> list[list[Any]]:
        values = column_values(*arguments)
        change(values)
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "column_values", changed)
        yield


def nudge_score(values: list[list[Any]]) -> None:
    """The last bit of the score of row 5."""
    values[1][4] = math.nextafter(values[1][4], 0.0)


def nudge_logit(values: list[list[Any]]) -> None:
    """The last bit of a float32 logit of row 5."""
    first, *others = values[2][4]
    values[2][4] = [first * (1 + 2.0**-23), *others]


def flip_label(values: list[list[Any]]) -> None:
    values[0][4] = "another"


def forget_error(values: list[list[Any]]) -> None:
    values[-1][4] = "no such error"


OUTPUTS = ("out.csv", "out.tsv.gz", "out.jsonl", "out.jsonl.zst", "out.parquet")


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_format_is_reproduced_and_one_other_bit_is_not(
    tmp_path: Path, checkpoint: Path, output: str, verify: Verify
) -> None:
    place = Place(tmp_path, checkpoint, output)
    assert place.run(*ALL_COLUMNS) == 0
    code, found = verify(place.output)
    assert (code, found["verdict"]) == (REPRODUCED, "reproduced")
    assert (found["rows"], found["checked"], found["different"]) == (12, 12, 0)
    for change, column in (
        (nudge_score, "score"),
        (nudge_logit, "logits"),
        (flip_label, "label"),
        (forget_error, "error"),
    ):
        with other_bits(change):
            assert place.run(*ALL_COLUMNS, "--restart") == 0
        code, found = verify(place.output)
        assert (code, found["verdict"]) == (NOT_REPRODUCED, "not reproduced")
        assert (found["checked"], found["different"], found["problems"]) == (12, 1, [])
        [row] = found["first"]
        assert row["row"] == 5
        assert row["input_place"] == "rows.csv:6"
        assert row["place"] == (
            "out.parquet, row 5"
            if output == "out.parquet"
            else f"{output}:{5 if 'jsonl' in output else 6}"
        )
        [cell] = row["cells"]
        assert cell["column"] == column
        assert cell["written"] != cell["computed"]


ODD = [
    ({"text": "nice"}, ()),
    ({"text": None}, ()),
    ({"text": 5, "other": [1, {"a": None}]}, ()),
    ({"other": "no text"}, ()),
    ({"text": TOO_LONG}, ()),
    ({"text": " "}, ()),
    ({"text": 'a, "b"; c\nd'}, ()),
]


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--truncation", "error", "--on-empty", "error", "--prefix", "my_"),
        ("--columns", "other", *ALL_COLUMNS),
    ],
)
def test_rows_with_errors_and_all_options_are_reproduced(
    tmp_path: Path, checkpoint: Path, output: str, options: tuple[str, ...], verify: Verify
) -> None:
    if output == "out.parquet":
        rows: list[object] = [{"text": "nice", "other": "x"}, {"text": None}, {"text": TOO_LONG}]
        rows += [{"text": " ", "other": "x"}]
    else:
        rows = [row for row, _ in ODD]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    target = tmp_path / output
    assert command("run", source, "-o", target, "--model", checkpoint, *options) == 0
    code, found = verify(target, "--all")
    assert (code, found["first"], found["problems"]) == (REPRODUCED, [], [])
    assert found["checked"] == len(rows)


def test_pairs_dialects_encodings_and_several_inputs_are_reproduced(
    tmp_path: Path, checkpoint: Path, verify: Verify
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_bytes(f'1;caf\xe9 {name};"a\n2;b;c\n'.encode("cp1252"))
    reading = ("--no-header", "--delimiter", ";", "--encoding", "cp1252", "--no-quotes")
    columns = ("--text-column", "column_2", "--pair-column", "column_3", "--id-column", "column_1")
    inputs = (tmp_path / "a.csv", tmp_path / "b.csv")
    target = tmp_path / "out.tsv"
    given = ("-o", target, "--model", checkpoint, *reading, *columns)
    assert command("run", *inputs, *given) == 0
    code, found = verify(target)
    assert (code, found["rows"]) == (REPRODUCED, 4)
    with other_bits(lambda values: values[1].__setitem__(1, 0.5)):
        assert command("run", *inputs, *given, "--restart") == 0
    code, found = verify(target)
    assert code == NOT_REPRODUCED
    assert [row["input_place"] for row in found["first"]] == [
        "a.csv:2 (column_1 2)",
        "b.csv:2 (column_1 2)",
    ]


def test_a_sample_is_the_same_each_time_and_says_how_much_it_is(
    place: Place, verify: Verify, capfd: pytest.CaptureFixture[str]
) -> None:
    with other_bits(nudge_score):
        assert place.run() == 0
    results = [verify(place.output, "--sample", 3, "--seed", seed) for seed in range(12)]
    assert results == [verify(place.output, "--sample", 3, "--seed", seed) for seed in range(12)]
    assert {found["checked"] for _, found in results} == {3}
    assert {found["rows"] for _, found in results} == {12}
    codes = {code for code, _ in results}
    assert codes == {REPRODUCED, NOT_REPRODUCED}, "a row in four is in a sample"
    seed = [code for code, _ in results].index(REPRODUCED)
    assert command("verify", place.output, "--sample", 3, "--seed", seed) == REPRODUCED
    said = capfd.readouterr().err
    assert "3 of 12 rows checked (a sample; --all checks the others)" in said
    assert verify(place.output, "--all")[0] == NOT_REPRODUCED


def edit(path: Path, change: Callable[[str], str]) -> None:
    packed = path.suffix == ".gz"
    content = path.read_bytes()
    text = change((gzip.decompress(content) if packed else content).decode())
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())


def verdict_line(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line about one output, without its name."""
    capfd.readouterr()
    command("verify", *arguments)
    return capfd.readouterr().err.splitlines()[0].partition("out.csv: ")[2]


def test_rows_before_damage_are_compared_and_the_others_not_called_the_same(
    place: Place, verify: Verify, capfd: pytest.CaptureFixture[str]
) -> None:
    with other_bits(nudge_score):
        assert place.run() == 0
    arithmetic = f"arithmetic {ARITHMETIC}"
    whole = "NOT reproduced: 12 of 12 rows checked, 1 differs; " + arithmetic
    assert verdict_line(capfd, place.output) == whole
    edit(place.output, without_last_row)
    part = "NOT reproduced: 11 of 12 rows checked (the others cannot be compared)"
    assert verdict_line(capfd, place.output, "--all") == f"{part}, 1 differs; {arithmetic}"
    assert verify(place.output)[1]["first"][0]["row"] == 5
    assert place.run("--restart") == 0
    expected = "reproduced: 12 of 12 rows checked, each with the same bits; " + arithmetic
    assert verdict_line(capfd, place.output) == expected
    edit(place.output, without_last_row)
    assert verdict_line(capfd, place.output) == f"{part}; {arithmetic}"
    place.output.write_bytes(b"\xff" + place.output.read_bytes())
    part = part.replace("11", "0")
    assert verdict_line(capfd, place.output, "--sample", 3) == f"{part}; {arithmetic}"
    assert place.run("--restart") == 0
    edit(place.output, lambda text: text.splitlines(keepends=True)[0])
    assert verify(place.output)[1]["problems"][1] == "the output has 0 rows, its input 12"


def without_last_row(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


def with_a_row_twice(text: str) -> str:
    return text + text.splitlines(keepends=True)[-1]


def with_rows_swapped(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:-2], lines[-1], lines[-2]])


@pytest.mark.parametrize("output", ["out.csv", "out.csv.gz", "out.jsonl"])
@pytest.mark.parametrize(
    ("change", "problem", "different"),
    [
        (without_last_row, "the output has 11 rows, its input 12", 0),
        (with_a_row_twice, "the output has 13 rows, its input 12", 0),
        (with_rows_swapped, None, 2),
        (lambda text: text.replace("truncated", "shortened"), "shortened", None),
        (lambda text: text[: len(text) - 40], "", None),
    ],
)
def test_a_file_that_was_changed_is_not_reproduced(
    tmp_path: Path,
    checkpoint: Path,
    output: str,
    change: Callable[[str], str],
    problem: str | None,
    different: int | None,
    verify: Verify,
) -> None:
    place = Place(tmp_path, checkpoint, output)
    assert place.run() == 0
    edit(place.output, change)
    code, found = verify(place.output)
    assert (code, found["verdict"]) == (NOT_REPRODUCED, "not reproduced")
    first, *others = found["problems"]
    assert first.startswith("the file has changed since it was finished: SHA-256 was ")
    if problem and problem != "shortened":
        assert others == [problem]
    if different is not None:
        assert found["different"] == different
    if change is with_rows_swapped:
        assert found["first"][0]["cells"][0]["column"] == "text"


def test_a_lost_column_and_damaged_data_are_problems_and_not_crashes(
    tmp_path: Path, checkpoint: Path, verify: Verify
) -> None:
    place = Place(tmp_path, checkpoint, "out.csv.gz")
    assert place.run() == 0
    content = place.output.read_bytes()
    place.output.write_bytes(content[:-20])
    code, found = verify(place.output)
    assert code == NOT_REPRODUCED
    assert "the output cannot be read: " in found["problems"][1]
    place.output.write_bytes(content)
    edit(place.output, lambda text: text.replace("score", "number", 1))
    code, found = verify(place.output)
    assert code == NOT_REPRODUCED
    assert found["problems"][1] == "the output cannot be read: it lacks the column 'score'"
    table = Place(tmp_path, checkpoint, "out.parquet")
    assert table.run() == 0
    parquet.write_table(parquet.read_table(table.output).drop(["label"]), table.output)
    assert verify(table.output)[1]["problems"][1].endswith("it lacks the column 'label'")


def input_changed(place: Place, checkpoint: Path) -> None:
    place.input.write_text(place.input.read_text().replace("plot", "blot"))


def input_missing(place: Place, checkpoint: Path) -> None:
    place.input.unlink()


def output_missing(place: Place, checkpoint: Path) -> None:
    place.output.unlink()


def folder_missing(place: Place, checkpoint: Path) -> None:
    shutil.rmtree(place.work.path)


def not_finished(place: Place, checkpoint: Path) -> None:
    place.work.finished.unlink()


def edited_manifest(place: Place, checkpoint: Path) -> None:
    path = place.work.path / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["columns"]["read"]["pair"]
    path.write_text(json.dumps(manifest))


def old_manifest(place: Place, checkpoint: Path) -> None:
    path = place.work.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"manifest": 2}))


def spoiled_manifest(place: Place, checkpoint: Path) -> None:
    (place.work.path / "manifest.json").write_text("{")


def checkpoint_missing(place: Place, checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)


def checkpoint_changed(place: Place, checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    small_checkpoint(checkpoint, seed=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (input_changed, r"its input .*rows\.csv has changed: SHA-256 was .*--input"),
        (input_missing, r"its input .*rows\.csv does not exist. If it was moved.*--input"),
        (output_missing, r"out\.csv: no such file"),
        (folder_missing, r"there is no .*manifest\.json.*with the folder \.isobatch next to it"),
        (not_finished, "its job is not finished. Run the same command again"),
        (edited_manifest, "the manifest is incomplete or was edited: KeyError"),
        (old_manifest, r"older version of Isobatch \(manifest format 2"),
        (spoiled_manifest, r"manifest\.json: cannot be read"),
        (checkpoint_missing, "its checkpoint cannot be loaded as it was: .*--model"),
        (checkpoint_changed, r"the checkpoint changed \(checkpoint_sha256: was .*--model"),
    ],
)
def test_an_output_that_cannot_be_verified_says_why(
    tmp_path: Path,
    checkpoint: Path,
    change: Callable[[Place, Path], None],
    reason: str,
    verify: Verify,
) -> None:
    own = shutil.copytree(checkpoint, tmp_path / "model")
    place = Place(tmp_path, own)
    assert place.run() == 0
    change(place, own)
    code, found = verify(place.output)
    assert (code, found["verdict"]) == (NOT_VERIFIABLE, "cannot be verified")
    assert re.search(reason, found["reason"]), found["reason"]


def test_an_unfinished_job_cannot_be_verified(place: Place, verify: Verify) -> None:
    with before_commit(0, break_off):
        assert place.run() == 7
    for exists in (False, True):
        if exists:
            place.output.write_text("by somebody else")
        code, found = verify(place.output)
        assert code == NOT_VERIFIABLE
        assert "is not finished" in found["reason"]


def test_an_unfinished_job_of_a_folder_is_not_left_out(
    tmp_path: Path, checkpoint: Path, verify: Verify, capfd: pytest.CaptureFixture[str]
) -> None:
    """One of two shards never ended: without it, the folder would look verified."""
    done, broken = Place(tmp_path, checkpoint), Place(tmp_path, checkpoint, "part2.csv")
    assert done.run() == 0
    assert verify(tmp_path)[0] == REPRODUCED
    with JobFolder(tmp_path / "refused.csv").locked():
        assert verify(tmp_path)[0] == REPRODUCED, "a lock alone is no job"
    with before_commit(0, break_off):
        assert broken.run() == 7
    capfd.readouterr()
    assert command("verify", tmp_path) == NOT_VERIFIABLE
    first, second = json.loads(capfd.readouterr().out)["outputs"]
    assert (first["verdict"], second["output"]) == ("reproduced", str(broken.output))
    assert "part2.csv: its job is not finished" in second["reason"]
    (done.work.path / "manifest.json").unlink()
    assert "there is no" in verify(tmp_path)[1]["reason"]


def test_a_folder_without_outputs_keeps_no_other_from_its_verification(
    place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert place.run() == 0
    (tmp_path / "empty").mkdir()
    capfd.readouterr()
    assert command("verify", tmp_path / "empty", place.output, "--quiet") == NOT_VERIFIABLE
    empty, verified = json.loads(capfd.readouterr().out)["outputs"]
    assert empty["output"] == str(tmp_path / "empty")
    assert "has no output of `isobatch run`" in empty["reason"]
    assert verified["verdict"] == "reproduced"


def test_options_of_the_environment_are_not_blamed_on_the_checkpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert place.run() == 0
    monkeypatch.setenv(VARIABLE, "vax")
    capfd.readouterr()
    assert command("verify", place.output) == BAD_OPTION
    said = capfd.readouterr().err
    assert f"{VARIABLE}: 'vax' cannot be used" in said
    assert "--model" not in said


@pytest.mark.parametrize(
    ("file", "name", "value", "words"),
    [
        ("manifest.json", "precision", "fp9", "precision must be one of fp32"),
        ("runs.json", "device", "cuda", "torch finds no CUDA device"),
    ],
)
def test_a_recorded_device_or_precision_that_is_not_here_cannot_be_verified(
    place: Place,
    file: str,
    name: str,
    value: str,
    words: str,
    verify: Verify,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert place.run() == 0
    path = place.work.path / file
    described = json.loads(path.read_bytes())
    (described if isinstance(described, dict) else described[-1])[name] = value
    path.write_text(json.dumps(described))
    code, found = verify(place.output)
    assert code == NOT_VERIFIABLE
    assert words in found["reason"]
    if name == "device":
        assert verify(place.output, "--device", "cpu")[0] == REPRODUCED
        assert verify(place.output, "--device", "cuda")[0] == BAD_OPTION


def test_another_arithmetic_cannot_verify_and_another_processor_can(
    place: Place, verify: Verify
) -> None:
    with machine(instruction_set="AVX512", kernel="compiled avx512"):
        assert place.run() == 0
    with machine(instruction_set="NEON", kernel="compiled neon", versions={"torch": "9"}):
        code, found = verify(place.output)
    assert (code, found["arithmetic"], found["notes"]) == (REPRODUCED, ARITHMETIC, [])
    with machine(TORCH_ON_AVX2):
        code, found = verify(place.output)
    assert code == NOT_VERIFIABLE
    changed = 'the arithmetic changed (arithmetic: was "isobatch-1", is "torch 2.13.0 AVX2"). '
    assert changed in found["reason"]
    assert "verify it on a machine where `isobatch info` shows isobatch-1" in found["reason"]
    with machine(TORCH_ON_AVX512):
        assert place.run("--restart") == 0
    with machine(TORCH_ON_AVX2):
        assert verify(place.output)[0] == NOT_VERIFIABLE
    with machine(TORCH_ON_AVX512):
        assert verify(place.output)[0] == REPRODUCED


def test_other_versions_are_noted_and_the_rows_tell(place: Place, verify: Verify) -> None:
    with machine():
        assert place.run() == 0
    with machine(versions={"tokenizers": "9.9"}):
        code, found = verify(place.output)
    assert code == REPRODUCED
    [note] = found["notes"]
    assert note.startswith("the version of a library changed (versions.tokenizers: was")


def test_moved_files_are_found_by_the_options(
    tmp_path: Path, checkpoint: Path, verify: Verify, capfd: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    own = shutil.copytree(checkpoint, tmp_path / "model")
    place = Place(old, own)
    assert place.run() == 0
    old.rename(new)
    output = new / "out.csv"
    assert verify(output)[0] == REPRODUCED, "paths are relative to the output"
    (new / "rows.csv").rename(tmp_path / "moved.csv")
    own.rename(tmp_path / "other")
    assert verify(output)[0] == NOT_VERIFIABLE
    moved = ("--input", tmp_path / "moved.csv", "--model", tmp_path / "other")
    assert verify(output, *moved)[0] == REPRODUCED
    (tmp_path / "moved.csv").rename(tmp_path / "rows.csv")
    assert verify(output, "--input", tmp_path, "--model", tmp_path / "other")[0] == REPRODUCED
    capfd.readouterr()
    assert command("verify", output, *moved, "--input", tmp_path / "rows.csv") == BAD_OPTION
    assert "has 1 input, got 2. Specify all of them in their order (rows.csv)" in (
        capfd.readouterr().err
    )


def test_a_folder_is_all_outputs_in_it_and_one_does_not_keep_others_from_it(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    inputs = [tmp_path / f"{name}.txt" for name in ("a", "b", "c")]
    out = tmp_path / "out"
    assert command("run", *inputs, "-o", f"{out}/", "--model", checkpoint) == 0
    capfd.readouterr()
    assert command("verify", out, "--json", "--quiet") == REPRODUCED
    outputs = json.loads(capfd.readouterr().out)["outputs"]
    assert [each["output"] for each in outputs] == [f"{out}/{name}.jsonl" for name in "abc"]
    inputs[0].unlink()
    assert command("verify", out) == NOT_VERIFIABLE
    said = capfd.readouterr()
    verdicts = [each["verdict"] for each in json.loads(said.out)["outputs"]]
    assert verdicts == ["cannot be verified", "reproduced", "reproduced"]
    assert "isobatch: cannot be verified: " in said.err
    edit(out / "c.jsonl", lambda text: text.replace("nice", "ugly"))
    assert command("verify", out) == NOT_REPRODUCED
    assert command("verify", out, "--input", inputs[1]) == BAD_OPTION
    assert command("verify", tmp_path) == NOT_VERIFIABLE, "inputs are not outputs"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--all", "--sample", "3"), "--all checks every row"),
        (("--revision", "main"), "--revision: is for --model"),
        (("--sample", "0"), "--sample"),
        (("--device", "tpu"), "device"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_options_without_a_meaning_are_refused(
    place: Place, options: tuple[str, ...], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert place.run() == 0
    capfd.readouterr()
    assert command("verify", place.output, *options) == BAD_OPTION
    assert words in capfd.readouterr().err


def test_a_sample_of_no_rows_is_refused() -> None:
    with pytest.raises(OptionError, match="sample must be at least 1, got 0"):
        VerifyOptions(sample=0)


def test_an_output_without_rows_is_reproduced(
    tmp_path: Path, checkpoint: Path, verify: Verify, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("text\n")
    target = tmp_path / "out.csv"
    assert command("run", tmp_path / "rows.csv", "-o", target, "--model", checkpoint) == 0
    code, found = verify(target)
    assert (code, found["checked"], found["rows"]) == (REPRODUCED, 0, 0)
    nothing = f"reproduced: 0 of 0 rows checked; arithmetic {ARITHMETIC}"
    assert verdict_line(capfd, target) == nothing


def test_an_output_of_stdin_is_verified_with_the_saved_text(
    tmp_path: Path, checkpoint: Path, verify: Verify
) -> None:
    text = "".join(f"{text}\n" for text in TEXTS)
    target = tmp_path / "out.jsonl"
    ended = run("run", "-", "-o", str(target), "--model", str(checkpoint), stdin=text.encode())
    assert ended.returncode == 0
    code, found = verify(target)
    assert code == NOT_VERIFIABLE
    assert "its input was stdin, which is not kept. Save the text to a file" in found["reason"]
    work = JobFolder(target)
    assert [each["inputs"] for each in work.read_runs()] == [[None]], "no temporary file"
    (tmp_path / "stdin").write_text(text)
    assert verify(target, "--input", tmp_path / "stdin")[0] == REPRODUCED
    assert verify(target, "--input", tmp_path)[0] == REPRODUCED
    assert verify(target)[0] == NOT_VERIFIABLE, "a file of that name is not stdin"
    (tmp_path / "-").write_text(text)
    named = tmp_path / "named.jsonl"
    options = ("--model", checkpoint, "--format", "lines")
    assert command("run", f"{tmp_path}/-", "-o", named, *options) == 0
    assert verify(named)[0] == REPRODUCED


def test_a_symbolic_link_is_the_output_that_it_names(
    tmp_path: Path, checkpoint: Path, verify: Verify
) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = Place(tmp_path, checkpoint, "elsewhere/out.csv")
    assert place.run() == 0
    link = tmp_path / "link.csv"
    link.symlink_to(place.output)
    assert verify(link)[0] == REPRODUCED


def test_verification_reads_and_never_writes(place: Place) -> None:
    assert place.run() == 0
    before = {path: path.stat().st_mtime_ns for path in place.input.parent.rglob("*")}
    assert Verifier(VerifyOptions(sample=None)).verify(place.output).is_reproduced
    assert {path: path.stat().st_mtime_ns for path in place.input.parent.rglob("*")} == before

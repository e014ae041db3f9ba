"""Row n in, row n out, for every kind of row and every chunking."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobs.small_jobs import TEXTS, TOO_LONG, command, read_rows, small_checkpoint, write_rows

from isobatch import Classifier
from isobatch.jobs import FileJob, ModelOptions, ScoringOptions, run_files
from isobatch.scoring import chunks
from isobatch.tables import TableFile, detect_format

ODD_LINES = [
    '{"id": 0, "text": "nice"}',
    '{"id": 1, "text": null}',
    '{"id": 2}',
    '{"id": 3, "text": 17}',
    '{"id": 4, "text": ["a", "b"]}',
    r'{"id": 5, "text": "half \ud83d of a pair"}',
    r'{"id": 6, "text": ["\ud83d"]}',
    r'{"id": 7, "text": {"\udc00": 1}}',
    '{"id": 8, "text": true}',
    '{"id": 9, "text": ' + "9" * 5000 + "}",
    '{"id": 10, "text": 1e999}',
    '{"id": 11, "text": ""}',
    json.dumps({"id": 12, "text": TOO_LONG}),
    r'{"id": 13, "text": "nul \u0000 inside"}',
    '{"text": "nice", "id": 14, "more": [1]}',
]
WITHOUT_PREDICTION = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
LONG = 12


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def classifier(checkpoint: Path) -> Classifier:
    return Classifier.from_pretrained(checkpoint)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.jsonl"
    path.write_text("\n".join(ODD_LINES) + "\n")
    return path


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("truncation", ["cut", "error"])
def test_rows_without_a_text_are_rows_with_an_error(
    odd: Path,
    checkpoint: Path,
    classifier: Classifier,
    truncation: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    report, output = tmp_path / "report.json", tmp_path / "out.jsonl"
    options = ("--model", checkpoint, "--truncation", truncation, "--logits", "--report", report)
    assert command("run", odd, "-o", output, *options) == 0
    without = WITHOUT_PREDICTION | ({LONG} if truncation == "error" else set())
    lines = output.read_bytes().splitlines()
    assert len(lines) == len(ODD_LINES)
    for number, (before, after) in enumerate(zip(ODD_LINES, lines, strict=True)):
        kept, _, added = after.partition(b',"label":')
        assert kept.replace(b" ", b"") == before.encode()[:-1].replace(b" ", b"")
        row = json.loads(b'{"label":' + added)
        if number in without:
            assert row.pop("error")
            assert set(row.values()) == {None}
        else:
            prediction = classifier(json.loads(before)["text"])
            assert (row["label"], row["score"]) == (prediction.label, prediction.score)
            assert row["logits"] == list(prediction.logits)
            assert (row["truncated"], row["error"]) == (number == LONG, None)
    counts = json.loads(report.read_text())
    assert counts["rows"] == len(ODD_LINES)
    assert counts["errors"] == len(without)
    assert counts["truncated"] == int(truncation == "cut")
    assert counts["duplicates"] == 1
    assert sum(counts["labels"].values()) == len(ODD_LINES) - len(without)
    assert f"{len(without)} with an error" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "x1", "text": null}', "text is null"),
        ('{"id": "x1"}', "has no text"),
        ('{"id": "x1", "text": 5}', "text must be a string, got int: 5"),
        (r'{"id": "x1", "text": "\ud83d"}', "surrogate"),
        (json.dumps({"id": "x1", "text": TOO_LONG}), "more than 48 tokens"),
    ],
)
def test_on_error_stop_names_the_first_row(
    tmp_path: Path,
    checkpoint: Path,
    line: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 2)
    rows = tmp_path / "rows.jsonl"
    good = '{"id": "good", "text": "nice"}\n'
    rows.write_text(good * 5 + "\n" + line + "\n" + good + "{}\n")
    options = ("--on-error", "stop", "--truncation", "error", "--id-column", "id")
    output = tmp_path / "out.jsonl"
    assert command("run", rows, "-o", output, "--model", checkpoint, *options) == 3
    said = capfd.readouterr().err
    assert "rows.jsonl:7 (id x1): " in said
    assert words in said
    assert not output.exists()
    assert command("run", rows, "-o", output, "--model", checkpoint, *options[2:]) == 0
    assert "4 of 8 rows are saved" in capfd.readouterr().err
    assert [row["label"] is None for row in read_rows(output)] == [False] * 5 + [True, False, True]


def test_pairs_have_an_error_where_either_is_none(
    tmp_path: Path, checkpoint: Path, classifier: Classifier
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a":"nice","b":"day"}\n{"a":"nice","b":null}\n{"a":1,"b":"day"}\n{}\n')
    options = ("--text-column", "a", "--pair-column", "b", "--model", checkpoint)
    assert command("run", rows, "-o", tmp_path / "out.jsonl", *options) == 0
    written = read_rows(tmp_path / "out.jsonl")
    assert written[0]["score"] == classifier(("nice", "day")).score
    reasons = ["b is null", "a must be a string, got int: 1", "has no a"]
    assert [row["error"] for row in written[1:]] == reasons


# ----------------------------------------------------------------------------- columns, no rows


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("rows.csv", "id,text\n", ["id", "text"]),
        ("rows.jsonl", "", []),
        ("rows.txt", "", ["text"]),
        ("rows.parquet", "", ["text"]),
    ],
)
@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out.tsv.gz"])
def test_no_rows_are_a_header(
    tmp_path: Path, checkpoint: Path, name: str, content: str, columns: list[str], output: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    if name.endswith("parquet"):
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    assert command("run", path, "-o", tmp_path / output, "--model", checkpoint, "-q") == 0
    added = ["label", "score", "truncated", "empty", "error"]
    if output == "out.csv":
        header = (tmp_path / output).read_text().removesuffix("\n").split(",")
        assert header == [*columns, *added]
    elif output == "out.parquet":
        table = pq.read_table(tmp_path / output)
        assert (table.num_rows, table.column_names) == (0, [*columns, *added])


def test_a_name_that_is_taken_needs_a_prefix(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\nnice,1\n")
    arguments = ("run", rows, "-o", tmp_path / "out.csv", "--model", checkpoint)
    assert command(*arguments) == 2
    assert "'label'" in (said := capfd.readouterr().err)
    assert "--prefix" in said
    assert not (tmp_path / "out.csv").exists()
    assert command(*arguments, "--prefix", "label") == 0
    header, row = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "text,label,labellabel,labelscore,labeltruncated,labelempty,labelerror"
    assert row.startswith("nice,1,LABEL_")
    assert command(*arguments, "--columns", "text", "--restart") == 0
    assert (tmp_path / "out.csv").read_text().startswith("text,label,score,")


# ---------------------------------------------------------------------- cutting, files, batches


def read_any(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return read_rows(path)
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


texts = st.lists(
    st.one_of(
        st.sampled_from(TEXTS),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
        st.none(),
    ),
    max_size=20,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=texts,
    cuts=st.lists(st.integers(0, 20), max_size=3),
    max_rows=st.integers(1, 8),
    max_characters=st.integers(1, 90),
    budget=st.integers(1, 300),
    output=st.sampled_from(["out.csv", "out.jsonl", "out.parquet"]),
)
def test_however_rows_are_cut_each_has_the_prediction_it_has_alone(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Path,
    classifier: Classifier,
    texts: list[str | None],
    cuts: list[int],
    max_rows: int,
    max_characters: int,
    budget: int,
    output: str,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    ends = sorted({*cuts, len(texts)})
    parts = [texts[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    schema = pa.schema([("text", pa.string())])
    inputs = []
    for number, part in enumerate(parts):
        inputs.append(TableFile(folder / f"{number}.parquet", "parquet", "none"))
        pq.write_table(pa.table({"text": part}, schema), inputs[-1].path)
    target = TableFile(folder / output, *detect_format(output))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "MAX_CHUNK_ROWS", max_rows)
        patch.setattr(chunks, "MAX_CHUNK_CHARACTERS", max_characters)
        model = ModelOptions(str(checkpoint), threads=1, max_batch_tokens=budget)
        outcome = run_files([FileJob(tuple(inputs), target, ScoringOptions())], model)
    rows = read_any(target.path)
    assert outcome.progress.num_rows == outcome.progress.total.rows == len(rows) == len(texts)
    for text, row in zip(texts, rows, strict=True):
        assert (row["text"] or "") == (text or "")
        if text is None:
            assert not row["label"]
            assert row["error"] == "text is null"
        else:
            assert float(row["score"]) == classifier(text).score


def test_bytes_do_not_depend_on_threads_batches_or_limits_of_chunks(
    tmp_path: Path, checkpoint: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [f"{text} {n}" for n in range(30) for text in TEXTS])
    written = set()
    for number, (rows_of_chunk, threads, budget) in enumerate(
        [(4096, 1, 512), (1, 2, 512), (7, 1, 1), (50, 2, 99999)]
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "MAX_CHUNK_ROWS", rows_of_chunk)
            output = tmp_path / f"{number}.csv"
            options = ("--threads", threads, "--max-batch-tokens", budget, "--model", checkpoint)
            assert command("run", rows, "-o", output, "--logits", "--scores", *options, "-q") == 0
        written.add(output.read_bytes())
    assert len(written) == 1
    scores = [float(row[f"score_LABEL_{index}"]) for row in read_any(output) for index in (0, 1)]
    assert math.isclose(sum(scores), 180)


def test_a_string_that_csv_cannot_hold_is_found_before_anything_is_computed(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "text": "nice"}\n{"id": 2, "text": "half \\ud83d"}\n')
    out = tmp_path / "out.csv"
    assert command("run", rows, "-o", out, "--model", checkpoint) == 6
    assert "rows.jsonl:2: the value of 'text' cannot be decoded" in capfd.readouterr().err
    assert not (tmp_path / ".isobatch").exists()
    assert command("run", rows, "-o", out, "--columns", "id", "--model", checkpoint) == 0
    assert "surrogate" in out.read_text().splitlines()[2]

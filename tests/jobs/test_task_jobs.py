"""Jobs of every task: columns, resuming, other batches and formats, verification, bad options."""

import csv
import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from jobs.small_jobs import TEXTS, before_commit, break_off, command, read_rows, write_rows
from jobs.task_checkpoints import COLUMNS, COMMANDS, WRITERS

from isobatch import Embedder, Reranker, TokenClassifier, ZeroShotClassifier
from isobatch.errors import InputError
from isobatch.jobs import ModelOptions, ScoringOptions, TaskOptions, plan_jobs, run_files
from isobatch.jobs.folder import JobFolder
from isobatch.scoring import chunks
from isobatch.tables import TableFile, detect_format

KINDS = tuple(WRITERS)
LONG = "nice day plot " * 40

Checkpoints = Callable[[str], Path]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return cache(lambda kind: WRITERS[kind](tmp_path_factory.mktemp(kind)))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts: list[object] = [f"{text} {number}" for number in (1, 2) for text in TEXTS]
    return write_rows(tmp_path / "rows.jsonl", [*texts[:5], None, *texts[5:], "", LONG])


def run(checkpoints: Checkpoints, kind: str, rows: Path, output: Path, *more: object) -> int:
    name, *options = COMMANDS[kind]
    model = ("--model", checkpoints(kind), "--threads", 1)
    return command(name, rows, "-o", output, *options, *model, *more)


def texts_of(rows: Path) -> list[str]:
    return [row["text"] for row in read_rows(rows) if row["text"] is not None]


def added(written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The added cells of the rows that have no error."""
    left_out = ("id", "text", "truncated", "num_windows", "empty", "error")
    return [
        {name: value for name, value in row.items() if name not in left_out}
        for row in written
        if row["error"] is None
    ]


# -------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("kind", KINDS)
def test_rows_keep_their_columns_and_get_those_of_the_task(
    checkpoints: Checkpoints, kind: str, rows: Path, tmp_path: Path
) -> None:
    assert run(checkpoints, kind, rows, tmp_path / "out.jsonl") == 0
    written = read_rows(tmp_path / "out.jsonl")
    windows = ("num_windows",) if kind == "entities" else ()
    names = ["id", "text", *COLUMNS[kind], "truncated", *windows, "empty", "error"]
    assert all(list(row) == names for row in written)
    assert [row["text"] for row in written] == [row["text"] for row in read_rows(rows)]
    assert [row["error"] for row in written if row["error"]] == ["text is null"]
    assert all(written[5][name] is None for name in COLUMNS[kind])
    assert [row["empty"] for row in written].count(True) == 1
    if kind == "entities":
        assert written[-1]["num_windows"] > 1, "a long text is never cut silently"
        assert written[-1]["truncated"] is False
    else:
        assert written[-1]["truncated"] is True


def test_scores_of_a_query_are_those_of_a_reranker(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path
) -> None:
    assert run(checkpoints, "ranking", rows, tmp_path / "out.jsonl") == 0
    found = added(read_rows(tmp_path / "out.jsonl"))
    ranked = Reranker.from_pretrained(checkpoints("ranking")).rank(
        COMMANDS["ranking"][2], texts_of(rows)
    )
    by_index = sorted(ranked, key=lambda each: each.index)
    assert found == [{"score": each.score, "logits": [each.logit]} for each in by_index]


def test_a_column_of_queries_gives_the_scores_of_each(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    pairs = [
        {"question": f"nice {number}?", "passage": text} for number in (1, 2) for text in TEXTS
    ]
    rows = tmp_path / "pairs.jsonl"
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    arguments = ("--model", checkpoints("ranking"), "--query-column", "question")
    column = ("--text-column", "passage")
    assert command("run", rows, "-o", tmp_path / "out.jsonl", *arguments, *column) == 0
    reranker = Reranker.from_pretrained(checkpoints("ranking"))
    expected = reranker([(pair["question"], pair["passage"]) for pair in pairs])
    assert [row["score"] for row in read_rows(tmp_path / "out.jsonl")] == [
        each.score for each in expected
    ]
    assert command("verify", tmp_path / "out.jsonl", "--all") == 0


def test_labels_are_those_of_zero_shot_classification(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path
) -> None:
    assert run(checkpoints, "zero-shot", rows, tmp_path / "out.jsonl") == 0
    classifier = ZeroShotClassifier.from_pretrained(checkpoints("zero-shot"))
    expected = classifier(texts_of(rows), ["good", "bad", "so, so"])
    assert added(read_rows(tmp_path / "out.jsonl")) == [
        {
            "label": each.label,
            "score": each.score,
            **{f"score_{label}": score for label, score in each.scores.items()},
        }
        for each in expected
    ]


LABELS_OF_ROWS: list[tuple[object, object]] = [
    (["good", "so, so"], ["good", "so, so"]),
    ('good, "so, so"', ["good", "so, so"]),
    ('["good", "bad", "[x"]', ["good", "bad", "[x"]),
    ("good", ["good"]),
    (None, "labels is null"),
    ([], "labels: the list is empty"),
    ("good,good", "labels: 'good' appears twice"),
    ([1], "labels: label 0 must be a text"),
    ("[1", "labels must be a list of labels, got [1"),
    ({"a": 1}, "labels must be a list of labels"),
    (["good " * 60], "labels: the hypothesis of"),
    ("sport\npolitics", "labels must be a list of labels, got sport"),
    ("[" * 100_000, "labels must be a list of labels, got [["),
]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_may_have_labels_of_their_own(
    checkpoints: Checkpoints, tmp_path: Path, form: str
) -> None:
    rows = write_rows(
        tmp_path / "rows.jsonl", [f"nice day {n}" for n, _ in enumerate(LABELS_OF_ROWS)]
    )
    listed = [
        {**row, "labels": cell}
        for row, (cell, _) in zip(read_rows(rows), LABELS_OF_ROWS, strict=True)
    ]
    rows.write_text("\n".join(map(json.dumps, listed)))
    if form == "parquet":
        given = zip(listed, LABELS_OF_ROWS, strict=True)
        listed = [{**row, "labels": each} for row, (_, each) in given if isinstance(each, list)]
        rows = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(listed), rows)
    options = ("--labels-column", "labels", "--template", "It is {}.", "--logits")
    model = ("--model", checkpoints("zero-shot"), "--threads", 1)
    out = tmp_path / "out.jsonl"
    assert command("run", rows, "-o", out, *options, *model) == 0
    classifier = ZeroShotClassifier.from_pretrained(checkpoints("zero-shot"))
    written = read_rows(out)
    assert len(written) == len(listed)
    for row, (_, expected) in zip(written, LABELS_OF_ROWS, strict=False):
        if isinstance(expected, str):
            assert row["error"].startswith(expected), row
            assert row["label"] is None
        else:
            alone = classifier(row["text"], expected, "It is {}.")
            found = (row["label"], row["score"], row["logits"])
            assert found == (alone.label, alone.score, list(alone.logits))
    assert command("verify", out, "--all") == 0


def test_template_and_several_labels_change_the_scores(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path
) -> None:
    names = tmp_path / "labels.txt"
    names.write_text("good\nso, so\n\n")
    options = ("--labels-file", names, "--template", "It is {} today.", "--multi-label")
    arguments = ("--model", checkpoints("zero-shot"), "--scores", *options)
    assert command("run", rows, "-o", tmp_path / "out.jsonl", *arguments) == 0
    classifier = ZeroShotClassifier.from_pretrained(checkpoints("zero-shot"))
    labels = ["good", "so, so"]
    expected = classifier(texts_of(rows), labels, "It is {} today.", True)
    found = added(read_rows(tmp_path / "out.jsonl"))
    assert [row["score_so, so"] for row in found] == [each.scores["so, so"] for each in expected]
    assert command("verify", tmp_path / "out.jsonl", "--all") == 0


@pytest.mark.parametrize("aggregation", ["none", "simple", "max"])
def test_entities_are_those_of_the_token_classifier(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path, aggregation: Any
) -> None:
    more = ("--aggregation", aggregation)
    assert run(checkpoints, "entities", rows, tmp_path / "out.jsonl", *more) == 0
    classifier = TokenClassifier.from_pretrained(checkpoints("entities"))
    expected = classifier(texts_of(rows), aggregation)
    found = added(read_rows(tmp_path / "out.jsonl"))
    names = ("label", "score", "start", "end", "text")
    assert [row["entities"] for row in found] == [
        [{name: getattr(entity, name) for name in names} for entity in each.entities]
        for each in expected
    ]
    assert sum(len(row["entities"]) for row in found) > 10


def test_vectors_are_those_of_the_embedder(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path
) -> None:
    options = ("--pooling", "cls", "--no-normalize", "--prompt-name", "query")
    assert run(checkpoints, "vectors", rows, tmp_path / "out.jsonl", *options) == 0
    folder = checkpoints("vectors")
    embedder = Embedder.from_pretrained(folder, pooling="cls", normalize=False)
    expected = embedder(texts_of(rows), prompt_name="query")
    found = [row["embedding"] for row in added(read_rows(tmp_path / "out.jsonl"))]
    assert np.array(found, np.float32).tobytes() == expected.tobytes()
    default = Embedder.from_pretrained(folder)(texts_of(rows))
    assert default.tobytes() != expected.tobytes(), "each option changes the vectors"
    assert command("verify", tmp_path / "out.jsonl", "--all") == 0


# --------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        *product(("entities", "vectors"), ("out.jsonl", "out.csv", "out.parquet")),
        *product(("ranking", "zero-shot"), ("out.csv",)),
        ("vectors", "out.npy"),
    ],
)
def test_a_job_that_is_broken_off_resumes_to_the_same_bytes_in_other_batches(
    checkpoints: Checkpoints,
    kind: str,
    rows: Path,
    tmp_path: Path,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = ("--on-error", "row")
    assert run(checkpoints, kind, rows, tmp_path / output, *errors) == 0
    expected = (tmp_path / output).read_bytes()
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / output
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 3)
    for index, budget in ((2, 1), (4, 4096)):
        with before_commit(index, break_off):
            more = ("--max-batch-tokens", budget)
            assert run(checkpoints, kind, rows, again, *errors, *more) == 7
        assert not again.exists()
        assert len(JobFolder(again).ledger.read_bytes().splitlines()) == index
    assert run(checkpoints, kind, rows, again, *errors, "--max-batch-tokens", 50) == 0
    assert again.read_bytes() == expected
    assert command("verify", again, "--all") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_formats_hold_the_same_values(
    checkpoints: Checkpoints, kind: str, rows: Path, tmp_path: Path
) -> None:
    for ending in ("jsonl", "csv", "tsv", "parquet"):
        assert run(checkpoints, kind, rows, tmp_path / f"out.{ending}") == 0
    expected = added(read_rows(tmp_path / "out.jsonl"))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert added(table) == expected
    for ending, delimiter in (("csv", ","), ("tsv", "\t")):
        with (tmp_path / f"out.{ending}").open(newline="") as file:
            cells = list(csv.DictReader(file, delimiter=delimiter))
        read = added([{**row, "error": row["error"] or None} for row in cells])
        assert [
            {name: value if name == "label" else json.loads(value) for name, value in row.items()}
            for row in read
        ] == expected


def test_parquet_has_vectors_of_a_fixed_size_and_entities_as_structures(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path
) -> None:
    for kind in ("vectors", "entities"):
        assert run(checkpoints, kind, rows, tmp_path / f"{kind}.parquet") == 0
    types = {
        kind: str(pq.read_schema(tmp_path / f"{kind}.parquet").field(COLUMNS[kind][0]).type)
        for kind in ("vectors", "entities")
    }
    members = "label: string, score: double, start: int64, end: int64, text: string"
    assert types["vectors"].startswith("fixed_size_list<")
    assert types["vectors"].endswith(": float>[32]")
    assert f"struct<{members}>" in types["entities"]


def test_an_array_has_a_row_for_each_row_and_nan_for_errors(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.npy"
    assert run(checkpoints, "vectors", rows, out) == 3, "by default an error stops the job"
    assert "rows.jsonl:6: text is null" in capfd.readouterr().err
    assert not out.exists()
    assert run(checkpoints, "vectors", rows, out, "--on-error", "row") == 0
    assert "rows with an error are NaN" in capfd.readouterr().err
    vectors = np.load(out)
    expected = Embedder.from_pretrained(checkpoints("vectors"))(texts_of(rows))
    assert vectors.dtype == np.float32
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [5]
    assert np.delete(vectors, 5, axis=0).tobytes() == expected.tobytes()


def test_the_name_of_an_array_does_not_stop_a_job_of_another_format(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.npy"
    assert run(checkpoints, "vectors", rows, out, "--output-format", "jsonl") == 0
    assert read_rows(out)[5]["error"] == "text is null"
    (tmp_path / "folder.npy").mkdir()
    assert run(checkpoints, "vectors", rows, tmp_path / "folder.npy") == 0
    assert "NaN" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["ranking", "entities", "vectors"])
def test_long_texts_are_read_in_windows_of_the_given_stride(
    checkpoints: Checkpoints, kind: str, rows: Path, tmp_path: Path
) -> None:
    windows = ("--truncation", "window", "--stride", 5)
    assert run(checkpoints, kind, rows, tmp_path / "out.jsonl", *windows) == 0
    assert run(checkpoints, kind, rows, tmp_path / "cut.jsonl", "--truncation", "cut") == 0
    found, cut = read_rows(tmp_path / "out.jsonl"), read_rows(tmp_path / "cut.jsonl")
    numbers = [row["num_windows"] for row in found]
    assert numbers[5] is None
    assert {*numbers[:5], *numbers[6:-1]} == {1}
    assert numbers[-1] > 2
    assert "num_windows" not in cut[-1]
    assert added(found)[:-1] == added(cut)[:-1]
    assert added(found)[-1] != added(cut)[-1]
    assert command("verify", tmp_path / "out.jsonl", "--all") == 0


def test_a_changed_number_of_an_array_is_found(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.npy"
    assert run(checkpoints, "vectors", rows, out, "--on-error", "row") == 0
    vectors = np.load(out)
    vectors[3, 7] = np.nextafter(vectors[3, 7], np.float32(2))
    np.save(out, vectors)
    capfd.readouterr()
    assert command("verify", out, "--all") == 9
    said = capfd.readouterr().err
    assert "15 of 15 rows checked, 1 differs" in said
    assert "out.npy, row 4" in said


# -------------------------------------------------------------------------------- other options


@pytest.mark.parametrize(
    ("kind", "options", "word"),
    [
        ("ranking", ("--query", "another one"), "--query"),
        ("zero-shot", ("--labels", "great"), "the columns that are added"),
        ("zero-shot", ("--template", "It is {}."), "--template"),
        ("zero-shot", ("--multi-label",), "--multi-label"),
        ("entities", ("--aggregation", "max"), "--aggregation"),
        ("entities", ("--truncation", "cut"), "--truncation"),
        ("vectors", ("--pooling", "max"), "--pooling"),
        ("vectors", ("--no-normalize",), "--normalize"),
        ("vectors", ("--prompt", "nice "), "--prompt"),
        ("vectors", ("--prompt-name", "query"), "--prompt-name"),
    ],
)
def test_a_resume_with_another_option_says_which(
    checkpoints: Checkpoints,
    rows: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    options: tuple[str, ...],
    word: str,
) -> None:
    out = tmp_path / "out.jsonl"
    with before_commit(0, break_off):
        assert run(checkpoints, kind, rows, out) == 7
    capfd.readouterr()
    assert run(checkpoints, kind, rows, out, *options) == 7
    assert word in capfd.readouterr().err.partition(" changed (")[0]
    assert run(checkpoints, kind, rows, out, *options, "--restart") == 0


BAD_OPTIONS = [
    ("ranking", "run", ("--query", "a", "--query-column", "id"), "Leave one out"),
    ("ranking", "run", ("--query", "a", "--pair-column", "id"), "Leave one out"),
    ("ranking", "run", ("--query", " "), "--query is empty"),
    ("ranking", "run", ("--query", "a", "--scores"), "--scores: this task adds only score"),
    ("ranking", "run", ("--query-column", "no"), "the input has no column 'no'"),
    ("ranking", "run", ("--query", "a", "--labels", "b"), "are for different tasks"),
    ("ranking", "run", ("--labels", "a,b"), "entail"),
    ("ranking", "run", ("--aggregation", "max"), "is for token-classification"),
    ("zero-shot", "run", ("--labels", ""), "--labels: has no label"),
    ("zero-shot", "run", ("--labels", "a,,b"), "label 2 is empty"),
    ("zero-shot", "run", ("--labels", "a,b,a"), "'a' is named twice"),
    ("zero-shot", "run", ("--labels", "a", "--labels-file", "b"), "Leave one out"),
    ("zero-shot", "run", ("--labels", "a", "--labels-column", "id"), "Leave one out"),
    ("zero-shot", "run", ("--labels-column", "no"), "the input has no column 'no'"),
    ("zero-shot", "run", ("--labels-column", "id", "--scores"), "adds only label, score"),
    ("zero-shot", "run", ("--labels-column", "id", "--pair-column", "id"), "one text per row"),
    ("zero-shot", "run", ("--labels-column", "id", "--query-column", "id"), "text-ranking"),
    ("entities", "run", ("--labels-column", "id"), "is for token-classification"),
    ("zero-shot", "run", ("--labels-file", "missing.txt"), "missing.txt: cannot be read"),
    ("zero-shot", "run", ("--labels", "a", "--template", "b"), "has no {}"),
    ("zero-shot", "run", ("--template", "It is {}."), "--labels is missing"),
    ("zero-shot", "run", ("--query", "a"), "a reranker has one"),
    ("zero-shot", "run", ("--labels", "a,b", "--pair-column", "id"), "reads one text per row"),
    ("entities", "run", ("--pair-column", "id"), "reads one text per row"),
    ("entities", "run", ("--logits",), "--logits: this task adds only entities"),
    ("entities", "run", ("--query", "a"), "is for token-classification"),
    ("entities", "embed", (), "--pooling"),
    ("entities", "run", ("--stride", "3"), "Add --truncation window"),
    ("zero-shot", "run", ("--labels", "a", "--truncation", "window"), "is not supported"),
    ("zero-shot", "run", ("--labels", "a", "--truncation", "window", "-o", "-"), "not supported"),
    ("vectors", "run", (), "isobatch embed"),
    ("vectors", "run", ("--labels", "a,b"), "isobatch embed"),
    ("vectors", "embed", ("--prompt", "a", "--prompt-name", "query"), "--prompt-name"),
    ("vectors", "embed", ("--prompt-name", "missing"), "missing"),
    ("vectors", "embed", ("--columns", "id", "-o", "out.npy"), "--columns: a .npy file"),
    ("vectors", "embed", ("--prefix", "a_", "-o", "out.npy"), "--prefix: a .npy file"),
    ("vectors", "embed", ("-o", "out.npy.gz"), "leave out the second ending"),
    ("vectors", "embed", ("-o", "-", "--output-format", "npy"), "cannot be written to stdout"),
    ("zero-shot", "run", ("-o", "out.npy"), "which `isobatch embed` writes"),
]


@pytest.mark.parametrize(("kind", "name", "options", "word"), BAD_OPTIONS)
def test_options_that_do_not_fit_are_errors(
    checkpoints: Checkpoints,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    name: str,
    options: tuple[str, ...],
    word: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    output = () if "-o" in options else ("-o", "out.jsonl")
    code = command(name, rows.name, *output, "--model", checkpoints(kind), *options)
    streamed, said = capfd.readouterr()
    assert word in said
    assert (code in (2, 4), streamed) == (True, "")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_vectors_of_no_named_model_ask_for_one_or_for_pooling(
    rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command("embed", rows, "-o", tmp_path / "out.npy") == 2
    said = capfd.readouterr().err
    assert "--model is missing" in said
    assert "--pooling mean" in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_name_that_is_taken_is_an_error(
    checkpoints: Checkpoints, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    name = COLUMNS[kind][0]
    rows.write_text(json.dumps({"text": "nice", name: 1}) + "\n")
    assert run(checkpoints, kind, rows, tmp_path / "out.jsonl") == 2
    assert f"already has a column '{name}'" in capfd.readouterr().err
    assert run(checkpoints, kind, rows, tmp_path / "out.jsonl", "--prefix", "my_") == 0
    assert f"my_{name}" in read_rows(tmp_path / "out.jsonl")[0]
    assert command("verify", tmp_path / "out.jsonl") == 0


def test_cells_without_quotes_cannot_hold_lists(
    checkpoints: Checkpoints, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text\nnice day\n")
    unquoted = ("--no-quotes",)
    assert run(checkpoints, "entities", rows, tmp_path / "out.csv", *unquoted) == 2
    assert "'entities' needs quotes" in capfd.readouterr().err
    assert run(checkpoints, "entities", rows, tmp_path / "out.tsv", *unquoted) == 0


def test_the_summary_counts_what_the_task_finds(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = {"ranking": None, "zero-shot": "labels: ", "entities": "entities: ", "vectors": None}
    for kind, word in words.items():
        assert run(checkpoints, kind, rows, tmp_path / f"{kind}.jsonl") == 0
        said = capfd.readouterr().err
        assert "15 rows in" in said
        assert ("labels: " in said or "entities: " in said) == (word is not None)
        assert word is None or word in said
        assert "0 duplicates not computed again" in said, "equal windows are no duplicates"
        assert ("1 read in windows" in said) == (kind == "entities")
        assert f"{int(kind != 'entities')} truncated to" in said


@pytest.mark.parametrize(
    ("kind", "options", "task", "words"),
    [
        ("ranking", (), "text-classification", "first token"),
        ("entities", (), "token-classification", "each token"),
        ("vectors", (), "feature-extraction", "mean of all tokens"),
        ("entities", ("--pooling", "max"), "feature-extraction", "maximum of all tokens"),
    ],
)
def test_info_says_what_a_checkpoint_is_for(
    checkpoints: Checkpoints,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    options: tuple[str, ...],
    task: str,
    words: str,
) -> None:
    capfd.readouterr()
    assert command("info", checkpoints(kind), "--json", *options) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["task"] == task
    assert words in said["head"]
    assert (said["vectors"] is None) == (task != "feature-extraction")


def test_info_shows_how_vectors_are_used(
    checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert command("info", checkpoints("vectors")) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert (
        "similarity cosine prompts query ('nice: '), passage ('day: ') default prompt none" in said
    )


@pytest.mark.parametrize("option", ["--labels", "--columns"])
def test_names_on_two_lines_are_refused(
    checkpoints: Checkpoints,
    rows: Path,
    tmp_path: Path,
    option: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = (option, "a\nb", "--model", checkpoints("zero-shot"))
    assert command("run", rows, "-o", tmp_path / "out.jsonl", *arguments) == 2
    assert f"{option} 'a\\nb': new-line character" in capfd.readouterr().err


def test_an_array_stops_at_errors_from_python_too(
    checkpoints: Checkpoints, rows: Path, tmp_path: Path
) -> None:
    tables = [TableFile(rows, *detect_format(rows.name))]
    jobs = plan_jobs(tables, str(tmp_path / "out.npy"), ScoringOptions())
    with pytest.raises(InputError, match="text is null"):
        run_files(
            jobs, ModelOptions(str(checkpoints("vectors")), task=TaskOptions("feature-extraction"))
        )

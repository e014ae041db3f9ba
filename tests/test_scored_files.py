"""Evaluation of what `isobatch run` has written: the same numbers, and no weights are loaded."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from isobatch import Classifier
from isobatch.errors import InputError, OptionError
from isobatch.evaluation import (
    Evaluation,
    LabelledFiles,
    LabelOptions,
    evaluate_files,
    evaluate_scored,
)
from isobatch.evaluation.scored_columns import find_scored_columns, read_prediction
from isobatch.jobs import ModelOptions, ScoringOptions, plan_jobs, run_files
from isobatch.tables import TableFile, detect_format

PAIR = ("NEGATIVE", "POSITIVE")
ROWS = (
    ("a fine film", "POSITIVE"),
    ("a dull film", "NEGATIVE"),
    ("what a mess, from start to end", "POSITIVE"),
    ("not bad", "NEGATIVE"),
    ("good", "POSITIVE"),
)
FORMATS = ["csv", "tsv", "jsonl", "parquet"]


def table(path: Path) -> TableFile:
    return TableFile(path, *detect_format(path.name))


def rows_file(path: Path, *rows: dict[str, object]) -> TableFile:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return table(path)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> TableFile:
    rows = [{"text": text, "gold": gold} for text, gold in ROWS]
    return rows_file(tmp_path_factory.mktemp("labelled") / "dev.jsonl", *rows)


@pytest.fixture(scope="module")
def scored(labelled: TableFile) -> Callable[[str], TableFile]:
    """The output of a job for the labelled file, with or without scores and logits."""

    def write(name: str, **options: object) -> TableFile:
        output = labelled.path.parent / name
        run_files(plan_jobs([labelled], str(output), ScoringOptions(**options)), ModelOptions())  # type: ignore[arg-type]
        return table(output)

    return write


@pytest.fixture(scope="module")
def computed(labelled: TableFile) -> Evaluation:
    files = LabelledFiles((labelled,), LabelOptions("gold"))
    return evaluate_files(files, Classifier.from_pretrained())


def from_scores(
    file: TableFile, scores: TableFile, label: LabelOptions | None = None, **options: object
) -> Evaluation:
    files = LabelledFiles((file,), label or LabelOptions("gold"))
    return evaluate_scored(files, [scores], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", FORMATS)
def test_the_numbers_are_those_of_the_computation(
    ending: str,
    labelled: TableFile,
    scored: Callable[..., TableFile],
    computed: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = scored(f"plain.{ending}")
    full = scored(f"full.{ending}", scores=True, logits=True, prefix="p_")
    monkeypatch.setattr(Classifier, "from_pretrained", None)
    found = asdict(from_scores(full, full))
    assert found | {"mistakes": ()} == asdict(computed) | {"mistakes": ()}
    assert [each["text"] for each in found["mistakes"]] == [m.text for m in computed.mistakes]
    # Of two labels one score is enough, if it is known which they are.
    named = from_scores(labelled, plain, labels=PAIR)
    assert (named.roc_auc, named.accuracy) == (computed.roc_auc, computed.accuracy)
    alone = from_scores(plain, plain)
    assert (alone.roc_auc, alone.mcc) == (None, computed.mcc)
    assert "--scores" in alone.undefined["roc_auc"]


def test_indices_need_the_labels_of_the_checkpoint(
    scored: Callable[..., TableFile], tmp_path: Path
) -> None:
    """The message names both fixes, and each of them works."""
    numbers = [{"text": t, "gold": float(g == "POSITIVE")} for t, g in ROWS]
    file = rows_file(tmp_path / "numbers.jsonl", *numbers)
    plain, full = scored("plain.csv"), scored("scores.csv", scores=True)
    with pytest.raises(InputError, match=r"1\.0 as a float .*--label-map.*--model .*--scores"):
        from_scores(file, plain)
    fixes = [
        from_scores(file, full),
        from_scores(file, plain, labels=PAIR),
        from_scores(file, plain, LabelOptions("gold", label_map=("1.0=POSITIVE", "0.0=NEGATIVE"))),
    ]
    assert len({each.accuracy for each in fixes}) == 1


def test_the_prediction_is_never_the_expected_label(scored: Callable[..., TableFile]) -> None:
    plain = scored("plain.csv")
    with pytest.raises(OptionError, match=r"--label-column label: .* is the prediction"):
        from_scores(plain, plain, LabelOptions("label"))


def test_other_rows_are_refused(
    labelled: TableFile, scored: Callable[..., TableFile], tmp_path: Path
) -> None:
    plain = scored("plain.csv")
    rows = [{"text": text, "gold": gold} for text, gold in ROWS]
    fewer = rows_file(tmp_path / "fewer.jsonl", *rows[1:])
    with pytest.raises(InputError, match=r"fewer\.jsonl has 4 rows, .* plain\.csv has 5"):
        from_scores(fewer, plain)
    turned = rows_file(tmp_path / "turned.jsonl", *rows[::-1])
    with pytest.raises(InputError, match=r"turned\.jsonl:1 and plain\.csv:2 .* differ in text"):
        from_scores(turned, plain)


def test_other_rows_are_refused_by_every_column(tmp_path: Path) -> None:
    """Also where no column is the obvious text, and by the labels alone if need be."""
    rows = [{"a b": text, "number": index} for index, (text, _) in enumerate(ROWS)]
    rows = [row | {"gold": gold} for row, (_, gold) in zip(rows, ROWS, strict=True)]
    file = rows_file(tmp_path / "dev.jsonl", *rows)
    cells = {"score": 0.9, "truncated": False, "error": None}
    added = [cells | {"label": gold} for _, gold in ROWS]
    whole = [row | more for row, more in zip(rows, added, strict=True)]
    scores = rows_file(tmp_path / "scored.jsonl", *whole[::-1])
    with pytest.raises(InputError, match=r"dev\.jsonl:1 and scored\.jsonl:1 .* differ in a b\."):
        from_scores(file, scores)
    alone = rows_file(tmp_path / "l.jsonl", *[more | {"gold": more["label"]} for more in added])
    assert from_scores(file, alone).num_texts == 5
    ordered = rows_file(tmp_path / "ordered.jsonl", *whole)
    corrected = [row | {"gold": "NEGATIVE"} for row in rows]
    assert from_scores(rows_file(tmp_path / "c.jsonl", *corrected), ordered).num_correct == 2
    none = rows_file(tmp_path / "none.jsonl", *added)
    with pytest.raises(OptionError, match=r"no column in common, .*isobatch run --columns"):
        from_scores(file, none)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("source", ["jsonl", "parquet"])
def test_a_scored_file_of_another_format_has_the_same_rows(
    source: str, ending: str, tmp_path: Path
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, object]] = [
        {"text": text, "id": index, "gold": gold, "x": index / 3, "more": {"a": [index], "b": None}}
        for index, (text, gold) in enumerate(ROWS)
    ]
    rows[1] |= {"text": None, "more": None, "x": 1.0}
    rows[2] |= {"x": None, "more": {"a": []}}
    file = rows_file(tmp_path / "dev.jsonl", *rows)
    if source == "parquet":
        file = table(tmp_path / "dev.parquet")
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        columns["x"][2] = float("nan")
        columns["day"] = [datetime(2026, 1, index + 1, tzinfo=UTC) for index in range(len(rows))]
        pq.write_table(pa.table(columns), file.path)
    scores = tmp_path / f"scored.{ending}"
    run_files(plan_jobs([file], str(scores), ScoringOptions()), ModelOptions())
    found = from_scores(file, table(scores))
    assert (found.num_texts, found.num_errors) == (4, 1)


def test_bad_rows_are_counted_with_their_reason(tmp_path: Path) -> None:
    good = {"label": "POSITIVE", "score": 0.9, "truncated": False, "error": None, "gold": 1}
    scores = {"score_NEGATIVE": 0.1, "score_POSITIVE": 0.9}
    rows: list[dict[str, object]] = [
        {"label": "POSITIVE", "score": 0.9, **scores, "truncated": True, "error": None, "gold": 1},
        good | scores | {"label": None, "score": None, "error": "text is null"},
        good | scores | {"score": None},
        good | scores | {"score": 3.5},
        good | scores | {"label": "OTHER"},
        good | scores | {"score_NEGATIVE": 0.8},
        good | scores | {"gold": None},
    ]
    file = rows_file(tmp_path / "s.jsonl", *rows)
    found = from_scores(file, file, LabelOptions("gold", skip_unlabelled=True))
    counts = found.num_texts, found.num_errors, found.num_unlabelled, found.num_truncated
    assert counts == (1, 5, 1, 1)
    reasons = "; ".join(each.reason for each in found.errors)
    for part in ("text is null", "None, not a prob", "3.5, not", "'OTHER', not one", "sum to 1.7"):
        assert part in reasons


def test_empty_texts_are_counted_by_the_text_or_by_the_mark_of_run(tmp_path: Path) -> None:
    cells = {"label": "POSITIVE", "score": 0.9, "truncated": False}
    rows: list[dict[str, object]] = [
        {"text": text, "id": 1, **cells, "empty": not text, "error": None, "gold": "POSITIVE"}
        for text in ("good", "", "")
    ]
    label = LabelOptions("gold", label_map=("0=NEGATIVE",))
    marked = [{key: row[key] for key in row if key != "text"} for row in rows]
    unmarked = [{key: row[key] for key in row if key != "empty"} for row in rows]
    for number, kept in enumerate((rows, marked, unmarked)):
        file = rows_file(tmp_path / f"{number}.jsonl", *kept)
        assert (from_scores(file, file, label).num_empty, number) == (2, number)


@pytest.mark.parametrize("name", ["entities", "embedding", "score"])
def test_a_file_of_another_task_is_named(name: str) -> None:
    columns = ["text", f"my_{name}", "my_truncated", "my_error"]
    with pytest.raises(OptionError, match=rf"\(my_{name}\), and --scores-from reads the labels"):
        find_scored_columns(columns, None, None)
    with pytest.raises(OptionError, match="has no columns label"):
        find_scored_columns(["text", name], None, None)


def test_what_run_has_not_written_is_refused() -> None:
    with pytest.raises(OptionError, match=r"has no columns label, score, .*it has text"):
        find_scored_columns(["text"], None, None)
    twice = [f"{prefix}{name}" for prefix in ("", "b_") for name in _added()]
    with pytest.raises(OptionError, match=r"prefixes '', 'b_'. Choose one, such as --prefix b_"):
        find_scored_columns(twice, None, None)
    assert find_scored_columns(twice, "b_", None).prefix == "b_"
    assert find_scored_columns(twice, "", None).prefix == ""
    with pytest.raises(OptionError, match=r"--prefix c_: .*c_label"):
        find_scored_columns(twice, "c_", None)
    columns = ["score_x", "label", "score", "score_a", "score_b", "truncated", "error"]
    assert find_scored_columns(columns, None, None).labels == ("a", "b")
    with pytest.raises(OptionError, match=r"scores of a, b, but the labels of --model are b, a"):
        find_scored_columns(columns, None, ("b", "a"))


def test_a_saturated_score_of_several_labels_is_a_logit_of_minus_infinity() -> None:
    cells = {"label": "a", "score": "1.0", "truncated": "true", "error": None}
    found = read_prediction(cells, ("a", "b"), ordered=True)
    assert not isinstance(found, str)
    assert (found.logits, found.truncated) == ((0.0, float("-inf")), True)
    several = read_prediction(cells, ("a", "b", "c"), ordered=True)
    assert not isinstance(several, str)
    assert several.logits == ()


def _added() -> tuple[str, ...]:
    return "label", "score", "truncated", "error"

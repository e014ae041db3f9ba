"""`isobatch evaluate` as a shell sees it."""

import json
import re
import shlex
from pathlib import Path

import pytest
from pair_checkpoints import NLI_LABELS, write_classifier
from shell import run, run_on_terminal
from tiny_checkpoints import Tiny
from tiny_token_models import write_word_tagger

ROWS = "text,label\na fine film,1\na dull film,0\nwhat a mess,1\n"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "dev.csv"
    path.write_text(ROWS)
    return path


def test_json_and_a_page(labelled: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ran = run("evaluate", str(labelled), "--label-column", "label", "--html", str(page))
    assert (ran.returncode, ran.stderr) == (0, b"")
    evaluation = json.loads(ran.stdout)
    assert (evaluation["num_texts"], evaluation["num_correct"]) == (3, 2)
    assert evaluation["mistakes"][0]["text"] == "what a mess"
    assert evaluation["facts"]["precision"] == "fp32 (the default)"
    assert "what a mess" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_the_label_column_is_found_by_its_name(name: str, tmp_path: Path) -> None:
    rows = {
        "rows.csv": "text,Sentiment,topic\nfine,1,x\ndull,1,y\n",
        "rows.jsonl": (
            '{"text": "fine", "topic": "x"}\n{"text": "dull", "Sentiment": 1, "topic": "y"}\n'
        ),
    }
    (tmp_path / name).write_text(rows[name])
    ran = run("evaluate", str(tmp_path / name), "--by", "topic", "--skip-unlabelled")
    evaluation = json.loads(ran.stdout)
    assert evaluation["facts"]["label column"] == "Sentiment"
    assert evaluation["num_texts"] == (2 if name == "rows.csv" else 1)
    ambiguous = run("evaluate", str(tmp_path / name))
    assert ambiguous.returncode == 2
    assert b"it could be Sentiment or topic" in ambiguous.stderr


def test_predictions_of_a_run_are_never_taken_for_labels(labelled: Path, tmp_path: Path) -> None:
    scored, renamed = tmp_path / "scored.csv", tmp_path / "renamed.csv"
    renamed.write_text(ROWS.replace("label", "sentiment"))
    assert run("run", str(renamed), "-o", str(scored), "-q").returncode == 0
    refused = run("evaluate", str(scored))
    assert (refused.returncode, b"'label' holds predictions" in refused.stderr) == (2, True)
    found = json.loads(run("evaluate", str(scored), "--label-column", "sentiment").stdout)
    assert found["num_correct"] == json.loads(run("evaluate", str(renamed)).stdout)["num_correct"]


def test_people_get_tables(labelled: Path) -> None:
    shown = run_on_terminal("evaluate", str(labelled), "--label-column", "label")
    for words in ("accuracy 66.67%", "2 of 3", "macro F1", "NEGATIVE", "│", "what a mess"):
        assert words in shown


def test_rows_come_from_stdin_too(labelled: Path) -> None:
    arguments = ["evaluate", "-", "--format", "csv", "--label-column", "label"]
    ran = run(*arguments, stdin=ROWS.encode())
    assert json.loads(ran.stdout)["mistakes"][0]["place"] == "stdin:4"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["evaluate", "{file}", "--text-column", "label"], 2, "cannot find the label column"),
        (["evaluate", "{file}", "--by", "label"], 2, "but 'label', which another option names"),
        (["evaluate", "--scores-from", "{file}"], 2, "with --scores-from it is not detected"),
        (["evaluate", "{file}", "--label-column", "gold"], 2, "gold"),
        (["evaluate", "{file}", "--label-column", "text"], 3, "a fine film"),
        (["evaluate", "{file}.gone", "--label-column", "label"], 6, "gone"),
        (["evaluate", "{file}", "--label-column", "label", "--html", "/proc/no/x"], 6, "/proc/no"),
    ],
)
def test_errors_have_their_exit_code(
    arguments: list[str], code: int, words: str, labelled: Path
) -> None:
    ran = run(*(argument.format(file=labelled) for argument in arguments))
    assert ran.returncode == code, ran.stderr.decode()
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr


def test_a_scored_file_is_evaluated_without_a_model(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = tmp_path / "scored.csv"
    assert run("run", str(labelled), "-o", str(scored), "--prefix", "p_", "-q").returncode == 0
    monkeypatch.setattr("isobatch.Classifier.from_pretrained", None)
    arguments = ["evaluate", "--scores-from", str(scored), "--label-column", "label"]
    mapped = ["--label-map", "1=POSITIVE", "--label-map", "0=NEGATIVE"]
    page = tmp_path / "page.html"
    ran = run(*arguments, *mapped, "--by", "label", "--html", str(page))
    assert (ran.returncode, ran.stderr) == (0, b"")
    evaluation = json.loads(ran.stdout)
    assert (evaluation["num_texts"], evaluation["num_correct"]) == (3, 2)
    assert [each["num_texts"] for each in evaluation["slices"]] == [1, 2]
    assert "Matthews correlation" in page.read_text(encoding="utf-8")
    both = run("evaluate", str(labelled), *arguments[1:], *mapped)
    assert json.loads(both.stdout)["num_correct"] == 2
    for option, value in (("--threads", "2"), ("--on-empty", "error"), ("--revision", "v9")):
        refused = run(*arguments, option, value)
        assert (refused.returncode, option.encode() in refused.stderr) == (2, True)


def test_the_label_map_of_the_message_fixes_it(tmp_path: Path) -> None:
    """The advice of the message is followed, word by word."""
    file = tmp_path / "d.csv"
    file.write_text("text,label\na fine film,pos\na dull film,neg\n")
    arguments = ["evaluate", str(file), "--label-column", "label"]
    message = run(*arguments).stderr.decode()
    assert "'pos' (d.csv:2)" in message
    fixed = run(*arguments, *shlex.split(message[message.index("--label-map") :]))
    assert (fixed.returncode, json.loads(fixed.stdout)["num_correct"]) == (0, 2)


def test_rows_that_are_not_counted_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("text,label\na fine film,1.0\na dull film,\nno,7\n")
    arguments = ["evaluate", str(file), "--label-column", "label"]
    message = run(*arguments).stderr.decode()
    assert "d.csv:3" in message
    message = run(*arguments, "--skip-unlabelled").stderr.decode()
    assert "'7' (d.csv:4)" in message
    ran = run(*arguments, "--skip-unlabelled", "--on-bad-label", "row")
    assert ran.returncode == 0
    for part in ("1 row without a label", "1 row not evaluated", "d.csv:4", "1.0 as the index 1"):
        assert part in ran.stderr.decode()
    shown = run_on_terminal(*arguments, "--skip-unlabelled", "--on-bad-label", "row", "--quiet")
    for part in ("0 truncated, 1 error, 1 without a label", "ROC AUC – (undefined: only one label"):
        assert part in shown


@pytest.mark.parametrize("place", ["/nowhere/x.html", "/", "{file}"])
def test_the_page_is_checked_before_anything_is_computed(
    place: str, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobatch.Classifier.from_pretrained", None)
    page = place.format(file=labelled)
    ran = run("evaluate", str(labelled), "--label-column", "label", "--html", page)
    assert ran.returncode == (2 if place == "{file}" else 6)
    assert page in ran.stderr.decode()
    assert labelled.read_text() == ROWS


RANKED = "query,text,relevance\ngood film,a fine film,1\ngood film,a dull film,0\nbad,never,2\n"


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("reranker"), Tiny("bert", num_labels=1))


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    path = tmp_path / "ranked.csv"
    path.write_text(RANKED)
    return path


def test_a_ranking_is_evaluated(reranker: Path, ranked: Path, tmp_path: Path) -> None:
    columns = ["--query-column", "query", "--label-column", "relevance"]
    page = tmp_path / "page.html"
    arguments = ["evaluate", str(ranked), "-m", str(reranker), *columns]
    ran = run(*arguments, "--html", str(page))
    assert ran.returncode == 0
    assert ran.stderr == b"isobatch: note: 1 query has a single text, whose order is always right\n"
    found = json.loads(ran.stdout)
    assert (found["task"], found["num_queries"], found["num_texts"]) == ("ranking", 2, 3)
    assert found["facts"]["arithmetic"]
    assert "nDCG@10" in page.read_text(encoding="utf-8")
    shown = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", run_on_terminal(*arguments, "-q", columns=80))
    for words in ("nDCG@10 ", "MRR@10 ", "a random order has", "2 queries", "│", "0 errors"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_vectors_of_any_encoder_are_evaluated(ranked: Path) -> None:
    columns = ["--query-column", "query", "--text-column", "text", "--pooling", "mean"]
    ran = run("evaluate", str(ranked), *columns)
    found = json.loads(ran.stdout)
    assert (found["task"], found["num_queries"], found["num_texts"]) == ("retrieval", 2, 3)
    pairs = ["--label-column", "relevance", "--pair-column", "query", "--pooling", "mean"]
    found = json.loads(run("evaluate", str(ranked), *pairs).stdout)
    assert (found["task"], found["num_texts"]) == ("similarity", 3)
    assert -1 <= found["spearman"] <= 1


def test_entities_are_evaluated(tmp_path: Path) -> None:
    tagger = write_word_tagger(tmp_path / "tagger", {"film": "B-PER"})
    file = tmp_path / "tagged.csv"
    file.write_text("words,tags\na fine film,O O B-PER\n" + "dull film " * 40 + "," + "O O " * 40)
    arguments = ["evaluate", str(file), "-m", str(tagger), "--text-column", "words"]
    arguments += ["--label-column", "tags"]
    found = json.loads(run(*arguments).stdout)
    assert (found["task"], found["micro"]["recall"]) == ("entities", 1.0)
    assert found["micro"]["num_predicted"] == 41  # also those behind the model's 48 tokens
    shown = run_on_terminal(*arguments, "--scheme", "iob2", columns=80)
    for words in ("Micro F1 ", "precision", "PER", "41", "│"):
        assert words in shown


def test_zero_shot_is_evaluated(labelled: Path, tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "nli", Tiny("bert", num_labels=3), NLI_LABELS)
    labelled.write_text("text,label\na fine film,good\na dull film,bad\nwhat a mess,bad\n")
    arguments = ["evaluate", str(labelled), "-m", str(model), "--label-column", "label"]
    found = json.loads(run(*arguments, "--zero-shot", "--template", "It is {}.").stdout)
    assert (found["labels"], found["num_texts"]) == (["bad", "good"], 3)
    found = json.loads(run(*arguments, "--labels", 'good,"bad, or worse",bad').stdout)
    assert found["labels"] == ["good", "bad, or worse", "bad"]
    refused = run(*arguments, "--labels", "good,,bad")
    assert (refused.returncode, b"label 2 is empty" in refused.stderr) == (2, True)
    names = tmp_path / "labels.txt"
    names.write_text("good\n\nbad \n")  # as `isobatch run` reads them
    found = json.loads(run(*arguments, "--labels-file", str(names)).stdout)
    assert found["labels"] == ["good", "bad"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--query-column", "query"], "cannot find the label column: none has a common name"),
        (
            ["--query-column", "query", "--pooling", "mean", "--on-bad-label", "row"],
            "--on-bad-label row: is for a label column",
        ),
        (
            ["--query-column", "query", "--pooling", "mean", "--skip-unlabelled"],
            "--skip-unlabelled: is for a label column",
        ),
        (
            ["--label-column", "relevance", "--labels", "a,b", "--pair-column", "query"],
            "--pair-column: is for classification and similarity",
        ),
        (["--label-column", "relevance", "--scheme", "iob2"], "--scheme: is for entities"),
        (["--query-column", "query", "--label-column", "relevance", "--by", "query"], "--by: is"),
        (["--query-column", "no", "--label-column", "relevance"], "no"),
        (["--label-column", "relevance", "--labels", "a,b"], "entail"),
        (["--label-column", "relevance", "--normalize"], "--normalize is for feature-extraction"),
        (["--label-column", "relevance", "--aggregation", "max"], "is for token-classification"),
    ],
)
def test_options_of_another_task_are_refused(
    arguments: list[str], words: str, reranker: Path, ranked: Path
) -> None:
    ran = run("evaluate", str(ranked), "-m", str(reranker), *arguments)
    assert ran.returncode in (2, 4), ran.stderr
    assert words in ran.stderr.decode()

"""`isobatch lesson`: the four steps, the cost on texts of a file, its JSON and invalid inputs."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from shell import ISOBATCH, run, run_at
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch.lesson import SENTENCES

LONG = "Under the dust there is a theatre of great beauty, and its owners know what they have."
TEXTS = (LONG, "A story that deserved a better film.", "", "Good.")


@pytest.fixture
def texts(tmp_path: Path) -> str:
    """A file of lines; the four steps are the same for every file."""
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return str(path)


def document(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    ran = run("lesson", "--json", *arguments, stdin=stdin)
    assert ran.returncode == 0, ran.stderr.decode()
    return dict(json.loads(ran.stdout))


def test_the_lesson_has_four_steps(texts: str) -> None:
    lesson = document("--texts", texts)
    assert lesson["sentences"] == list(SENTENCES)
    steps = lesson["steps"]
    ids = [101, 2651, 2003, 1037, 3835, 2154, 999, 102]
    assert steps[0]["rows"][0]["input_ids"] == ids
    assert steps[2]["rows"][0]["input_ids"] == [*ids, 0, 0, 0]
    assert steps[3]["rows"][0]["attention_mask"] == [1] * 8 + [0] * 3
    same_bits = [[row["same_bits"] for row in step["rows"]] for step in steps]
    assert same_bits == [[True], [True], [False, True], [True, True]]
    assert steps[2]["rows"][0]["moved"] > 1e-3
    row = steps[2]["rows"][0]
    assert row["tokens"][:3] + row["tokens"][-2:] == ["[CLS]", "today", "is", "[PAD]", "[PAD]"]


def test_a_text_is_cut_where_only_the_model_states_its_maximum(tmp_path: Path) -> None:
    folder = write_wordpiece_folder(write_checkpoint(tmp_path / "m", Tiny("bert")), "bert")
    settings = folder / "tokenizer_config.json"
    stated = json.loads(settings.read_text())
    del stated["model_max_length"]
    settings.write_text(json.dumps(stated))
    (tmp_path / "t.txt").write_text("day " * 600 + "\nfine\n")
    ran = run("lesson", str(folder), "--json", "--texts", str(tmp_path / "t.txt"), "-q")
    assert (ran.returncode, ran.stderr) == (0, b"")
    cost = json.loads(ran.stdout)["cost"]
    assert (cost["num_texts"], cost["num_truncated"]) == (2, 1)


def test_json_and_a_page_exclude_each_other(tmp_path: Path) -> None:
    ran = run("lesson", "--json", "--html", str(tmp_path / "p.html"))
    assert (ran.returncode, b"--html" in ran.stderr) == (2, True)


def test_json_is_one_line_on_a_narrow_terminal_too(texts: str) -> None:
    ran = run_at(60, "lesson", "--json", "--quiet", "--texts", texts)
    assert ran.stdout.count(b"\n") == 1
    assert json.loads(ran.stdout) == document("--texts", texts)
    assert ran.stderr == b""


def test_the_cost_is_in_the_tables_and_in_json(texts: str) -> None:
    cost = document("--texts", texts)["cost"]
    forgotten, masked, furthest = cost["forgotten"], cost["masked"], cost["furthest"]
    assert (cost["source"], cost["num_texts"], cost["num_batches"]) == ("texts.txt", 4, 1)
    assert cost["num_padded"] == forgotten["num_moved"] == 3
    assert masked == {"num_moved": 0, "num_flipped": 0, "median": 0.0, "largest": 0.0}
    assert forgotten["largest"] == furthest["moved"] > forgotten["median"] > 0
    assert furthest["neighbours"][furthest["longest"]] == LONG
    shown = run("lesson", "--texts", texts, COLUMNS="100").stdout.decode()
    words = " ".join(shown.split())
    assert "4 texts (texts.txt) in 1 batch of 32" in words
    assert f"│ labels flipped │ {forgotten['num_flipped']} │ 0 │" in words
    assert f"{forgotten['largest']:#.2g} │ 0 │" in words
    assert f"text {furthest['index'] + 1} moves most" in words
    assert f"{furthest['forgotten'][0]:.4f}" in words
    assert LONG in words


def test_the_batch_size_is_an_option(texts: str) -> None:
    cost = document("--texts", texts, "--batch-size", "2")["cost"]
    assert (cost["batch_size"], cost["num_batches"], cost["num_padded"]) == (2, 2, 2)


def test_texts_come_from_a_column_or_stdin(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f'id,review\n1,"{LONG}"\n2,Good\n', encoding="utf-8")
    named = document("--texts", str(path), "--text-column", "review")["cost"]
    assert document("--texts", str(path))["cost"] == named
    assert named["num_texts"] == 2
    piped = document("--texts", "-", stdin=f"{LONG}\nGood\n".encode())["cost"]
    assert piped | {"source": "rows.csv"} == named
    latin = document("--texts", "-", "--encoding", "latin-1", stdin="été\nà la\n".encode("latin-1"))
    assert latin["cost"]["num_texts"] == 2


def test_a_row_without_a_text_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": LONG}, {"text": None}, {"text": "Good"}, {"other": 1}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    ran = run("lesson", "--texts", str(path))
    assert "2 left out; the first, " in ran.stderr.decode()
    assert "rows.jsonl:2: text is null" in ran.stderr.decode()
    assert "2 rows without a text left out" in ran.stdout.decode()
    assert document("--texts", str(path))["cost"]["num_left_out"] == 2


def test_texts_of_one_length_are_not_padded(tmp_path: Path) -> None:
    shown = run("lesson", "--texts", "-", stdin=b"good\nbad\nfine\n").stdout.decode()
    assert "no text is padded" in shown
    assert "moves most" not in shown


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["--texts", "-"], b"", 2, "stdin: has no text"),
        (["--texts", "-"], b"only one\n", 2, "stdin: has one text"),
        (["--texts", "-", "--batch-size", "1"], b"a\nb c\n", 2, "--batch-size"),
        (["--texts", "-", "--text-column", "nothing"], b"a\nb c\n", 2, "no column 'nothing'"),
        (["--delimiter", ";"], b"", 2, "--texts"),
        (["--text", "good", "--text", "bad\udcff"], b"", 3, "sentence 2: character 3"),
        (["--texts", "missing.csv"], b"", 6, "missing.csv"),
        (["--texts", "-"], b"good\nbad \xff\n", 6, "stdin:2"),
        (["--encoding", "utf-16"], b"", 2, "--texts"),
        (["--text", "only one"], b"", 2, "two sentences"),
    ],
)
def test_invalid_inputs_are_refused_with_the_reason(
    arguments: list[str], stdin: bytes, code: int, words: str
) -> None:
    ran = run("lesson", *arguments, stdin=stdin)
    assert ran.returncode == code, ran.stderr.decode()
    assert words in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr


def test_the_replay_names_the_model(tmp_path: Path) -> None:
    model = write_wordpiece_folder(write_checkpoint(tmp_path / "a model", Tiny("bert")))
    shown = run_at(200, "lesson", str(model), "--texts", "-", stdin="\n".join(TEXTS).encode())
    words = " ".join(shown.stdout.decode().split())
    assert f"To replay them: isobatch lesson '{model}' -t TEXT -t LONGEST" in words


def test_texts_are_read_by_the_options_of_run(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('1;"good\n2;a longer "text"\n', encoding="utf-8")
    options = ("--delimiter", ";", "--no-header", "--no-quotes", "--text-column", "column_2")
    cost = document("--texts", str(path), *options)["cost"]
    assert cost["furthest"]["text"] == '"good'


@pytest.mark.parametrize("command", ["classify", "lesson"])
def test_arguments_are_utf_8_in_any_locale(command: str) -> None:
    options = ("-t", "café", "-t", "a film") if command == "lesson" else ("café", "a film")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(
        [*ISOBATCH, command, *options, "--json"], env=os.environ | locale, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr.decode()
    first = json.loads(ran.stdout.decode().splitlines()[0])
    assert "café" in (first["text"] if command == "classify" else first["sentences"])


def test_a_page_of_one_sentence_is_refused_before_the_cost_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the cost was computed")

    monkeypatch.setattr("isobatch.lesson.measure_mask_cost", never)
    ran = run("lesson", "--text", "only one", "--html", str(tmp_path / "page.html"))
    assert ran.returncode == 2
    assert b"two sentences" in ran.stderr
    assert not (tmp_path / "page.html").exists()


def test_other_sentences_can_be_given(texts: str) -> None:
    given = "--text", "One.", "--text", "Two of them.", "--text", "Three", "--texts", texts
    assert "sentence 3: Three" in run("lesson", *given).stdout.decode()

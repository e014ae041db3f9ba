"""--model-engine: commands that compute take it, and training and quantize say that they do not."""

import json
from pathlib import Path

import pytest
from foreign_checkpoints import TEXTS, write_foreign
from shell import run

from isobatch import Classifier, Embedder
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

ENGINE = ("--model-engine", "transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_foreign(tmp_path_factory.mktemp("foreign"), "fnet"))


def test_classify_and_info(folder: str) -> None:
    done = run("classify", "--model", folder, *ENGINE, "--json", *TEXTS[1:4])
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["logits"] for line in done.stdout.splitlines()]
    classifier = Classifier.from_pretrained(folder, engine="transformers")
    assert found == [list(classifier([text])[0].logits) for text in TEXTS[1:4]]

    scope = json.loads(run("info", folder, *ENGINE, "--json").stdout)
    assert scope["family"] == "fnet"
    assert scope["arithmetic"].startswith("transformers ")
    assert "one text per call" in scope["choices"][0]["reason"]
    grouped = json.loads(run("info", folder, *ENGINE, "--group-equal-lengths", "--json").stdout)
    assert "drift" in grouped["arithmetic"]
    assert "drift" in grouped["promise"]


def test_file_jobs_resume_and_are_verified(folder: str, tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.jsonl", tmp_path / "out.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    job = ("run", str(texts), "-o", str(out), "--model", folder, "--logits", "--quiet")
    done = run(*job, *ENGINE)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["logits"] for line in out.read_text().splitlines()]
    classifier = Classifier.from_pretrained(folder, engine="transformers")
    assert rows == [list(classifier([text])[0].logits) for text in TEXTS]
    assert run("verify", str(out), "--all").returncode == 0
    assert b"model_type 'fnet' is not supported" in run(*job, "--restart").stderr
    assert run(*job, *ENGINE, "--group-equal-lengths").returncode == 2  # files have fixed bytes

    vectors = tmp_path / "vectors.jsonl"
    embed = ("embed", str(texts), "-o", str(vectors), "--model", folder, "--pooling", "mean")
    assert run(*embed, *ENGINE, "--quiet").returncode == 0
    embedder = Embedder.from_pretrained(folder, engine="transformers", pooling="mean")
    last = json.loads(vectors.read_text().splitlines()[-1])["embedding"]
    assert last == embedder(TEXTS[-1]).tolist()


def test_evaluate(folder: str, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.jsonl"
    rows = [{"text": text, "label": index % 2} for index, text in enumerate(TEXTS)]
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("evaluate", str(labelled), "--model", folder, *ENGINE, "--label-column", "label")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_texts"] == len(TEXTS)


def test_the_server_takes_such_a_pipeline(folder: str) -> None:
    client = pytest.importorskip("starlette.testclient")
    classifier = Classifier.from_pretrained(folder, engine="transformers")
    with client.TestClient(create_app(classifier, Settings())) as http:
        found = http.post("/predict", json={"inputs": TEXTS[2], "raw_scores": True}).json()
        expected = classifier([TEXTS[2]])[0].logits
        assert sorted(each["score"] for each in found) == sorted(expected)
        assert http.get("/info").json()["arithmetic"].startswith("transformers ")


def test_training_and_quantization_say_that_they_do_not_take_it(
    folder: str, tmp_path: Path
) -> None:
    labelled = tmp_path / "labelled.jsonl"
    rows = [{"text": text, "label": "ab"[index % 2]} for index, text in enumerate(TEXTS[1:])]
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = str(tmp_path / "out")
    for command in (
        ("quantize", folder, out),
        ("train", str(labelled), "--label-column", "label", "--base", folder, "-o", out),
    ):
        done = run(*command)
        assert done.returncode == 4, done.stderr
        assert b"training and quantize do not" in done.stderr


def test_the_option_for_ray_names_the_one_for_models(folder: str, tmp_path: Path) -> None:
    done = run("run", str(tmp_path), "-o", "x", "--engine", "transformers", "--model", folder)
    assert done.returncode == 2
    assert b"--model-engine" in run("run", "--help").stdout

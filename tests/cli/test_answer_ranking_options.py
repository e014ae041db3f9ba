"""--template, --true-token and --false-token: commands that rank by a language model take them."""

import json
from pathlib import Path
from typing import Any

import pytest
from answer_checkpoints import ANSWERS, TEMPLATE, write_language_model
from jobs.task_checkpoints import write_reranker
from shell import run

from isobatch import Reranker
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

TOKENS = ("--true-token", "y", "--false-token", "n")
OPTIONS = (*TOKENS, "--template", TEMPLATE)
WINDOWS = ("--truncation", "window")
QUERY, TEXTS = "a nice day", ["Today is a nice day!", "Never again.", "cast and plot"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_language_model(tmp_path_factory.mktemp("language model"), tied=True))


@pytest.fixture(scope="module")
def expected(folder: str) -> list[float]:
    reranker = Reranker.from_pretrained(folder, **ANSWERS)
    return [reranker((QUERY, text)).logits[0] for text in TEXTS]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    rows = [{"query": QUERY, "text": text, "label": n % 2} for n, text in enumerate(TEXTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "query",
    [
        ("--query", QUERY),
        ("--query-column", "query"),
        ("--text-column", "query", "--pair-column", "text"),
    ],
    ids=["query", "column", "pairs"],
)
def test_files_are_ranked_and_verified(
    query: tuple[str, ...], folder: str, expected: list[float], rows: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    job = ("run", rows, "-o", str(out), "--model", folder, "--logits", "--quiet", *query)
    done = run(*job, *OPTIONS)
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["logits"][0] for row in written] == expected
    assert "label" not in written[0] or written[0]["label"] == 0  # the input's own
    assert run("verify", str(out), "--all").returncode == 0
    for changed, word in (
        ((*TOKENS, "--template", TEMPLATE + " "), b"--template changed"),
        (("--true-token", "n", *OPTIONS[2:]), b"--true-token changed"),
        (("--true-token", "y", "--template", TEMPLATE), b"--false-token changed"),
    ):
        refused = run(*job, *changed)
        assert refused.returncode == 7
        assert word in refused.stderr


def test_the_manifest_of_a_job_without_them_has_none(rows: str, tmp_path: Path) -> None:
    model, out = write_reranker(tmp_path / "model"), tmp_path / "out.jsonl"
    done = run("run", rows, "-o", str(out), "--model", str(model), "--query", QUERY, "--quiet")
    assert done.returncode == 0, done.stderr
    (manifest,) = tmp_path.glob(".isobatch/*/manifest.json")
    assert json.loads(manifest.read_text())["task"] == {"name": "text-ranking", "query": QUERY}


def test_a_template_is_read_from_a_file(folder: str, rows: str, tmp_path: Path) -> None:
    """As it is: a line end at its end counts."""
    files = {"same": TEMPLATE, "longer": TEMPLATE + "\n"}
    found: dict[str, Any] = {}
    for name, template in files.items():
        path = tmp_path / name
        path.write_bytes(template.encode())
        options = ("--query", QUERY, "--model", folder, "--logits", "--quiet", *TOKENS)
        done = run("run", rows, "-o", "-", *options, "--template-file", str(path))
        assert done.returncode == 0, done.stderr
        found[name] = [json.loads(line)["logits"][0] for line in done.stdout.splitlines()]
        reranker = Reranker.from_pretrained(folder, **{**ANSWERS, "template": template})
        assert found[name] == [reranker((QUERY, text)).logits[0] for text in TEXTS]
    assert found["same"] != found["longer"]


def test_rankings_are_evaluated(folder: str, rows: str, expected: list[float]) -> None:
    options = ("--query-column", "query", "--label-column", "label", "--model", folder, *OPTIONS)
    done = run("evaluate", rows, *options)
    assert done.returncode == 0, done.stderr
    place = sorted(range(len(TEXTS)), key=lambda index: -expected[index]).index(1) + 1
    assert json.loads(done.stdout)["mrr_at_10"] == pytest.approx(1 / place)


def test_info_shows_them(folder: str) -> None:
    scope = json.loads(run("info", folder, *OPTIONS, "--json").stdout)
    assert (scope["template"], scope["answers"]) == (TEMPLATE, "'y' less 'n'")
    shown = run("info", folder, *OPTIONS).stdout.decode()
    assert "'y' less 'n'" in shown
    assert json.loads(run("info", "--json").stdout)["template"] is None


def test_the_server_ranks_and_describes_it(folder: str, expected: list[float]) -> None:
    client = pytest.importorskip("starlette.testclient")
    reranker = Reranker.from_pretrained(folder, **ANSWERS)
    with client.TestClient(create_app(reranker, Settings())) as http:
        body = {"query": QUERY, "texts": TEXTS, "raw_scores": True}
        ranked = http.post("/rerank", json=body).json()
        assert {each["index"]: each["score"] for each in ranked} == dict(enumerate(expected))
        described = http.get("/info").json()["ranking"]
        assert described == {"template": TEMPLATE, "answers": "'y' less 'n'"}
        assert http.post("/predict", json={"inputs": TEXTS[0]}).status_code == 422


def test_serve_loads_a_reranker(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []

    def run_server(pipeline: Any, *_: object, **__: object) -> bool:
        served.append(pipeline)
        return True

    monkeypatch.setattr("isobatch.serve.server.run_server", run_server)
    done = run("serve", folder, "--port", "0", ISOBATCH_TEMPLATE=TEMPLATE, ISOBATCH_TRUE_TOKEN="y")
    assert done.returncode == 0, done.stderr
    assert (served[0].template, served[0].answers) == (TEMPLATE, "'y'")


NO_LANGUAGE_MODEL = b"is not a language model"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "-o", "-", "--query", QUERY, *TOKENS), b"ranks nearly at random without"),
        (("run", "-o", "-", "--query", QUERY), b"--true-token, --false-token and --template"),
        (("run", "-o", "-", *OPTIONS), b"no query is named"),
        (("run", "-o", "-", "--query", QUERY, "--template", "It is {}."), b"different tasks"),
        (
            ("run", "-o", "-", "--query-column", "query", "--template", "It is {}."),
            b"a reranker's has {query} and {text}",
        ),
        (
            ("run", "-o", "-", "--query", QUERY, "--template", "{query}{text}{text}"),
            b"once each, got",
        ),
        (("run", "-o", "-", "--labels", "a,b", *TOKENS), b"different tasks"),
        (
            ("run", "-o", "-", "--query", QUERY, *OPTIONS, "--template-file", "x"),
            b"--template and --template-file",
        ),
        (
            ("run", "-o", "-", "--query", QUERY, *TOKENS, "--template-file", "missing"),
            b"missing: cannot be read",
        ),
        (("run", "-o", "-", "--query", QUERY, *OPTIONS[:4], "--false-token", "day?"), b"'day?'"),
        (("run", "-o", "-", "--query", QUERY, *OPTIONS, *WINDOWS), b"(--template)"),
        (
            ("evaluate", "--query-column", "query", "--label-column", "label", *OPTIONS, *WINDOWS),
            b"(--template)",
        ),
        (("evaluate", "--label-column", "label", *TOKENS), b"--true-token is for text-ranking"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    arguments: tuple[str, ...], word: bytes, folder: str, rows: str
) -> None:
    name, *options = arguments
    done = run(name, rows, "--model", folder, *options)
    assert done.returncode not in (0, 1)
    assert word in done.stderr
    assert done.stdout == b""


def test_serve_does_not_start_with_a_template_and_windows(folder: str) -> None:
    done = run("serve", folder, "--port", "0", *OPTIONS, *WINDOWS)
    assert done.returncode == 2
    assert b"(--template)" in done.stderr


@pytest.mark.parametrize("command", [("info",), ("serve", "--port", "0")], ids=["info", "serve"])
def test_other_checkpoints_and_tasks_are_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    model = str(write_reranker(tmp_path))
    tokens = ("--true-token", "nice", "--false-token", "day")
    done = run(*command, model, *tokens, "--template", TEMPLATE)
    assert done.returncode not in (0, 1)
    assert NO_LANGUAGE_MODEL in done.stderr
    other = ("--pooling", "mean") if "info" in command else ("--task", "feature-extraction")
    done = run(*command, model, *other, "--true-token", "nice")
    assert done.returncode == 2
    assert b"--true-token" in done.stderr

"""Language models that rank texts by the token they would answer with, against transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from answer_checkpoints import ANSWERS, TEMPLATE, write_language_model
from jobs.small_jobs import command

from isobatch import Classifier, Reranker
from isobatch.errors import (
    InputError,
    MissingHeadError,
    OptionError,
    TooLongError,
    UnsupportedModelError,
)

QUERY = "a nice day"
TEXTS = ["Today is a nice day!", "Never again.", "a film {query}", "", "cast and plot"]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("language model"), tied=request.param)


@torch.no_grad()
def their_logits(folder: Path, texts: list[str], true: str = "y", false: str = "n") -> list[float]:
    """By the logits of all tokens after the whole text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer.convert_tokens_to_ids([true, false])
    found = []
    for text in texts:
        filled = TEMPLATE.replace("{text}", text).replace("{query}", QUERY, 1)
        row = tokenizer(filled, add_special_tokens=False, return_tensors="pt").input_ids
        last = model(row).logits[0, -1]
        found.append(float(last[ids[0]] - last[ids[1]]))
    return found


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_logits_are_those_of_yes_less_those_of_no(precision: Any, folder: Path) -> None:
    reranker = Reranker.from_pretrained(folder, precision=precision, **ANSWERS)
    pairs = [(QUERY, text) for text in TEXTS]
    found = [each.logits[0] for each in reranker(pairs)]
    expected = their_logits(folder, TEXTS)
    assert found == pytest.approx(expected, abs=1e-5 if precision == "fp32" else 0.5)
    assert max(expected) - min(expected) > 0.1
    assert found == [reranker(pair).logits[0] for pair in pairs]
    swapped = Reranker.from_pretrained(folder, template=TEMPLATE, true_token="n", false_token="y")
    assert [each.logits[0] for each in swapped(pairs)] == pytest.approx(
        [-each for each in expected], abs=1e-5
    )


def test_texts_are_ranked_and_scored_by_the_sigmoid(folder: Path) -> None:
    ranked = Reranker.from_pretrained(folder, **ANSWERS).rank(QUERY, TEXTS)
    expected = their_logits(folder, TEXTS)
    assert [each.index for each in ranked] == sorted(range(5), key=lambda row: -expected[row])
    for each in ranked:
        assert each.score == pytest.approx(torch.sigmoid(torch.tensor(each.logit)).item(), abs=1e-6)


def test_the_tokens_of_a_file_are_taken(folder: Path, tmp_path: Path) -> None:
    """As sentence-transformers writes them."""
    model = Path(shutil.copytree(folder, tmp_path / "model"))
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    true, false = tokens.convert_tokens_to_ids(["y", "n"])
    score = {"true_token_id": true, "false_token_id": false, "module_input_name": "causal_logits"}
    (model / "1_LogitScore").mkdir()
    (model / "1_LogitScore/config.json").write_text(json.dumps(score))
    kinds = ("base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (path, kind) in enumerate(zip(("", "1_LogitScore"), kinds, strict=True))
    ]
    (model / "modules.json").write_text(json.dumps(modules))
    found = Reranker.from_pretrained(model, template=TEMPLATE)((QUERY, TEXTS[0])).logits[0]
    assert found == Reranker.from_pretrained(folder, **ANSWERS)((QUERY, TEXTS[0])).logits[0]
    rows, out = tmp_path / "rows.csv", tmp_path / "out.jsonl"
    rows.write_text(f"text\n{TEXTS[0]}\n")
    asked = ("--query", QUERY, "--template", TEMPLATE, "--logits", "--model", model)
    assert command("run", rows, "-o", out, *asked) == 0
    assert json.loads(out.read_text())["logits"] == [found]
    assert command("verify", out) == 0
    with pytest.raises(OptionError, match=r"Pass that as template=.* card says$"):
        Reranker.from_pretrained(model)
    (model / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(OptionError, match=r"card says and its chat_template\.jinja shows"):
        Reranker.from_pretrained(model)
    with pytest.raises(UnsupportedModelError, match="module 1 is LogitScore: a language model"):
        Classifier.from_pretrained(model)


def test_a_text_that_is_too_long_is_cut_and_the_end_of_the_template_stays(tmp_path: Path) -> None:
    whole = write_language_model(tmp_path / "whole", tied=True)
    short = write_language_model(tmp_path / "short", tied=True, limit=48)
    long = "nice plot " * 30
    (cut,) = Reranker.from_pretrained(short, **ANSWERS)([(QUERY, long)])
    assert cut.truncated
    reranker = Reranker.from_pretrained(whole, **ANSWERS)
    (encoding,) = Reranker.from_pretrained(short, **ANSWERS).tokenize([(QUERY, long)])
    (expected,) = reranker.tokenize([(QUERY, long)])
    assert len(encoding.input_ids) == 48
    assert encoding.input_ids[-4:] == expected.input_ids[-4:]
    assert encoding.input_ids[:40] == expected.input_ids[:40]
    with pytest.raises(TooLongError, match="more than 48 tokens"):
        Reranker.from_pretrained(short, truncation="error", **ANSWERS)([(QUERY, long)])
    with pytest.raises(InputError, match="the template and the query alone have"):
        Reranker.from_pretrained(short, **ANSWERS)([(long, QUERY)])
    refused = r'truncation="window" .* is not supported with a template'
    with pytest.raises(OptionError, match=refused):
        Reranker.from_pretrained(short, truncation="window", **ANSWERS)
    with pytest.raises(OptionError, match=refused):
        Reranker.from_pretrained(short, **ANSWERS)([(QUERY, "nice")], truncation="window")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"true_token": "y", "false_token": "n"}, "Pass that as template="),
        ({"true_token": "never", "template": TEMPLATE}, "true_token 'never' is not a token"),
        ({"false_token": "n", "template": TEMPLATE}, "false_token needs a true_token"),
        ({**ANSWERS, "template": "{query}"}, "has {query} and {text} once each"),
        ({**ANSWERS, "template": "{text}{text}{query}"}, "has {query} and {text} once each"),
    ],
)
def test_options_that_contradict_are_refused(
    options: dict[str, str], words: str, folder: Path
) -> None:
    with pytest.raises(OptionError, match=words):
        Reranker.from_pretrained(folder, **options)


def test_nothing_is_guessed(folder: Path) -> None:
    for options in ({}, {"template": TEMPLATE}):
        with pytest.raises(MissingHeadError, match=r"Reranker.from_pretrained\(path, true_token"):
            Reranker.from_pretrained(folder, **options)


def test_a_single_text_is_no_pair(folder: Path) -> None:
    with pytest.raises(InputError, match=r"expected a \(query, text\) tuple"):
        Reranker.from_pretrained(folder, **ANSWERS)(["a query"])

"""One bad text: it fails alone, wherever it fails, and every other text keeps its bits."""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tiny_checkpoints import VOCAB_SIZE, Tiny, TinyFolder
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier, Prediction
from isobatch.batching.cache import OutputCache
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.cli import main
from isobatch.errors import InputError, MissingEmbeddingWarning, PrecisionError
from isobatch.jobs import FileJob, ModelOptions, ScoringOptions, plan_jobs, run_files
from isobatch.types import Encoding

GOOD = ["a b c", "b " * 40, "", ("a", "b"), "c", "a b c"]
BAD = "z"


@pytest.fixture(scope="module")
def folder(tiny_folder: TinyFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("isolation") / "checkpoint"
    shutil.copytree(tiny_folder(Tiny("bert")), folder)
    return write_wordpiece_folder(folder)


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return Classifier.from_pretrained(folder)


def check_that_only_bad_texts_fail(classifier: Classifier, words: str, bad: Any = BAD) -> None:
    """Put the bad text at every position among good ones, in one batch and with a cache."""
    expected = {text: classifier(text) for text in GOOD}
    for position in range(len(GOOD) + 1):
        texts = [*GOOD[:position], bad, *GOOD[position:], bad]
        for cache in (None, OutputCache()):
            results = classifier.predict_or_errors(texts, cache=cache)
            for index, (text, result) in enumerate(zip(texts, results, strict=True)):
                if text == bad:
                    assert isinstance(result, InputError)
                    assert str(result) == f"text {index}: {result.reason}"
                    assert words in result.reason
                else:
                    assert result == expected[text]
    with pytest.raises(InputError, match=r"^text 2: "):
        classifier.predict([*GOOD[:2], bad, "a"])
    stream = classifier.predict_stream([*GOOD[:2], bad, "a"])
    assert [next(stream), next(stream)] == [expected[text] for text in GOOD[:2]]
    with pytest.raises(InputError, match=r"^text 2: "):
        next(stream)


def fails_in_tokenizer(error: BaseException) -> Callable[..., object]:
    """Make a TextEncoder._encode that raises `error` for a batch with a bad text."""
    encode = TextEncoder._encode

    def failing(self: TextEncoder, texts: Sequence[Any]) -> object:
        if BAD in texts:
            raise error
        return encode(self, texts)

    return failing


class PanicException(BaseException):
    """As pyo3's, which is not an Exception either."""


@pytest.mark.parametrize(
    "error",
    [Exception("WordPiece error: Missing [UNK] token"), PanicException("index out")],
)
def test_a_text_that_the_tokenizer_fails_on(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(TextEncoder, "_encode", fails_in_tokenizer(error))
    words = f"the tokenizer failed on it: {type(error).__name__}"
    check_that_only_bad_texts_fail(classifier, words)


def test_an_interrupt_in_the_tokenizer_is_not_an_error_of_a_text(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextEncoder, "_encode", fails_in_tokenizer(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        classifier.predict_or_errors(["a", BAD])


def test_a_tokenizer_without_an_unknown_token(folder: Path, tmp_path: Path) -> None:
    """The same, in the library itself: a character that no piece covers."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["unk_token"] = "[NOWHERE]"
    path.write_text(json.dumps(content))
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 48,
        "model_input_names": ["input_ids", "token_type_ids"],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    classifier = Classifier.from_pretrained(tmp_path)
    check_that_only_bad_texts_fail(classifier, "the tokenizer failed on it", bad="ж")


def fails_in_model(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Make the model raise `error` for a batch with the first letter token of BAD."""
    (encoding,) = classifier.tokenize([BAD])
    assert isinstance(encoding, Encoding)
    token = encoding.input_ids[1]
    forward = classifier._model.forward

    def failing(batch: Any) -> torch.Tensor:
        if token in batch.input_ids:
            raise error
        return forward(batch)

    monkeypatch.setattr(classifier._model, "forward", failing)


def test_a_text_that_the_model_fails_on(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("a kernel failed\nlater lines")
    fails_in_model(classifier, monkeypatch, error)
    words = f"the model failed on it: {type(error).__name__}"
    check_that_only_bad_texts_fail(classifier, words)
    (result,) = classifier.predict_or_errors([BAD])
    assert isinstance(result, InputError)
    assert result.__cause__ is error
    assert "\n" not in result.reason


def test_a_text_that_the_model_itself_refuses(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the probe, which a model may refuse too: BART's, since it has no end token."""
    fails_in_model(classifier, monkeypatch, InputError("sequence 0: has no end token"))
    monkeypatch.setattr("isobatch.tasks.isolation._works", lambda _: False)
    check_that_only_bad_texts_fail(classifier, "the model failed on it: InputError: sequence 0")


def test_kept_outputs_cannot_be_changed(classifier: Classifier) -> None:
    cache = OutputCache()
    encodings = [each for each in classifier.tokenize(["good"]) if isinstance(each, Encoding)]
    (output,) = classifier.forward(encodings, cache)
    with pytest.raises(ValueError, match="read-only"):
        output *= 0


def test_an_interrupt_in_the_model_is_not_an_error_of_a_text(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_in_model(classifier, monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        classifier.predict_or_errors(["a", BAD])


def test_a_batch_that_needs_too_much_memory_is_computed_in_parts(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = classifier.logits(GOOD)
    sizes: list[int] = []
    compute = classifier._compute

    def limited(encodings: Sequence[Encoding]) -> Any:
        sizes.append(len(encodings))
        if len(encodings) > 2:
            raise MemoryError
        return compute(encodings)

    monkeypatch.setattr(classifier, "_compute", limited)
    assert np.array_equal(classifier.logits(GOOD), expected)
    assert max(sizes) > 2 >= sizes[-1]


def test_logits_that_are_not_finite(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    (encoding,) = classifier.tokenize([BAD])
    assert isinstance(encoding, Encoding)
    table = classifier._model.embeddings.word.weight
    row = table[encoding.input_ids[1]].clone()
    with torch.no_grad():
        table[encoding.input_ids[1]] = torch.nan
    try:
        words = "the model's logits are not finite (nan, nan). Check"
        check_that_only_bad_texts_fail(classifier, words)
    finally:
        with torch.no_grad():
            table[encoding.input_ids[1]] = row


@pytest.fixture(scope="module")
def longer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tokenizer has two tokens more than its table has rows."""
    longer = tmp_path_factory.mktemp("longer") / "checkpoint"
    shutil.copytree(folder, longer)
    tokenizer = tokenizers.Tokenizer.from_file(str(longer / "tokenizer.json"))
    filling = [f"[filling {n}]" for n in range(VOCAB_SIZE - tokenizer.get_vocab_size())]
    tokenizer.add_tokens([*filling, "[URL]", "[USER]"])
    tokenizer.save(str(longer / "tokenizer.json"))
    return longer


def test_a_token_without_an_embedding(longer: Path) -> None:
    with pytest.warns(MissingEmbeddingWarning, match=r"502 tokens.*500 rows.*'\[URL\]', '\[USER"):
        classifier = Classifier.from_pretrained(longer)
    words = "token '[USER]' has id 501, but this checkpoint's embedding table has 500 rows"
    check_that_only_bad_texts_fail(classifier, words, bad="a [URL] b [USER] c")


def test_a_table_with_more_rows_than_tokens_is_no_reason_to_warn(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier.from_pretrained(folder)


def test_a_token_type_without_a_row(folder: Path, tiny_folder: TinyFolder, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 2}}],
        "special_tokens": {},
    }
    path.write_text(json.dumps(content))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 48,
        "model_input_names": ["input_ids", "token_type_ids"],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "vocab.txt").unlink()
    classifier = Classifier.from_pretrained(tmp_path)
    expected = classifier("a b c")
    good, bad = classifier.predict_or_errors(["a b c", ("a", "b")])
    assert good == expected
    assert isinstance(bad, InputError)
    assert "token type 2, but this checkpoint's table of token types has 2 rows" in bad.reason


@pytest.mark.filterwarnings("ignore::isobatch.errors.MissingEmbeddingWarning")
def test_a_row_of_a_file_fails_alone(longer: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text\na b\n[URL] c\nc\n")
    from isobatch.cli.input_files import InputOptions, input_tables

    with input_tables([str(source)], InputOptions()) as tables:
        jobs: Sequence[FileJob] = plan_jobs(
            tables, str(tmp_path / "out.jsonl"), ScoringOptions(), None
        )
        report = run_files(jobs, ModelOptions(str(longer)))
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert report.progress.total.errors == 1
    assert [row["label"] for row in rows] == [
        each.label if isinstance(each, Prediction) else None
        for each in Classifier.from_pretrained(longer).predict_or_errors(["a b", "[URL] c", "c"])
    ]
    assert "token '[URL]' has id 500" in rows[1]["error"]


OUT_OF_MEMORY = (MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_too_little_memory_for_one_text_is_no_error_of_the_text(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TextEncoder, "_encode", fails_in_tokenizer(error))
        with pytest.raises(type(error)):
            classifier.predict_or_errors(["a", BAD, "b"])
    fails_in_model(classifier, monkeypatch, error)
    for texts in (["a", BAD, "b"], [BAD]):
        with pytest.raises(type(error)) as raised:
            classifier.predict_or_errors(texts, cache=OutputCache())
        assert raised.value is error


BROKEN = (RuntimeError("CUDA error: illegal memory access"), PrecisionError("no bf16 any more"))


def breaks(
    classifier: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, after: int = 0
) -> None:
    """Make every batch after the first ones raise `error`, as a lost device does."""
    compute = classifier._compute
    batches = 0

    def broken(*arguments: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches > after:
            raise error
        return compute(*arguments)

    monkeypatch.setattr(classifier, "_compute", broken)


@pytest.mark.parametrize("error", BROKEN)
@pytest.mark.parametrize("after", [0, 1])
def test_a_broken_model_is_no_error_of_a_text(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, error: Exception, after: int
) -> None:
    monkeypatch.setattr(classifier, "max_batch_tokens", 4)  # several batches
    for predict in (classifier, classifier.predict_or_errors, classifier.logits):
        with monkeypatch.context() as patch:
            breaks(classifier, patch, error, after)
            with pytest.raises(type(error)) as raised:
                predict(GOOD)
            assert raised.value is error
    with monkeypatch.context() as patch:
        breaks(classifier, patch, error)
        with pytest.raises(type(error)):
            classifier.predict_or_errors([BAD])
    assert all(isinstance(each, Prediction) for each in classifier.predict_or_errors(GOOD))


def test_a_job_on_a_broken_model_fails_and_resumes_to_the_same_bytes(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("text\na b\nb c\nc\n")
    arguments = [str(source), "--output", str(output), "--model", str(folder)]
    monkeypatch.setattr("sys.argv", ["isobatch", "run", *arguments])
    for error in (BROKEN[0], OUT_OF_MEMORY[1]):
        with monkeypatch.context() as patch:
            breaks(Classifier, patch, error)
            with pytest.raises((RuntimeError, SystemExit)) as ended:
                main()
            assert ended.value is error or getattr(ended.value, "code", 0) == 1
        assert not output.exists()
    assert "isobatch: out of memory. Close" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row.get("error") for row in rows] == [None] * 3
    assert [row["label"] for row in rows] == [
        each.label for each in Classifier.from_pretrained(folder).predict(["a b", "b c", "c"])
    ]

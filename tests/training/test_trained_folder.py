"""The finished folder: every library loads it, it is complete or absent, and the same twice."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import transformers
from tiny_checkpoints import FAMILIES, Tiny, TinyFolder
from tokenizer_folders import SENTENCES
from training.trained_models import labelled_texts, make_events, make_trained
from training.whole_checkpoints import edit_config, make_encoder, reference_logits, write_whole

import isobatch.training.output.trained_folder as trained_folder
from isobatch import Classifier
from isobatch.errors import CheckpointError, JobError
from isobatch.training.output.trained_folder import write_trained_folder
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.recipe import TrainingTask

TEXTS = [*SENTENCES, "", "never again " * 40]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_folder: TinyFolder) -> TrainedModel:
    base = write_whole(tmp_path_factory.mktemp("base") / "tiny", Tiny("bert"), tiny_folder)
    return make_trained(base)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_transformers_has_the_same_logits(
    tmp_path: Path, tiny_folder: TinyFolder, model_type: str
) -> None:
    base = write_whole(tmp_path / "base", Tiny(model_type), tiny_folder)
    trained = make_trained(base)
    assert trained.calibrated.temperature.value != 1.0
    digest = write_trained_folder(tmp_path / "out", trained, report=False)
    classifier = Classifier.from_pretrained(tmp_path / "out")
    np.testing.assert_allclose(
        classifier.logits(TEXTS), reference_logits(tmp_path / "out", TEXTS), rtol=0, atol=1e-5
    )
    assert classifier.labels == ("bad", "good")
    held_out = [text for text in trained.validation_texts if isinstance(text, str)]
    assert np.array_equal(classifier.logits(held_out), trained.calibrated.after.logits)
    assert not np.allclose(classifier.logits(held_out), trained.calibrated.before.logits)
    record = json.loads((tmp_path / "out/train.json").read_text())
    assert record["model_sha256"] == digest


@pytest.mark.parametrize(
    ("task", "problem_type", "labels"),
    [
        ("single", "single_label_classification", ["bad", "good"]),
        ("multi", "multi_label_classification", ["bad", "good"]),
        ("regression", "regression", ["label"]),
    ],
)
def test_the_configuration_says_what_was_learned(
    tmp_path: Path,
    tiny_folder: TinyFolder,
    task: TrainingTask,
    problem_type: str,
    labels: list[str],
) -> None:
    base = write_whole(tmp_path / "base", Tiny("roberta", num_labels=5), tiny_folder)
    write_trained_folder(tmp_path / "out", make_trained(base, task), report=False)
    model, found = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(found.values()), "no tensor is missing, unexpected or of another shape"
    assert type(model).__name__ == "RobertaForSequenceClassification"
    assert model.config.problem_type == problem_type
    assert model.config.id2label == dict(enumerate(labels))
    assert model.config.label2id == {label: index for index, label in enumerate(labels)}


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "electra", "roberta"])
def test_a_tokenizer_of_a_vocabulary_alone_is_completed(
    tmp_path: Path, tiny_folder: TinyFolder, model_type: str
) -> None:
    """Servers and exports read tokenizer.json."""
    base = write_whole(tmp_path / "base", Tiny(model_type), tiny_folder, tokenizer_json=False)
    assert not (base / "tokenizer.json").exists()
    trained = make_trained(base)
    write_trained_folder(tmp_path / "out", trained, report=False)
    assert (tmp_path / "out/tokenizer.json").exists()
    before = transformers.AutoTokenizer.from_pretrained(base)
    after = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = Classifier.from_pretrained(tmp_path / "out").tokenize([*TEXTS, (TEXTS[0], TEXTS[1])])
    for text, encoding in zip([*TEXTS, (TEXTS[0], TEXTS[1])], ours, strict=True):
        parts = (text,) if isinstance(text, str) else text
        expected = before(*parts, truncation=True)
        assert dict(after(*parts, truncation=True)) == dict(expected)
        assert list(encoding.input_ids) == expected["input_ids"]


def test_the_tokenizer_states_the_length_of_the_model(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    base = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    path = base / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10**30}))
    write_trained_folder(tmp_path / "out", make_trained(base), report=False)
    written = json.loads((tmp_path / "out/tokenizer_config.json").read_text())
    assert written["model_max_length"] == 512
    assert written["tokenizer_class"] == "BertTokenizer"


def test_an_embedding_model_becomes_a_classifier(tmp_path: Path, tiny_folder: TinyFolder) -> None:
    base = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    make_encoder(base, prefix=False)
    (base / "modules.json").write_text("[]")
    (base / "config_sentence_transformers.json").write_text('{"model_type": "SentenceTransformer"}')
    write_trained_folder(tmp_path / "out", make_trained(base), report=False)
    assert not (tmp_path / "out/config_sentence_transformers.json").exists()
    np.testing.assert_allclose(
        Classifier.from_pretrained(tmp_path / "out").logits(TEXTS),
        reference_logits(tmp_path / "out", TEXTS),
        rtol=0,
        atol=1e-5,
    )


def test_the_same_training_gives_the_same_bytes(tmp_path: Path, trained: TrainedModel) -> None:
    slower = make_events(trained.recipe, trained.validation, 40, seconds=99.0)
    digests = [
        write_trained_folder(tmp_path / name / "model", each)
        for name, each in (("a", trained), ("b", replace(trained, events=slower)))
    ]
    assert digests[0] == digests[1]
    names = sorted(path.name for path in (tmp_path / "a/model").iterdir())
    assert names == [
        "README.md", "config.json", "log.jsonl", "model.safetensors", "report.html",
        "tokenizer.json", "tokenizer_config.json", "train.json", "vocab.txt",
    ]  # fmt: skip
    different = [
        name
        for name in names
        if (tmp_path / "a/model" / name).read_bytes() != (tmp_path / "b/model" / name).read_bytes()
    ]
    assert different == ["log.jsonl"], "durations are there alone"


def test_the_log_has_every_event(tmp_path: Path, trained: TrainedModel) -> None:
    write_trained_folder(tmp_path / "out", trained, report=False)
    lines = (tmp_path / "out/log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(trained.events)


def test_the_record_has_what_a_training_depends_on(tmp_path: Path, trained: TrainedModel) -> None:
    write_trained_folder(tmp_path / "out", trained, report=False)
    record = json.loads((tmp_path / "out/train.json").read_text())
    assert record["base"]["name"] == "tiny"
    assert (record["base"]["head"], record["base"]["reason"][:15]) == ("new", "the head is new")
    assert record["data"]["train_labels"].keys() == {"bad", "good"}
    assert "files" not in record["data"], "which may have absolute paths"
    assert record["written"] == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert record["best"]["step"] == 30
    assert record["temperature"]["value"] == trained.calibrated.temperature.value
    assert record["validation"] == dict(trained.metrics)
    assert record["versions"] == {"isobatch": "0.1.0"}
    assert [step for step, _ in record["digests"]["evaluations"]] == [10, 20, 30, 40]


def test_a_digest_of_the_examples_depends_on_each_of_their_parts(
    tmp_path: Path, trained: TrainedModel
) -> None:
    texts = trained.training
    changed = [
        replace(texts, encodings=[*texts.encodings[1:], texts.encodings[0]]),
        replace(texts, targets=texts.targets[::-1]),
        replace(texts, weights=texts.weights * np.float32(2)),
    ]
    digests = set()
    for index, each in enumerate([texts, *changed]):
        out = tmp_path / str(index)
        write_trained_folder(out, replace(trained, training=each), report=False)
        digests.add(json.loads((out / "train.json").read_text())["digests"]["training"])
    assert len(digests) == 4


def test_a_metric_without_a_value_is_null(tmp_path: Path, tiny_folder: TinyFolder) -> None:
    base = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    texts = labelled_texts("regression", 30)
    texts.values[-5:] = [0.5] * 5
    trained = make_trained(base, "regression", held_out=5, texts=texts)
    assert np.isnan(trained.metrics["pearson"])
    write_trained_folder(tmp_path / "out", trained)
    record = json.loads((tmp_path / "out/train.json").read_text(), parse_constant=pytest.fail)
    assert record["validation"]["pearson"] is None
    assert "nan" not in (tmp_path / "out/README.md").read_text().lower()


# ------------------------------------------------------------------------------ the folder


def test_an_earlier_folder_is_replaced(tmp_path: Path, trained: TrainedModel) -> None:
    out = tmp_path / "out"
    (out / "old").mkdir(parents=True)
    write_trained_folder(out, trained, report=False)
    assert not (out / "old").exists()
    assert (out / "train.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path, trained: TrainedModel) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    write_trained_folder(tmp_path / "out", trained, report=False)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk/train.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


@pytest.mark.parametrize("step", ["render_training_report", "sync_folder"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, trained: TrainedModel, monkeypatch: pytest.MonkeyPatch, existed: bool, step: str
) -> None:
    out = tmp_path / "out"
    if existed:
        (out / "old").mkdir(parents=True)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "sync_folder":
        monkeypatch.setattr(Path, "rename", _failing_rename(fail, str(out)))
    else:
        monkeypatch.setattr(trained_folder, step, fail)
    with pytest.raises(JobError, match=r"out: cannot be written: No space left on device"):
        write_trained_folder(out, trained)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == (
        ["out", "out/old"] if existed else []
    )


def _failing_rename(fail: object, target: str) -> object:
    """The rename into place fails, each other one works."""
    original, calls = Path.rename, []

    def rename(self: Path, to: Path) -> Path:
        if str(to) == target and not calls:
            calls.append(to)
            fail()  # type: ignore[operator]
        return original(self, to)

    return rename


def test_a_quantized_checkpoint_is_trained_as_floats(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    from isobatch.quantize import quantize_checkpoint

    base = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    quantize_checkpoint(base, tmp_path / "int8")
    write_trained_folder(tmp_path / "out", make_trained(tmp_path / "int8"), report=False)
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())
    np.testing.assert_allclose(
        Classifier.from_pretrained(tmp_path / "out").logits(TEXTS),
        reference_logits(tmp_path / "out", TEXTS),
        rtol=0,
        atol=1e-5,
    )


def test_a_configuration_that_contradicts_its_labels_is_rejected(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    base = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    edit_config(base, id2label={"0": "x", "1": "x"})
    with pytest.raises(CheckpointError, match="has a label twice"):
        make_trained(base)

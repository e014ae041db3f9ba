"""The model that a training starts from: the head is kept or drawn, and the encoder is read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import FAMILIES, Tiny, TinyFolder
from tokenizer_folders import SENTENCES, write_wordpiece_folder
from training.whole_checkpoints import edit_config, make_encoder, write_whole

from isobatch.checkpoint import parse_config
from isobatch.errors import CheckpointError, InputError, TensorMismatchError
from isobatch.training.initial_model import (
    HEAD_STD,
    InitialModel,
    _normal_numbers,
    read_initial_model,
)
from isobatch.training.recipe import TrainingTask

TWO = ("LABEL_0", "LABEL_1")
THREE = ("a", "b", "c")


def tensors_of(start: InitialModel) -> dict[str, torch.Tensor]:
    return {name: each.detach() for name, each in start.model.named_parameters()}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_head_of_the_same_labels_is_kept(
    tmp_path: Path, tiny_folder: TinyFolder, model_type: str
) -> None:
    folder = write_whole(tmp_path / "base", Tiny(model_type), tiny_folder)
    start = read_initial_model(folder, "single", TWO, seed=0)
    assert start.head == "kept"
    assert start.reason == "the head is kept: it predicts the same labels"
    assert start.model.training
    stored = load_file(folder / "model.safetensors")
    outputs = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
    (name,) = (each for each in outputs if each in stored)
    assert torch.equal(tensors_of(start)["head.output.weight"], stored[name])


def test_rows_of_a_kept_head_follow_the_order_of_the_labels(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    same, other = (read_initial_model(folder, "single", labels, 0) for labels in (TWO, TWO[::-1]))
    assert other.reason == "the head is kept: it predicts the same labels, in another order"
    for name in ("head.output.weight", "head.output.bias"):
        assert torch.equal(tensors_of(other)[name], tensors_of(same)[name].flip(0))
    assert other.raw_config["id2label"] == {"0": "LABEL_1", "1": "LABEL_0"}


@pytest.mark.parametrize(
    ("task", "labels", "reason"),
    [
        ("single", THREE, "the head is new: that of the base predicts LABEL_0, LABEL_1"),
        ("single", ("x", "y"), "the head is new: that of the base predicts LABEL_0, LABEL_1"),
        ("multi", TWO, "the head is new: that of the base is for another task than 'multi'"),
        ("regression", ("n",), "the head is new: that of the base is for another task than"),
    ],
)
def test_a_head_of_other_labels_is_drawn(
    tmp_path: Path,
    tiny_folder: TinyFolder,
    task: TrainingTask,
    labels: tuple[str, ...],
    reason: str,
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("distilbert"), tiny_folder)
    kept = tensors_of(read_initial_model(folder, "single", TWO, seed=3))
    start = read_initial_model(folder, task, labels, seed=3)
    assert start.head == "new"
    assert start.reason.startswith(reason)
    drawn = tensors_of(start)
    assert drawn.pop("head.output.weight").shape == (len(labels), 32)
    assert drawn.pop("head.output.bias").eq(0).all()
    assert all(torch.equal(each, kept[name]) for name, each in drawn.items())


def test_a_drawn_head_depends_on_the_seed_alone(tmp_path: Path, tiny_folder: TinyFolder) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    torch.manual_seed(1)
    first, state = read_initial_model(folder, "single", THREE, 7), torch.get_rng_state()
    torch.manual_seed(2)
    again, other = (read_initial_model(folder, "single", THREE, seed) for seed in (7, 8))
    weights = [tensors_of(each)["head.output.weight"] for each in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "torch's generator is the caller's"


def test_drawn_numbers_are_normal_and_the_same_on_every_machine() -> None:
    numbers = _normal_numbers(40_000, seed=5, place=1)
    assert abs(numbers.mean()) < 0.02
    assert abs(numbers.std() - 1) < 0.02
    assert abs(np.mean(np.abs(numbers) > 1.959964) - 0.05) < 0.005
    expected = [0.4813690185546875, -0.219879150390625, 1.0261993408203125]
    assert _normal_numbers(3, seed=0, place=0).tolist() == expected
    assert HEAD_STD == 0.02


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("pooler", [True, False])
def test_an_encoder_without_a_head_gets_one(
    tmp_path: Path, tiny_folder: TinyFolder, prefix: bool, pooler: bool
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    whole = tensors_of(read_initial_model(folder, "single", TWO, seed=0))
    make_encoder(folder, prefix=prefix, pooler=pooler)
    (folder / "modules.json").write_text("[]")
    (folder / "1_Pooling").mkdir()
    start = read_initial_model(folder, "single", TWO, seed=0)
    assert (start.head, start.reason) == ("new", "the head is new: the base has none")
    found = tensors_of(start)
    dense = torch.equal(found["head.dense.weight"], whole["head.dense.weight"])
    assert dense == pooler
    assert abs(float(found["head.output.weight"].std()) - HEAD_STD) < 0.008
    encoder = [name for name in found if not name.startswith("head.")]
    assert all(torch.equal(found[name], whole[name]) for name in encoder)


def test_an_encoder_with_another_head_gets_one(tmp_path: Path, tiny_folder: TinyFolder) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    make_encoder(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.bias"] = torch.zeros(500)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert read_initial_model(folder, "multi", THREE, seed=0).head == "new"


def test_an_encoder_that_lacks_a_tensor_is_rejected(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    make_encoder(folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TensorMismatchError, match=r"missing.*layer\.1\.output\.dense\.bias"):
        read_initial_model(folder, "single", THREE, seed=0)


def test_an_encoder_of_another_shape_is_rejected_and_not_drawn(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    edit_config(folder, intermediate_size=64)
    with pytest.raises(TensorMismatchError, match="intermediate_size"):
        read_initial_model(folder, "single", THREE, seed=0)


def test_the_configuration_is_that_of_the_trained_model(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("roberta", dtype="float16"), tiny_folder)
    edit_config(folder, num_labels=2, sentence_transformers={"activation_fn": "x"}, custom_key=1)
    edit_config(folder, ("sentence_transformers",), auto_map={"AutoModel": "code.Model"})
    raw = read_initial_model(folder, "multi", THREE, seed=0).raw_config
    assert raw["architectures"] == ["RobertaForSequenceClassification"]
    assert raw["problem_type"] == "multi_label_classification"
    assert raw["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert raw["label2id"] == {"a": 0, "b": 1, "c": 2}
    assert raw["dtype"] == "float32"
    assert raw["custom_key"] == 1
    assert not {"num_labels", "auto_map"} & raw.keys()
    assert parse_config(raw).head.score_activation == "sigmoid"


def test_texts_are_encoded_as_the_checkpoint_does(tmp_path: Path, tiny_folder: TinyFolder) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    start = read_initial_model(folder, "single", TWO, seed=0)
    texts = [SENTENCES[0], (SENTENCES[1], SENTENCES[2]), " ".join(SENTENCES * 9)]
    places = ["a.csv: line 2", "a.csv: line 3", "a.csv: line 4"]
    one, two, long = start.encode(texts, places)
    assert {*one.token_type_ids} == {0}
    assert {*two.token_type_ids} == {0, 1}
    assert (long.truncated, len(long)) == (True, 48)


def test_a_text_that_cannot_be_encoded_is_named_by_its_place(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    start = read_initial_model(folder, "single", TWO, seed=0)
    with pytest.raises(InputError, match=r"^a\.csv: line 3: character 0 is a lone surrogate"):
        start.encode(["fine", "\ud800"], ["a.csv: line 2", "a.csv: line 3"])


def test_a_table_without_a_row_for_a_token_is_an_error_of_the_text(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert", vocab_size=200), tiny_folder)
    start = read_initial_model(folder, "single", TWO, seed=0)
    with pytest.raises(InputError, match=r"^a\.csv: line 3: token 'tomorrow' has id \d+, but"):
        start.encode(["fine", "tomorrow"], ["a.csv: line 2", "a.csv: line 3"])


def test_a_tokenizer_without_the_words_of_the_texts_is_rejected(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("bert"), tiny_folder)
    start = read_initial_model(folder, "single", TWO, seed=0)
    russian = ["Сегодня хороший день, но что будет завтра?"] * 3
    with pytest.raises(CheckpointError, match=r"% of the tokens of the texts are \[UNK\]"):
        start.encode(russian, ["a.csv: line 2"] * 3)
    assert start.encode([*SENTENCES, "завтра"], ["a.csv: line 2"] * 6), "some may be unknown"


def test_a_checkpoint_without_a_tokenizer_is_rejected(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    with pytest.raises(CheckpointError, match=r"contains no tokenizer\.json"):
        read_initial_model(tiny_folder(Tiny("bert")), "single", TWO, seed=0)
    write_wordpiece_folder(tmp_path, "bert")
    with pytest.raises(CheckpointError, match=r"contains neither model\.safetensors"):
        read_initial_model(tmp_path, "single", TWO, seed=0)


def test_the_bundled_model_is_a_base() -> None:
    start = read_initial_model(None, "single", ("NEGATIVE", "POSITIVE"), seed=0)
    assert (start.head, start.name, start.hub) == ("kept", "sst2-minilm", None)


def test_a_hub_id_is_recorded_with_its_commit(tmp_path: Path, tiny_folder: TinyFolder) -> None:
    folder = tmp_path / "models--owner--name/snapshots/abc123"
    folder.parent.mkdir(parents=True)
    write_whole(folder, Tiny("electra"), tiny_folder)
    assert read_initial_model(folder, "single", THREE, seed=0).hub == ("owner/name", "abc123")

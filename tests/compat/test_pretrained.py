"""Arguments of from_pretrained and AutoConfig: honoured as in transformers, or rejected by name."""

import json
import shutil
import warnings
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from message_fixes import run_convert_fix
from safetensors.torch import load_file, save_file
from tiny_checkpoints import DECODERS, FAMILIES, Tiny, TinyFolder, random_ids

from isobatch import AutoConfig, AutoModel, AutoModelForSequenceClassification
from isobatch.checkpoint import read_config
from isobatch.compat.model import PaddedClassifier
from isobatch.errors import (
    CheckpointError,
    InputError,
    MissingHeadError,
    NewWeightsWarning,
    OptionError,
    TensorMismatchError,
)

BERT = Tiny("bert")


@pytest.fixture
def folder(tiny_folder: TinyFolder) -> Path:
    return tiny_folder(BERT)


DRAWN_ALIKE = [family for family in FAMILIES if family != "modernbert"]
"""transformers draws ModernBERT's weights by rules of its own."""


def parameters(model: Any) -> dict[str, torch.Tensor]:
    """By the names of the state dict, in which linears are fused as in transformers."""
    known = {name for name, _ in model.named_buffers()}
    return {name: each.clone() for name, each in model.state_dict().items() if name not in known}


def assert_equal_parameters(ours: Any, theirs: Any) -> None:
    one, other = parameters(ours), parameters(theirs)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("family", DRAWN_ALIKE)
def test_another_number_of_labels_draws_the_head_of_transformers(
    family: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = tiny_folder(Tiny(family))
    options = {"num_labels": 5, "ignore_mismatched_sizes": True}
    torch.manual_seed(7)
    with pytest.warns(NewWeightsWarning, match="Train the model") as caught:
        ours = AutoModelForSequenceClassification.from_pretrained(folder, **options)
    assert caught[0].filename == __file__
    torch.manual_seed(7)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder, **options)
    assert_equal_parameters(ours, theirs)
    assert ours.config.id2label == theirs.config.id2label
    assert ours.num_labels == ours.config.num_labels == 5
    ours.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert_equal_parameters(ours, again)
    assert type(again).__name__ == type(theirs).__name__ == again.config.architectures[0]


@pytest.mark.parametrize("family", DRAWN_ALIKE)
@pytest.mark.parametrize("kind", ["AutoModel", "AutoModelForMaskedLM"])
def test_an_encoder_of_another_task_gets_a_new_head(
    family: str, kind: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    config = transformers.AutoConfig.from_pretrained(tiny_folder(Tiny(family)))
    another = kind.replace("Masked", "Causal") if family in DECODERS else kind
    getattr(transformers, another).from_config(config).save_pretrained(tmp_path)
    torch.manual_seed(7)
    with pytest.warns(NewWeightsWarning, match=r"classifier|score"):
        ours = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    torch.manual_seed(7)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    assert_equal_parameters(ours, theirs)
    with pytest.raises(MissingHeadError):  # only from_pretrained draws a head
        PaddedClassifier.from_folder(tmp_path)


def rename(folder: Path, target: Path, new_name: Callable[[str], str]) -> None:
    """Copy a checkpoint whose tensors get other names."""
    shutil.copy(folder / "config.json", target)
    held = load_file(folder / "model.safetensors")
    tensors = {new_name(name): tensor for name, tensor in held.items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


PARTS = ("encoder", "pooler", "head")


def part_of(name: str) -> str:
    if name.startswith("bert.pooler."):
        return "pooler"
    return "encoder" if name.startswith("bert.") else "head"


@pytest.mark.parametrize("other", [c for n in range(4) for c in combinations(PARTS, n)], ids=str)
def test_the_prefix_is_read_part_by_part(
    other: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    """Each part without its prefix or, for the head, with one; each tensor is the file's."""

    def new_name(name: str) -> str:
        if part_of(name) not in other:
            return name
        return f"bert.{name}" if part_of(name) == "head" else name.removeprefix("bert.")

    rename(folder, tmp_path, new_name)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NewWeightsWarning)
        ours = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        encoder = AutoModel.from_pretrained(tmp_path)
    assert_equal_parameters(ours, theirs)
    assert_equal_parameters(PaddedClassifier.from_folder(tmp_path), theirs)
    assert_equal_parameters(encoder, theirs.bert)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_prefix_before_every_name(
    family: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = tiny_folder(Tiny(family))
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    base = next(iter(parameters(model))).partition(".")[0]
    rename(folder, tmp_path, lambda name: f"{base}.{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", NewWeightsWarning)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert_equal_parameters(again, model)
        encoder, plain = (
            AutoModel.from_pretrained(each, add_pooling_layer=False) for each in (tmp_path, folder)
        )
    assert_equal_parameters(encoder, plain)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert_equal_parameters(again, theirs)


RENAMED: dict[str, Callable[[str], str]] = {
    "PEFT": lambda name: name.replace("classifier.", "classifier.modules_to_save.default."),
    "DataParallel": lambda name: f"module.{name}",
    "compile": lambda name: f"_orig_mod.{name}",
    "a head in module.": lambda name: f"module.{name}" if part_of(name) == "head" else name,
}


@pytest.mark.parametrize("kind", RENAMED)
def test_a_head_under_another_name_is_not_drawn(kind: str, folder: Path, tmp_path: Path) -> None:
    rename(folder, tmp_path, RENAMED[kind])
    with pytest.raises(TensorMismatchError, match="Rename them") as caught:
        AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2)
    run_convert_fix(str(caught.value), tmp_path)
    ours = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert_equal_parameters(ours, AutoModelForSequenceClassification.from_pretrained(folder))


def test_of_two_heads_by_peft_the_user_chooses(folder: Path, tmp_path: Path) -> None:
    rename(folder, tmp_path, RENAMED["PEFT"])
    held = load_file(tmp_path / "model.safetensors")
    copies = {
        name.replace(".default.", ".other."): tensor.clone()
        for name, tensor in held.items()
        if ".default." in name
    }
    save_file(held | copies, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TensorMismatchError, match="2 trained heads") as caught:
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    run_convert_fix(str(caught.value), tmp_path)
    ours = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert_equal_parameters(ours, AutoModelForSequenceClassification.from_pretrained(folder))


def test_no_message_advises_to_drop_a_head(folder: Path, tmp_path: Path) -> None:
    """A file with a head under a name that nothing renames."""
    rename(folder, tmp_path, lambda name: f"my.{name}.copy" if "classifier" in name else name)
    with pytest.raises(TensorMismatchError, match=r"save_pretrained\(new_folder\)") as caught:
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert "python -c" not in str(caught.value)


def test_an_encoder_with_a_tensor_too_few_gets_none_drawn(folder: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.bert.encoder.layer = model.bert.encoder.layer[:1]
    model.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"num_hidden_layers": 2}))
    for entry in (AutoModel, AutoModelForSequenceClassification):
        with pytest.raises(TensorMismatchError, match=r"encoder\.layer\.1"):
            entry.from_pretrained(tmp_path, **({"num_labels": 9} if entry is AutoModel else {}))


def test_a_mismatch_names_the_argument_that_draws_a_head(folder: Path) -> None:
    with pytest.raises(TensorMismatchError, match="ignore_mismatched_sizes=True"):
        AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5)
    with pytest.raises(TensorMismatchError, match="Leave sizes out"):
        AutoModelForSequenceClassification.from_pretrained(folder, intermediate_size=50)


def test_labels_by_name(folder: Path, tmp_path: Path) -> None:
    names = {0: "NO", 1: "YES"}
    for given in (
        {"id2label": names},
        {"label2id": {"NO": 0, "YES": 1}},
        {"id2label": {"0": "NO", "1": "YES"}, "num_labels": 2},
        {"id2label": names, "label2id": {"NO": 0, "YES": 1}},
    ):
        model = AutoModelForSequenceClassification.from_pretrained(folder, **given)
        assert model.config.id2label == names
        assert model.config.label2id == {"NO": 0, "YES": 1}
    model.save_pretrained(tmp_path)
    assert transformers.AutoConfig.from_pretrained(tmp_path).id2label == names


NEUTRAL = [
    {"dtype": torch.float32},
    {"torch_dtype": "float32"},
    {"dtype": "auto"},
    {"device_map": "cpu"},
    {"device_map": {"": "cpu"}},
    {"trust_remote_code": True},
    {"attn_implementation": "eager"},
    {"use_safetensors": True},
    {"low_cpu_mem_usage": True},
    {"cache_dir": "/nowhere"},
    {"local_files_only": True},
    {"revision": "main"},
    {"hidden_dropout_prob": 0.0},
    {"problem_type": "multi_label_classification"},
]


@pytest.mark.parametrize("options", NEUTRAL, ids=str)
def test_arguments_that_change_no_logit_are_accepted(options: Any, folder: Path) -> None:
    ids = torch.tensor(random_ids([6], BERT))
    model = AutoModelForSequenceClassification.from_pretrained(folder, **options)
    plain = AutoModelForSequenceClassification.from_pretrained(pretrained_model_name_or_path=folder)
    assert torch.equal(model(ids).logits, plain(ids).logits)


REJECTED = [
    ({"nonsense": 1}, "nonsense=1 is not supported.*num_labels"),
    ({"dtype": torch.float16}, "dtype=torch.float32"),
    ({"torch_dtype": "bfloat16"}, "precision="),
    ({"device_map": {"bert": "cpu", "classifier": "cpu"}}, "device_map='cpu'"),
    ({"load_in_8bit": True}, "isobatch quantize"),
    ({"attn_implementation": "flash_attention_2"}, "Remove it"),
    ({"output_loading_info": True}, "output_loading_info"),
    ({"state_dict": {}}, "load_state_dict"),
    ({"use_safetensors": False}, "Pickles"),
    ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "num_labels=3 contradicts the 2 labels"),
    ({"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}}, "Leave label2id out"),
    ({"num_labels": 0}, "positive integer"),
    ({"problem_type": "multi"}, "problem_type is 'multi'"),
    (
        {
            "problem_type": "single_label_classification",
            "num_labels": 1,
            "ignore_mismatched_sizes": True,
        },
        "num_labels=2",
    ),
    ({"config": 3}, "AutoConfig"),
]


@pytest.mark.parametrize(("options", "words"), REJECTED, ids=str)
def test_arguments_that_are_not_supported_are_named(options: Any, words: str, folder: Path) -> None:
    with pytest.raises(OptionError, match=words):
        AutoModelForSequenceClassification.from_pretrained(folder, **options)
    with pytest.raises(OptionError, match="positional"):
        AutoModelForSequenceClassification.from_pretrained(folder, "main")


def edit_config(folder: Path, target: Path, **changes: Any) -> Path:
    """Copy a checkpoint with other values in config.json; None removes the key."""
    shutil.copytree(folder, target)
    raw = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in raw.items() if value is not None}
    (target / "config.json").write_text(json.dumps(kept))
    return target


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "a map of other labels than the count": {"num_labels": 1, "id2label": {"0": "A", "1": "B"}},
    "a section of bitsandbytes": {"quantization_config": {"quant_method": "bitsandbytes"}},
    "no model_type": {"model_type": None},
    "no model_type and no class": {"model_type": None, "architectures": None},
    "empty labels": {"id2label": {}},
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_config_json_is_explained_as_by_classifier(kind: str, folder: Path, tmp_path: Path) -> None:
    broken = edit_config(folder, tmp_path / "model", **CONTRADICTIONS[kind])
    with pytest.raises(CheckpointError) as expected:
        read_config(broken)
    for entry in (AutoConfig, AutoModel, AutoModelForSequenceClassification):
        with pytest.raises(CheckpointError) as caught:
            entry.from_pretrained(broken)
        assert str(caught.value) == str(expected.value)
    (broken / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: "):
        AutoConfig.from_pretrained(broken)


def test_labels_that_the_call_names_need_not_be_right_in_the_file(
    folder: Path, tmp_path: Path
) -> None:
    names = {0: "NO", 1: "YES"}
    count = edit_config(folder, tmp_path / "count", num_labels=3, id2label=names)
    empty = edit_config(folder, tmp_path / "empty", id2label={})
    for entry in (AutoConfig, AutoModelForSequenceClassification):
        for loaded in (
            entry.from_pretrained(count, num_labels=2),
            entry.from_pretrained(empty, id2label=names),
        ):
            assert getattr(loaded, "config", loaded).id2label == names
    (count / "model.safetensors").unlink()
    assert AutoConfig.from_pretrained(count, num_labels=2).id2label == names


def test_a_hub_id_has_its_options_in_the_environment() -> None:
    for name, value in (("cache_dir", "x"), ("token", "t"), ("force_download", True)):
        with pytest.raises(OptionError, match=f"{name}=.*not supported"):
            AutoConfig.from_pretrained("some/model", **{name: value})


def test_the_configuration_is_that_of_transformers(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    for family in FAMILIES:
        folder = tiny_folder(Tiny(family, num_labels=3))
        ours = AutoConfig.from_pretrained(folder, num_labels=4)
        theirs = transformers.AutoConfig.from_pretrained(folder, num_labels=4)
        for name in (
            "hidden_size",
            "num_attention_heads",
            "num_hidden_layers",
            "vocab_size",
            "max_position_embeddings",
            "model_type",
            "num_labels",
            "id2label",
            "label2id",
            "problem_type",
            "pad_token_id",
            "return_dict",
            "output_hidden_states",
        ):
            assert getattr(ours, name) == getattr(theirs, name), (family, name)
        ours.save_pretrained(tmp_path / family)
        again = transformers.AutoConfig.from_pretrained(tmp_path / family)
        assert (again.id2label, again.hidden_size) == (theirs.id2label, theirs.hidden_size)
        assert json.loads(ours.to_json_string())["model_type"] == family
        assert ours.to_dict()["vocab_size"] == ours.vocab_size
    with pytest.raises(AttributeError, match="nonsense"):
        ours.nonsense  # noqa: B018 - the access is the test


def test_a_configuration_makes_a_model(tmp_path: Path) -> None:
    sizes = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 16, "vocab_size": 50}
    config = AutoConfig.for_model("distilbert", num_labels=3, **sizes)
    assert config.hidden_size == 16
    model = AutoModelForSequenceClassification.from_config(config)
    assert model.training
    model.eval().save_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7]])
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(model(ids).logits, theirs(ids).logits, atol=1e-5, rtol=0)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, config=theirs.config)
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert AutoModel.from_config(config).eval()(ids).last_hidden_state.shape == (1, 3, 16)
    with pytest.raises(CheckpointError, match="gpt2"):
        AutoConfig.for_model("gpt2")


def test_what_is_saved_is_float32_whatever_the_file_was(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_folder(Tiny("bert", dtype="float16"))
    )
    model.save_pretrained(tmp_path)
    assert transformers.AutoModel.from_pretrained(tmp_path).dtype == torch.float32
    with pytest.raises(OptionError, match=r"dtype=torch\.float32"):
        AutoModelForSequenceClassification.from_pretrained(
            tiny_folder(Tiny("bert", dtype="float16")), dtype="auto"
        )


def test_a_folder_of_the_trainer_lacks_its_configuration(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "model.safetensors", tmp_path)
    (tmp_path / "training_args.bin").touch()
    with pytest.raises(CheckpointError, match=r"model\.config\.save_pretrained\(folder\)"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.config.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert_equal_parameters(again, model)


def test_roberta_with_another_pad_id_names_the_true_limit(
    tmp_path: Path, tiny_folder: TinyFolder
) -> None:
    config = transformers.AutoConfig.for_model(
        "roberta",
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        pad_token_id=3,
    )
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids = torch.full((2, 64), 5)
    with pytest.raises(InputError, match="truncation=True, max_length=60") as caught:
        model(ids)
    limit = int(str(caught.value).rpartition("=")[2])
    assert limit == model.num_tokens
    assert model(ids[:, :limit]).logits.shape == (2, 2)


def test_loading_a_state_dict_speaks_of_hugging_face_s_names(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    state = model.state_dict()
    del state["classifier.bias"]
    state["nonsense"] = torch.zeros(1)
    state["bert.pooler.dense.weight"] = torch.zeros(3, 3)
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert 'Missing key(s) in state_dict: "classifier.bias"' in message
    assert 'Unexpected key(s) in state_dict: "nonsense"' in message
    assert "size mismatch for bert.pooler.dense.weight" in message
    del state["bert.pooler.dense.weight"]
    result = model.load_state_dict(state, strict=False)
    assert result.missing_keys == ["bert.pooler.dense.weight", "classifier.bias"]


def test_no_warning_where_nothing_is_drawn(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AutoModel.from_pretrained(folder)
        AutoModelForSequenceClassification.from_pretrained(folder)

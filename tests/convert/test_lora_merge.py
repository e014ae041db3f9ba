"""Merged LoRA adapters: as by PEFT's merge_and_unload, in every variant that is merged here."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_checkpoints import FAMILIES, Tiny, TinyFolder, fill_randomly, random_ids, tiny_config
from tokenizer_folders import write_wordpiece_folder
from torch import Tensor

from isobatch.convert import ConvertReport, convert_checkpoint
from isobatch.errors import (
    CheckpointError,
    MissingHeadError,
    OptionError,
    TensorMismatchError,
    UnsupportedModelError,
)

SINGLE, WEIGHTS = "model.safetensors", "adapter_model.safetensors"
BERT = Tiny("bert", num_layers=2)
TARGETS = {
    "distilbert": ["q_lin", "ffn.lin1"],
    "electra": ["query", "embeddings_project"],
    "albert": ["query", "embedding_hidden_mapping_in", "ffn_output"],
    "qwen3": ["q_proj", "v_proj", "down_proj"],
    "modernbert": ["Wqkv", "Wo"],
    "gte": ["q_proj", "v_proj", "up_proj"],
    "nomic_bert": ["q_proj", "v_proj", "up_proj"],
}
"""Modules that are adapted, where these are not `["query", "value", "output.dense"]`."""

QUERY = "bert.encoder.layer.0.attention.self.query"

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:peft", "ignore:.*is_gradient_checkpointing:FutureWarning"
)


def write_adapter(
    base: Path, folder: Path, settings: peft.LoraConfig, *, num_labels: int = 2
) -> transformers.PreTrainedModel:
    """Write a trained adapter, all of its numbers random, and return PEFT's merged model."""
    kinds = {"TOKEN_CLS": "ForTokenClassification", "SEQ_CLS": "ForSequenceClassification"}
    auto = getattr(transformers, "AutoModel" + kinds.get(settings.task_type or "", ""))
    labels = {"num_labels": num_labels} if settings.task_type in kinds else {}
    model = auto.from_pretrained(base, ignore_mismatched_sizes=True, **labels)
    trained = peft.get_peft_model(model, settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad or "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    trained.save_pretrained(folder)
    return trained.merge_and_unload()


def lora(targets: list[str], **changes: object) -> peft.LoraConfig:
    return peft.LoraConfig(
        **{"task_type": "SEQ_CLS", "r": 4, "lora_alpha": 7, "target_modules": targets} | changes
    )


def largest_difference(out: Path, expected: transformers.PreTrainedModel) -> float:
    found = load_file(out / SINGLE)
    held = {
        name: tensor
        for name, tensor in expected.state_dict().items()
        if not name.endswith(("position_ids", "token_type_ids"))
    }
    assert held.keys() <= found.keys()
    return max(float((found[name].double() - held[name].double()).abs().max()) for name in held)


def test_without_its_matrices_the_difference_is_seen(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    """The control of the others: the adapter changes the weights by more than what is allowed."""
    merged = write_adapter(tiny_folder(BERT), tmp_path / "adapter", lora(["query"]))
    path = tmp_path / "adapter" / WEIGHTS
    kept = {name: t for name, t in load_file(path).items() if "layer.1" not in name}
    save_file(kept, path)
    convert_checkpoint(tmp_path / "adapter", tmp_path / "out")
    assert largest_difference(tmp_path / "out", merged) > 0.1


@pytest.mark.parametrize("model_type", FAMILIES)
def test_an_adapter_of_every_family_is_merged_as_by_peft(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    base = tiny_folder(Tiny(model_type))
    whole = ["classifier", "pre_classifier"] if model_type == "distilbert" else None
    settings = lora(
        TARGETS.get(model_type, ["query", "value", "output.dense"]), modules_to_save=whole
    )
    merged = write_adapter(base, tmp_path / "adapter", settings, num_labels=3)
    report = convert_checkpoint(tmp_path / "adapter", tmp_path / "out")
    assert largest_difference(tmp_path / "out", merged) <= 1e-6
    assert report.base == str(base)
    assert report.merged
    assert all(name.endswith(".weight") for name in report.merged)
    assert all("classifier" in name or "score" in name for name in report.replaced)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor(random_ids([9], Tiny(model_type)))
    with torch.no_grad():
        expected = merged.eval()(ids).logits
        torch.testing.assert_close(again(ids).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_rslora": True},
        {"fan_in_fan_out": True},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"rank_pattern": {"0.attention.self.query": 2}},
        {"alpha_pattern": {"layer.1.attention.self.query": 31, ".*value": 3}},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False},
        {"init_lora_weights": "orthogonal"},
        {"layers_to_transform": [1], "layers_pattern": "layer"},
        {"target_modules": ["query", "word_embeddings"]},
        {"target_modules": "all-linear"},
        {"modules_to_save": ["pooler"]},
    ],
    ids=lambda changes: ", ".join(map(str, changes.items())),
)
def test_a_variant_is_merged_as_by_peft(
    changes: dict[str, object], tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    settings = lora(["query", "value"], **changes)
    merged = write_adapter(tiny_folder(BERT), tmp_path / "adapter", settings)
    convert_checkpoint(tmp_path / "adapter", tmp_path / "out")
    assert largest_difference(tmp_path / "out", merged) <= 1e-6


@pytest.mark.parametrize(
    ("task_type", "task", "kind"),
    [
        ("TOKEN_CLS", "token-classification", "BertForTokenClassification"),
        ("FEATURE_EXTRACTION", "feature-extraction", "BertModel"),
        (None, "feature-extraction", "BertModel"),
    ],
)
def test_an_adapter_of_another_task_is_merged_over_an_encoder(
    task_type: str | None, task: str, kind: str, tmp_path: Path
) -> None:
    encoder = transformers.AutoModel.from_config(tiny_config(BERT))
    fill_randomly(encoder).save_pretrained(tmp_path / "base")
    settings = lora(["query"], task_type=task_type)
    merged = write_adapter(tmp_path / "base", tmp_path / "adapter", settings, num_labels=5)
    report = convert_checkpoint(tmp_path / "adapter", tmp_path / "out")
    assert report.written.task == task
    found, expected = load_file(tmp_path / "out" / SINGLE), merged.state_dict()
    prefix = "" if task == "token-classification" else "bert."
    worst = [
        float((found.get(prefix + name, found.get(name)) - tensor).abs().max())
        for name, tensor in expected.items()
    ]
    assert max(worst) <= 1e-6
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["architectures"] == [kind]
    if task_type == "TOKEN_CLS":
        assert config["id2label"] == {str(number): f"LABEL_{number}" for number in range(5)}
    auto = getattr(transformers, kind)
    again, info = auto.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(
        again.state_dict()[next(iter(expected))], found[prefix + next(iter(expected))]
    )


def test_sums_are_computed_in_float64_and_rounded_once(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    base = tiny_folder(Tiny("bert", dtype="float16"))
    write_adapter(base, tmp_path / "adapter", lora(["query"]))
    convert_checkpoint(tmp_path / "adapter", tmp_path / "out")
    held = load_file(tmp_path / "adapter" / WEIGHTS)
    a, b = (held[f"base_model.model.{QUERY}.lora_{each}.weight"].double() for each in "AB")
    weight = load_file(base / SINGLE)[f"{QUERY}.weight"]
    assert weight.dtype == torch.float16
    expected = (weight.double() + (b @ a) * (7 / 4)).to(torch.float16)
    assert torch.equal(load_file(tmp_path / "out" / SINGLE)[f"{QUERY}.weight"], expected)


def test_a_larger_vocabulary_of_the_adapter_is_kept(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_folder(BERT))
    model.resize_token_embeddings(503, mean_resizing=False)
    trained = peft.get_peft_model(model, lora(["query"]))
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    merged = trained.merge_and_unload()
    convert_checkpoint(tmp_path / "adapter", tmp_path / "out")
    assert largest_difference(tmp_path / "out", merged) == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == 503


# --------------------------------------------------------------------------------- base and files


@pytest.fixture
def adapter(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """An adapter over a base model in `base`, which has a tokenizer."""
    shutil.copytree(tiny_folder(BERT), tmp_path / "base")
    write_wordpiece_folder(tmp_path / "base")
    shutil.copy(tiny_folder(BERT) / "config.json", tmp_path / "base")
    write_adapter(tmp_path / "base", tmp_path / "adapter", lora(["query"]), num_labels=3)
    return tmp_path / "adapter"


def edit_settings(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    held = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(change(held), folder / WEIGHTS)


def test_the_tokenizer_is_that_of_the_adapter_if_it_has_one(adapter: Path, tmp_path: Path) -> None:
    convert_checkpoint(adapter, tmp_path / "out")
    base, out = tmp_path / "base", tmp_path / "out"
    assert (out / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    (adapter / "tokenizer.json").write_text("{}")
    convert_checkpoint(adapter, tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").read_text() == "{}"
    assert not (tmp_path / "again" / "tokenizer_config.json").exists()


def test_pickles_of_adapter_and_base_are_read_too(adapter: Path, tmp_path: Path) -> None:
    expected = convert_checkpoint(adapter, tmp_path / "expected")
    for folder, name in ((adapter, WEIGHTS), (tmp_path / "base", SINGLE)):
        pickled = name.replace("model.safetensors", "model.bin")
        pickled = "pytorch_model.bin" if name == SINGLE else pickled
        torch.save(load_file(folder / name), folder / pickled)
        (folder / name).unlink()
    report: ConvertReport = convert_checkpoint(adapter, tmp_path / "out")
    assert report.read == ("adapter_model.bin", "pytorch_model.bin")
    assert report.merged == expected.merged
    files = [(tmp_path / name / SINGLE).read_bytes() for name in ("expected", "out")]
    assert files[0] == files[1]


def test_the_base_model_is_at_another_place(adapter: Path, tmp_path: Path) -> None:
    convert_checkpoint(adapter, tmp_path / "expected")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"is an adapter of .*base, which is not available"):
        convert_checkpoint(adapter, tmp_path / "out")
    convert_checkpoint(adapter, tmp_path / "out", base=tmp_path / "moved")
    files = [(tmp_path / name / SINGLE).read_bytes() for name in ("expected", "out")]
    assert files[0] == files[1]
    edit_settings(adapter, base_model_name_or_path=None)
    with pytest.raises(OptionError, match="does not name the base model"):
        convert_checkpoint(adapter, tmp_path / "again")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_dora": True}, "does not merge use_dora"),
        ({"use_qalora": True}, "does not merge use_qalora"),
        ({"layer_replication": [[0, 1]]}, "does not merge layer_replication"),
        ({"target_parameters": ["x"]}, "does not merge target_parameters"),
        ({"trainable_token_indices": [3]}, "does not merge trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "does not merge init_lora_weights 'pissa'"),
        ({"init_lora_weights": "olora"}, "does not merge init_lora_weights 'olora'"),
        ({"a_setting_of_the_future": 1}, "does not merge a_setting_of_the_future"),
        ({"peft_type": "LOHA"}, "does not merge LOHA"),
        ({"peft_type": "PROMPT_TUNING"}, "this kind cannot be merged"),
    ],
    ids=lambda change: ", ".join(map(str, change.items())) if isinstance(change, dict) else "",
)
def test_what_is_not_merged_is_named(
    change: dict[str, object], says: str, adapter: Path, tmp_path: Path
) -> None:
    edit_settings(adapter, **change)
    with pytest.raises(UnsupportedModelError) as caught:
        convert_checkpoint(adapter, tmp_path / "out")
    assert says in str(caught.value)
    assert ("merge_and_unload()" in str(caught.value)) == ("cannot" not in says)
    assert not (tmp_path / "out").exists()


A = f"base_model.model.{QUERY}.lora_A.weight"
WORDS = "base_model.model.bert.embeddings.word_embeddings"


def _embedding_with_bias() -> dict[str, Tensor]:
    size, vocabulary = Tiny("bert").hidden_size, Tiny("bert").vocab_size
    return {
        f"{WORDS}.lora_embedding_A": torch.ones(4, vocabulary),
        f"{WORDS}.lora_embedding_B": torch.ones(size, 4),
        f"{WORDS}.lora_B.bias": torch.ones(size),
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held: held | {A: torch.ones(4, 31)}, "do not fit"),
        (lambda held: held | {A: torch.ones(3, 32)}, "do not fit"),
        (lambda held: {name: held[name] for name in held if name != A}, "has only lora_B"),
        (
            lambda held: held | _embedding_with_bias(),
            "is a table of embeddings, and lora_B has a bias for it, which no table has. Restore",
        ),
        (
            lambda held: {name.replace("layer.0", "layer.7"): held[name] for name in held},
            "which the base model does not have",
        ),
        (
            lambda held: held | {f"{QUERY}.lora_magnitude_vector": torch.ones(32)},
            "to a variant of LoRA that is not supported",
        ),
        (lambda held: held | {"base_model.model.loss.weight": torch.ones(2)}, "unexpected: loss"),
    ],
    ids=["width", "rank", "half", "bias of a table", "layer", "dora", "other"],
)
def test_matrices_that_do_not_fit_are_named(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    says: str,
    adapter: Path,
    tmp_path: Path,
) -> None:
    edit_weights(adapter, change)
    with pytest.raises(TensorMismatchError) as caught:
        convert_checkpoint(adapter, tmp_path / "out")
    assert says in str(caught.value)
    assert str(adapter) in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes", [{"lora_alpha": "x"}, {"alpha_pattern": {"(": 2}}, {"alpha_pattern": [1]}]
)
def test_settings_that_are_none_are_named(
    changes: dict[str, object], adapter: Path, tmp_path: Path
) -> None:
    edit_settings(adapter, **changes)
    with pytest.raises(CheckpointError, match=next(iter(changes))):
        convert_checkpoint(adapter, tmp_path / "out")


def test_a_head_that_was_not_trained_is_not_drawn(adapter: Path, tmp_path: Path) -> None:
    encoder = transformers.AutoModel.from_config(tiny_config(BERT))
    fill_randomly(encoder).save_pretrained(tmp_path / "encoder")
    edit_weights(
        adapter, lambda held: {name: held[name] for name in held if "classifier" not in name}
    )
    with pytest.raises(MissingHeadError, match="no sequence-classification head"):
        convert_checkpoint(adapter, tmp_path / "out", base=tmp_path / "encoder")


def test_next_to_whole_weights_it_is_not_clear_which_is_meant(
    adapter: Path, tmp_path: Path
) -> None:
    shutil.copy(tmp_path / "base" / SINGLE, adapter)
    with pytest.raises(UnsupportedModelError, match=r"has whole weights and adapter_config\.json"):
        convert_checkpoint(adapter, tmp_path / "out")
    (adapter / SINGLE).unlink()
    with pytest.raises(UnsupportedModelError, match="is an adapter"):
        convert_checkpoint(adapter, tmp_path / "out", base=adapter)

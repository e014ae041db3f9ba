"""Fused tensors and other spellings of a family's files: the same bits, written as they were.

The files that transformers writes are the start; they are renamed into what older code wrote, and
config.json is given the keys of that time.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_checkpoints import Tiny, TinyFolder, fill_randomly, random_ids, tiny_config
from torch import Tensor

from isobatch.batching.packed import pack
from isobatch.checkpoint import read_config, read_own_config, write_tensors
from isobatch.checkpoint.config import parse_config
from isobatch.compat import AutoModelForSequenceClassification
from isobatch.errors import CheckpointError, InputError, TensorMismatchError, UnsupportedModelError
from isobatch.model import read_model
from isobatch.specification import Rotary
from isobatch.types import Encoding

Rename = Callable[[str], str]

OLD_NOMIC: Mapping[str, object] = {
    "n_embd": 32,
    "n_head": 4,
    "n_inner": 48,
    "n_layer": 2,
    "n_positions": 8192,
    "max_trained_positions": 512,
    "layer_norm_epsilon": 1e-12,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "activation_function": "swiglu",
    "prenorm": False,
    "qkv_proj_bias": False,
    "resid_pdrop": 0.0,
    "attn_pdrop": 0.0,
    **dict.fromkeys(
        ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    ),
    **dict.fromkeys(("layer_norm_eps", "rope_parameters", "hidden_act", "head_dim")),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob")),
}
"""GPT-2's keys; None deletes the newer one."""

OLD_MODERNBERT: Mapping[str, object] = {
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    "position_embedding_type": "absolute",
    "reference_compile": False,
    "layer_types": None,
    "rope_parameters": None,
}

CASES: dict[str, tuple[str, Rename, Mapping[str, object]]] = {
    "modernbert of old": ("modernbert", lambda name: name, OLD_MODERNBERT),
    "modernbert without a prefix": ("modernbert", lambda name: name.removeprefix("model."), {}),
    "gte as new": ("gte", lambda name: name.replace("gte.", "new."), {"model_type": "new"}),
    "gte in the file of new": ("gte", lambda name: name.replace("gte.", "new."), {}),
    "gte without a prefix": ("gte", lambda name: name.removeprefix("gte."), {"model_type": "new"}),
    "nomic of old": ("nomic_bert", lambda name: name.replace("nomic_bert.", "bert."), OLD_NOMIC),
    "nomic without a prefix": ("nomic_bert", lambda name: name.removeprefix("nomic_bert."), {}),
}


def logits_of(folder: Path, tiny: Tiny) -> Tensor:
    """Computed in training without dropout, which needs no selected kernels."""
    model, rows = read_model(folder).train(), random_ids((2, 9, 40), tiny)
    with torch.no_grad():
        return model(pack([Encoding(row, [0] * len(row)) for row in rows], tiny.positions))


def rewritten(folder: Path, place: Path, rename: Rename, changes: Mapping[str, object]) -> Path:
    """A copy with other names of tensors and other keys of config.json; None deletes a key."""
    tensors = load_file(folder / "model.safetensors")
    save_file({rename(name): each for name, each in tensors.items()}, place / "model.safetensors")
    raw = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in raw.items() if value is not None}
    (place / "config.json").write_text(json.dumps(kept))
    return place


@pytest.mark.parametrize("case", CASES)
def test_another_spelling_gives_the_same_bits_and_is_kept_when_written(
    case: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    family, rename, changes = CASES[case]
    tiny = Tiny(family, dropout=0.0, hidden_act="silu" if family == "nomic_bert" else "gelu")
    other = rewritten(tiny_folder(tiny), tmp_path, rename, changes)
    assert torch.equal(logits_of(other, tiny), logits_of(tiny_folder(tiny), tiny))
    check_written_as_read(other, without_prefix="without" in case)


@pytest.mark.parametrize("family", ["gte", "nomic_bert"])
def test_split_linears_give_the_same_bits_as_fused_ones(
    family: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    tiny = Tiny(family, dropout=0.0)
    fused = tiny_folder(tiny)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(fused)
    model.save_pretrained(tmp_path, save_original_format=False)
    names = [*load_file(tmp_path / "model.safetensors")]
    assert any("q_proj" in name for name in names)
    assert not any("qkv" in name for name in load_file(tmp_path / "model.safetensors"))
    assert torch.equal(logits_of(tmp_path, tiny), logits_of(fused, tiny))
    check_written_as_read(tmp_path)


def check_written_as_read(folder: Path, *, without_prefix: bool = False) -> None:
    """Every tensor is written back under its name; an encoder without its prefix gets it."""
    config, model = read_own_config(folder), read_model(folder)
    before = load_file(folder / "model.safetensors")
    write_tensors(folder, config.family, dict(model.named_parameters()))
    after = load_file(folder / "model.safetensors")
    if without_prefix:
        after = {name.removeprefix(config.family.prefix): each for name, each in after.items()}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_ntk_scaling_of_new_is_the_linear_one_of_transformers(tmp_path: Path) -> None:
    """Of the checkpoints' own code: theta × factor, and angles ÷ factor^(2 / size)."""
    tiny, factor = Tiny("gte", dropout=0.0), 8.0
    config = tiny_config(tiny)
    linear = {"rope_type": "linear", "factor": factor ** (2 / 8), "rope_theta": 20000.0 * factor}
    config.rope_parameters = linear
    model = transformers.AutoModelForSequenceClassification.from_config(
        config, attn_implementation="eager"
    )
    fill_randomly(model).eval().save_pretrained(tmp_path / "linear")
    (tmp_path / "new").mkdir()
    other = rewritten(
        tmp_path / "linear",
        tmp_path / "new",
        lambda name: name.replace("gte.", "new."),
        {
            "model_type": "new",
            "rope_parameters": None,
            "rope_theta": 20000,
            "rope_scaling": {"type": "ntk", "factor": factor},
            "position_embedding_type": "rope",
            "logn_attention_scale": False,
        },
    )
    rotary = read_config(other).encoder.layers[0].attention.rotary
    assert rotary == Rotary(160_000.0, 8, factor ** (2 / 8))
    (row,) = random_ids((300,), tiny)
    ours = read_model(other).train()
    with torch.no_grad():
        expected = model(torch.tensor([row])).logits
        logits = ours(pack([Encoding(row, [0] * 300)], tiny.positions))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_nomic_reads_no_more_tokens_than_it_was_trained_for() -> None:
    base = {"model_type": "nomic_bert", "max_position_embeddings": 8192}
    assert parse_config(base).encoder.max_tokens == 8192
    assert parse_config({**base, "max_trained_positions": 2048}).encoder.max_tokens == 2048


@pytest.mark.parametrize(
    ("model_type", "changes", "said"),
    [
        ("gte", {"logn_attention_scale": True}, "logn_attention_scale True"),
        ("gte", {"is_causal": True}, "is_causal True"),
        ("bert", {"is_causal": True}, "is_causal True"),
        ("bart", {"is_causal": False}, "is_causal False"),
        ("qwen2", {"is_causal": False, "use_sliding_window": True}, "use_sliding_window"),
        ("new", {"position_embedding_type": "absolute"}, "position_embedding_type 'absolute'"),
        ("new", {"layer_norm_type": "rms_norm"}, "layer_norm_type 'rms_norm'"),
        ("gte", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "the type 'dynamic'"),
        ("new", {"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.1}}, "mixed_b"),
        ("nomic_bert", {"rotary_emb_interleaved": True}, "rotary_emb_interleaved True"),
        ("nomic_bert", {"rotary_emb_fraction": 0.5}, "rotary_emb_fraction 0.5"),
        ("nomic_bert", {"prenorm": True}, "prenorm True"),
        ("nomic_bert", {"qkv_proj_bias": True}, "qkv_proj_bias True"),
        ("nomic_bert", {"num_experts": 8}, "num_experts 8"),
        ("nomic_bert", {"activation_function": "gelu"}, "activation_function 'gelu'"),
        ("modernbert", {"classifier_pooling": "max"}, "classifier_pooling 'max'"),
        ("modernbert", {"layer_types": ["chunked_attention"] * 22}, "'chunked_attention'"),
        ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "'yarn'"),
    ],
)
def test_what_is_not_implemented_is_rejected_by_name(
    model_type: str, changes: dict[str, object], said: str
) -> None:
    parse_config({"model_type": model_type})
    with pytest.raises(UnsupportedModelError, match=r"config\.json: ") as raised:
        parse_config({"model_type": model_type, **changes})
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("model_type", "changes", "said"),
    [
        ("nomic_bert", {"n_layer": 3, "num_hidden_layers": 4}, "n_layer 3 contradicts"),
        ("nomic_bert", {"activation_function": "swiglu", "hidden_act": "gelu"}, "contradicts"),
        ("nomic_bert", {"rotary_emb_base": 1, "rope_parameters": {"rope_theta": 2}}, "contradicts"),
        ("gte", {"rope_parameters": {"rope_theta": -1}}, "rope_theta of rope_parameters must be"),
        ("gte", {"rope_parameters": [1]}, "rope_parameters must be an object"),
        ("gte", {"hidden_size": 12, "num_attention_heads": 4}, "cannot rotate 3 of the 3"),
        ("modernbert", {"layer_types": ["full_attention"]}, "must list 22 layers"),
        ("modernbert", {"global_attn_every_n_layers": 0}, "must be a positive integer"),
        ("modernbert", {"norm_bias": "no"}, "norm_bias must be true or false"),
    ],
)
def test_contradictions_are_errors(model_type: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: ") as raised:
        parse_config({"model_type": model_type, **changes})
    assert said in str(raised.value)


def test_a_fused_tensor_of_another_size_is_named(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = rewritten(tiny_folder(Tiny("modernbert")), tmp_path, lambda name: name, {})
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.attn.Wqkv.weight"
    save_file(tensors | {name: torch.ones(95, 32)}, folder / "model.safetensors")
    with pytest.raises(TensorMismatchError, match=rf"{name} has shape \[95, 32\].*\[96, 32\]"):
        read_model(folder)


def test_the_state_dict_has_the_fused_tensors_of_transformers(tiny_folder: TinyFolder) -> None:
    folder = tiny_folder(Tiny("modernbert"))
    ours = AutoModelForSequenceClassification.from_pretrained(folder)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    held, expected = ours.state_dict(), theirs.state_dict()
    assert held.keys() == expected.keys()
    assert all(torch.equal(held[name], each) for name, each in expected.items())
    doubled = {name: 2 * each for name, each in held.items()}
    ours.load_state_dict(doubled)
    assert all(torch.equal(each, doubled[name]) for name, each in ours.state_dict().items())


def test_gaps_in_a_mask_are_rejected(tiny_folder: TinyFolder) -> None:
    """Rotary positions are counted in the packed text; transformers counts masked columns, too."""
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("gte")))
    ids, mask = torch.full((2, 6), 7), torch.ones(2, 6, dtype=torch.int64)
    left = mask.clone()
    left[1, :2] = 0
    model(ids, attention_mask=left)
    mask[1, 2] = 0
    with pytest.raises(InputError, match="row 1: attention_mask has a gap"):
        model(ids, attention_mask=mask)
    with pytest.raises(InputError, match="row 0: position_ids has a gap"):
        model(ids, position_ids=torch.tensor([[0, 1, 2, 4, 5, 6]]))

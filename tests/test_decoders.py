"""Qwen3, Qwen2 and Llama against transformers at every length and in every spelling, and ALBERT.

Each control computes with one fault that has happened elsewhere, and must be seen.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_checkpoints import Tiny, TinyFolder, fill_randomly, pad_left, pad_right, random_ids
from torch import Tensor

from isobatch.batching.packed import pack
from isobatch.checkpoint import hub_name, parse_config, read_config
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.kernels import attention, block_formula
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.model import EncoderModel, read_model, select_kernels
from isobatch.specification import HeadSpec, PositionRule
from isobatch.types import Encoding, Task

LENGTHS = (1, 2, 3, 8, 9, 10, 127, 128, 129, 511, 512)
"""Those of the window, 9, and of the blocks of kernels, each with its neighbours."""

SHAPE = {
    "vocab_size": 500,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "num_labels": 3,
    "pad_token_id": 0,
    "use_cache": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {"head_dim": 16, "rope_parameters": {"rope_theta": 1e6}}),
    "qwen3 with a window": ("qwen3", {"head_dim": 8, "attention_bias": True, **WINDOW}),
    "qwen2": ("qwen2", {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}),
    "qwen2 with a window": ("qwen2", WINDOW),
    "llama": ("llama", {"num_key_value_heads": None}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "qwen3 that reads both sides": ("qwen3", {"head_dim": 16, "is_causal": False}),
    "qwen2 that reads both sides": ("qwen2", {"is_causal": False}),
    "llama, linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
    ),
}
CLOSE = {"rtol": 0.0, "atol": 1e-5}

Case = Callable[[str], tuple[Path, transformers.PreTrainedModel]]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The folder of a case, and transformers' model of it."""

    @cache
    def made(name: str) -> tuple[Path, transformers.PreTrainedModel]:
        model_type, settings = CASES[name]
        config = transformers.AutoConfig.for_model(model_type, **{**SHAPE, **settings})
        model = transformers.AutoModelForSequenceClassification.from_config(
            config, attn_implementation="eager"
        )
        folder = tmp_path_factory.mktemp("decoder")
        fill_randomly(model).eval().save_pretrained(folder)
        return folder, model

    return made


def read(folder: Path, task: Task = "text-classification") -> EncoderModel:
    model = read_model(folder, task)
    select_kernels(model)
    return model


def rows_of(lengths: tuple[int, ...] = LENGTHS) -> list[list[int]]:
    return random_ids(lengths, Tiny("qwen3"))


@torch.no_grad()
def logits_of(model: EncoderModel, rows: list[list[int]]) -> Tensor:
    return model(pack([Encoding(row, [0] * len(row)) for row in rows], PositionRule()))


@torch.no_grad()
def theirs_alone(model: transformers.PreTrainedModel, rows: list[list[int]]) -> Tensor:
    return torch.cat([model(torch.tensor([row])).logits for row in rows])


# ----------------------------------------------------------------------------------------- parity


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers_at_every_length(name: str, case: Case) -> None:
    folder, theirs = case(name)
    ours, rows = read(folder), rows_of()
    expected = theirs_alone(theirs, rows)
    assert expected.std(0).min() > 0.1, "logits that hardly vary would be no test"
    found = logits_of(ours, rows)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert torch.equal(found, torch.cat([logits_of(ours, [row]) for row in rows]))
    assert torch.equal(found, logits_of(ours, rows[::-1]).flip(0))


@pytest.mark.parametrize("pad", [pad_right, pad_left])
@pytest.mark.parametrize("name", ["qwen3", "qwen2 with a window"])
def test_padded_batches_of_transformers_have_the_same_logits(
    name: str, pad: Callable[..., tuple[Tensor, Tensor]], case: Case
) -> None:
    """The last token is the last one that is not a pad, on either side."""
    folder, theirs = case(name)
    rows = rows_of((3, 30, 9, 9, 100))
    ids, mask = pad(rows, 0)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(logits_of(read(folder), rows), expected, **CLOSE)


def test_a_text_that_ends_with_the_pad_token_is_read_to_its_end(case: Case) -> None:
    """transformers takes its last token that is another one, and forgets the rest."""
    folder, theirs = case("qwen3")
    (row,) = rows_of((9,))
    expected = theirs_alone(theirs, [row])
    torch.testing.assert_close(theirs_alone(theirs, [[*row, 0]]), expected, **CLOSE)
    found = logits_of(read(folder), [[*row, 0]])
    assert (found - expected).abs().max() > 0.1


def test_a_checkpoint_without_a_pad_token_is_read(case: Case, tmp_path: Path) -> None:
    folder, theirs = case("llama 3")
    shutil.copytree(folder, tmp_path / "model")
    edit(tmp_path / "model", pad_token_id=None)
    rows = rows_of((3, 9))
    expected = theirs_alone(theirs, rows)
    torch.testing.assert_close(logits_of(read(tmp_path / "model"), rows), expected, **CLOSE)


@pytest.mark.parametrize("model_type", ["qwen2", "llama"])
def test_token_logits_and_gradients_are_those_of_transformers(
    model_type: str, tmp_path: Path
) -> None:
    config = transformers.AutoConfig.for_model(
        model_type, **{**SHAPE, "id2label": {0: "a", 1: "b"}}
    )
    theirs = transformers.AutoModelForTokenClassification.from_config(config)
    fill_randomly(theirs).eval().save_pretrained(tmp_path)
    ours, rows = read(tmp_path, "token-classification"), rows_of((7, 40))
    batch = pack([Encoding(row, [0] * len(row)) for row in rows], PositionRule())
    logits = ours(batch)
    expected = torch.cat([theirs(torch.tensor([row])).logits[0] for row in rows])
    torch.testing.assert_close(logits, expected, **CLOSE)
    logits.square().mean().backward()
    expected.square().mean().backward()
    wanted = {name: each.grad for name, each in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        gradient = wanted.pop(hub_name(ours.config.family, name))
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5, msg=name)
    assert not wanted


# --------------------------------------------------------------------------- faults that are seen


def without_causal_mask(monkeypatch: pytest.MonkeyPatch, model: EncoderModel) -> None:
    for block in model.blocks:
        spec = replace(block.spec.attention, causal=False)
        block.attend = attention.PackedAttention(spec)


def with_another_theta(monkeypatch: pytest.MonkeyPatch, model: EncoderModel) -> None:
    for block in model.blocks:
        spec = block.spec.attention
        rotary = replace(spec.rotary, theta=10_000.0)
        block.attend = attention.PackedAttention(replace(spec, rotary=rotary))


def with_key_heads_in_turn(monkeypatch: pytest.MonkeyPatch, model: EncoderModel) -> None:
    """Query heads 0, 2 read key head 0, as `repeat` orders them, in place of 0, 1."""

    def repeat(tensor: Tensor, times: int, dim: int) -> Tensor:
        return torch.cat([tensor] * times, dim)

    monkeypatch.setattr(Tensor, "repeat_interleave", repeat)


def with_a_window_of_one_more(monkeypatch: pytest.MonkeyPatch, model: EncoderModel) -> None:
    for block in model.blocks:
        spec = block.spec.attention
        window = None if spec.window is None else spec.window + 1
        block.attend = attention.PackedAttention(replace(spec, window=window))


def with_heads_normalized_after_turning(
    monkeypatch: pytest.MonkeyPatch, model: EncoderModel
) -> None:
    normalize = block_formula.BlockOperations.normalize_heads
    pending: list[Any] = []
    monkeypatch.setattr(
        block_formula.BlockOperations,
        "normalize_heads",
        lambda self, name, x: pending.append((self, name)) or x,
    )
    turn = attention.rotate

    def rotated(heads: Tensor, *arguments: Any) -> Tensor:
        turned = turn(heads, *arguments)
        operations, name = pending[-1] if len(pending) == 2 else pending[-2]
        pending.append(pending[-1])
        return normalize(operations, name, turned.flatten(2)).view(turned.shape)

    monkeypatch.setattr(attention, "rotate", rotated)


def reading_the_first_row(monkeypatch: pytest.MonkeyPatch, model: EncoderModel) -> None:
    spec = model.head.spec
    model.head.spec = HeadSpec(("first",), spec.steps)


FAULTS = {
    "no causal mask": ("qwen3", without_causal_mask),
    "theta": ("qwen3", with_another_theta),
    "key heads in turn": ("qwen2", with_key_heads_in_turn),
    "window": ("qwen2 with a window", with_a_window_of_one_more),
    "norm after rotary": ("qwen3", with_heads_normalized_after_turning),
    "first row": ("llama", reading_the_first_row),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")  # where the faults are planted
    name, plant = FAULTS[fault]
    folder, theirs = case(name)
    ours, rows = read(folder), rows_of((10, 40))
    expected = theirs_alone(theirs, rows)
    torch.testing.assert_close(logits_of(ours, rows), expected, **CLOSE)
    plant(monkeypatch, ours)
    assert (logits_of(ours, rows) - expected).abs().max() > 1e-3


# ------------------------------------------------------------------------------------ config.json


def edit(folder: Path, removed: tuple[str, ...] = (), **changes: object) -> None:
    path = folder / "config.json"
    raw = {key: value for key, value in json.loads(path.read_text()).items() if key not in removed}
    path.write_text(json.dumps(raw | changes))


def old_spelling(raw: dict[str, Any]) -> dict[str, Any]:
    """The keys as transformers 4 wrote them."""
    rope = dict(raw.pop("rope_parameters"))
    raw["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    raw["rope_scaling"] = None if rope == {"type": "default"} else rope
    raw.pop("layer_types", None)
    return raw


@pytest.mark.parametrize("name", CASES)
def test_old_spellings_mean_the_same(name: str, case: Case) -> None:
    folder, _ = case(name)
    raw = json.loads((folder / "config.json").read_text())
    assert parse_config(old_spelling(raw)).encoder == read_config(folder).encoder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value"),
        ({"layer_types": ["full_attention", "chunked"]}, "layer_types has 'chunked'"),
        ({"layer_types": ["full_attention"]}, "layer_types must list 2 layers"),
        ({"layer_types": ["sliding_attention"] * 2}, "as use_sliding_window is false"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "of the type 'yarn'"),
        ({"token_classification_bias": False}, "token_classification_bias False is not supported"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(
    changes: dict[str, object], words: str, case: Case
) -> None:
    raw = json.loads((case("qwen3")[0] / "config.json").read_text())
    with pytest.raises((UnsupportedModelError, CheckpointError), match=words):
        parse_config(raw | changes)


# ---------------------------------------------------------------------------------------- ALBERT


def albert_folder(folder: Path, **settings: object) -> tuple[Path, transformers.PreTrainedModel]:
    shape = {
        key: SHAPE[key] for key in SHAPE if key not in ("num_key_value_heads", "use_cache")
    } | {"num_hidden_layers": 5, "embedding_size": 24}
    config = transformers.AutoConfig.for_model("albert", **{**shape, **settings})
    model = transformers.AutoModelForSequenceClassification.from_config(
        config, attn_implementation="eager"
    )
    fill_randomly(model).eval().save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_layers_of_albert_share_the_weights_of_groups(groups: int, tmp_path: Path) -> None:
    folder, theirs = albert_folder(tmp_path, num_hidden_groups=groups)
    ours, rows = read(folder), rows_of()
    assert len(ours.blocks) == groups
    assert len(ours.layers) == 5
    torch.testing.assert_close(logits_of(ours, rows), theirs_alone(theirs, rows), **CLOSE)


def test_albert_projects_embeddings_of_the_same_width(tmp_path: Path) -> None:
    folder, theirs = albert_folder(tmp_path, embedding_size=32)
    rows = rows_of((5, 9))
    found = logits_of(read(folder), rows)
    torch.testing.assert_close(found, theirs_alone(theirs, rows), **CLOSE)


def test_layers_that_share_weights_have_places_of_dropout_of_their_own(
    tiny_folder: TinyFolder,
) -> None:
    seen: list[int] = []

    class Recorder:
        def rows(self, x: Tensor, probability: float, place: int, rows: object) -> Tensor:
            seen.extend([place] * bool(probability))
            return x

        def attention(self, weights: Tensor, probability: float, place: int, _: object) -> Tensor:
            seen.extend([place] * bool(probability))
            return weights

    model = read_model(tiny_folder(Tiny("albert", num_layers=3))).train()
    batch = pack([Encoding([5, 6, 7], [0] * 3)], PositionRule())
    model(batch, dropout=Recorder())
    assert len(model.blocks) < len(model.layers) == 4
    assert len(seen) == len(set(seen)) == 2 + 2 * len(model.layers)


def test_what_albert_does_not_implement_is_refused(tmp_path: Path) -> None:
    folder, _ = albert_folder(tmp_path)
    raw = json.loads((folder / "config.json").read_text())
    with pytest.raises(UnsupportedModelError, match="inner_group_num 2 is not supported, only 1"):
        parse_config(raw | {"inner_group_num": 2})
    with pytest.raises(CheckpointError, match="num_hidden_groups 6 is more than the 5 layers"):
        parse_config(raw | {"num_hidden_groups": 6})

"""ModernBERT, GTE and NomicBERT: parity at every length that matters, and what must not pass it.

transformers is the reference, eager and in float32. Negative controls load the same weights into a
model of another specification; each has to differ, or parity would hold nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_checkpoints import (
    ROTARY_FAMILIES,
    Tiny,
    TinyFolder,
    fill_randomly,
    random_ids,
    reference_model,
    tiny_config,
)
from torch import Tensor

from isobatch.batching.packed import pack
from isobatch.checkpoint import ModelConfig, parse_config
from isobatch.errors import UnsupportedModelError
from isobatch.model import (
    EncoderModel,
    empty_model,
    parameter_shapes,
    read_model,
    select_kernels,
)
from isobatch.specification import BlockSpec, Rotary
from isobatch.types import Encoding, Task

CLOSE = {"rtol": 0.0, "atol": 1e-5}
LENGTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 511, 512)
"""The windows are 8 and 64 tokens to each side; around their widths, too."""

TINIES = [Tiny(family, num_layers=4, num_labels=3) for family in ROTARY_FAMILIES]
TINIES.append(Tiny("modernbert", num_layers=4, num_labels=3, local_attention=128))
NAMES = (*ROTARY_FAMILIES, "modernbert-128")


def logits_of(model: EncoderModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """The logits of each row computed alone, one after another."""
    positions = model.config.encoder.positions
    alone = [pack([Encoding(row, [0] * len(row))], positions) for row in rows]
    with torch.no_grad():
        return torch.cat([model(each) for each in alone])


def with_kernels(folder: Path, task: Task = "text-classification") -> EncoderModel:
    model = read_model(folder, task)
    select_kernels(model)
    return model


@pytest.mark.parametrize("tiny", TINIES, ids=NAMES)
def test_logits_are_those_of_transformers_at_every_length(
    tiny: Tiny, tiny_folder: TinyFolder
) -> None:
    ours, theirs = with_kernels(tiny_folder(tiny)), reference_model(tiny_folder(tiny))
    for row in random_ids(LENGTHS, tiny):
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([row])).logits
        torch.testing.assert_close(logits_of(ours, [row]), expected, **CLOSE, msg=str(len(row)))


def test_modernbert_takes_half_the_width_of_its_window_as_sliding_window() -> None:
    def windows(**settings: int) -> set[int | None]:
        layers = parse_config({"model_type": "modernbert", **settings}).encoder.layers
        return {layer.attention.window for layer in layers}

    assert windows(local_attention=64) == {None, 32}
    theirs = transformers.ModernBertConfig(local_attention=64, sliding_window=3)
    assert theirs.local_attention == 6
    assert windows(local_attention=64, sliding_window=3) == {None, 3}


def test_gte_has_heads_that_share_its_size_evenly() -> None:
    parse_config({"model_type": "gte", "head_dim": 64})
    with pytest.raises(UnsupportedModelError, match="head_dim 32 is not supported, only 64"):
        parse_config({"model_type": "gte", "head_dim": 32})


@pytest.mark.parametrize("family", ROTARY_FAMILIES)
def test_logits_of_tokens_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    tiny = Tiny(family, num_labels=3)
    theirs = transformers.AutoModelForTokenClassification.from_config(
        tiny_config(tiny), attn_implementation="eager"
    )
    fill_randomly(theirs).eval().save_pretrained(tmp_path)
    ours = with_kernels(tmp_path, "token-classification")
    for row in random_ids((1, 2, 9, 17, 40), tiny):
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([row])).logits[0]
        torch.testing.assert_close(logits_of(ours, [row]), expected, **CLOSE)


def test_the_mean_of_rows_is_pooled_as_transformers_pools_it(tmp_path: Path) -> None:
    tiny = Tiny("modernbert", num_labels=3)
    config = tiny_config(tiny)
    config.classifier_pooling = "mean"
    theirs = transformers.AutoModelForSequenceClassification.from_config(config)
    fill_randomly(theirs).eval().save_pretrained(tmp_path)
    ours, rows = with_kernels(tmp_path), random_ids((1, 3, 30), tiny)
    assert ours.head.spec.pools == ("mean",)
    with torch.no_grad():
        expected = torch.cat([theirs(torch.tensor([row])).logits for row in rows])
    torch.testing.assert_close(logits_of(ours, rows), expected, **CLOSE)


@pytest.mark.parametrize(
    "keys", [("attention_bias",), ("mlp_bias",), ("norm_bias", "classifier_bias")]
)
def test_biases_of_modernbert(keys: tuple[str, ...], tmp_path: Path) -> None:
    tiny = Tiny("modernbert")
    config = tiny_config(tiny)
    config.update(dict.fromkeys(keys, True))
    theirs = transformers.AutoModelForSequenceClassification.from_config(config)
    fill_randomly(theirs).eval().save_pretrained(tmp_path)
    rows = random_ids((3, 30), tiny)
    with torch.no_grad():
        expected = torch.cat([theirs(torch.tensor([row])).logits for row in rows])
    torch.testing.assert_close(logits_of(with_kernels(tmp_path), rows), expected, **CLOSE)


# ---------------------------------------------------------------------------- negative controls
# In training without dropout, which needs no selected kernels.


def changed(spec: BlockSpec, **attention: Any) -> BlockSpec:
    return replace(spec, attention=replace(spec.attention, **attention))


def widen(spec: BlockSpec) -> BlockSpec:
    window = spec.attention.window
    return spec if window is None else changed(spec, window=window + 1)


def narrow(spec: BlockSpec) -> BlockSpec:
    window = spec.attention.window
    return spec if window is None else changed(spec, window=window - 1)


def turn_faster(spec: BlockSpec) -> BlockSpec:
    rotary = spec.attention.rotary
    assert rotary is not None
    other = 10_000.0 if rotary.theta == 160_000.0 else 160_000.0
    return changed(spec, rotary=Rotary(other, rotary.size))


def with_first_norm(spec: BlockSpec) -> BlockSpec:
    return replace(spec, norms=("attention_input_norm", "feed_forward_input_norm"))


CONTROLS: dict[str, tuple[tuple[str, ...], Callable[[BlockSpec], BlockSpec]]] = {
    "a window too wide": (("modernbert",), widen),
    "a window too narrow": (("modernbert",), narrow),
    "theta of the other kind": (ROTARY_FAMILIES, turn_faster),
    "no positions": (ROTARY_FAMILIES, lambda spec: changed(spec, rotary=None)),
    "a norm in the first layer": (("modernbert",), with_first_norm),
}


@pytest.mark.parametrize(
    ("family", "control"), [(each, name) for name, (of, _) in CONTROLS.items() for each in of]
)
def test_another_specification_has_other_logits(
    family: str, control: str, tiny_folder: TinyFolder
) -> None:
    tiny = Tiny(family, num_layers=4, num_labels=3, dropout=0.0)
    plain = read_model(tiny_folder(tiny)).train()
    encoder = plain.config.encoder
    layers = tuple(CONTROLS[control][1](layer) for layer in encoder.layers)
    wrong = with_weights(replace(plain.config, encoder=replace(encoder, layers=layers)), plain)
    rows = random_ids((30,), tiny)
    assert (logits_of(plain, rows) - logits_of(wrong, rows)).abs().max() > 1e-3


@pytest.mark.parametrize("family", ROTARY_FAMILIES)
def test_swapped_halves_of_the_gate_have_other_logits(family: str, tiny_folder: TinyFolder) -> None:
    tiny = Tiny(family, num_layers=4, num_labels=3, dropout=0.0)
    plain = read_model(tiny_folder(tiny)).train()
    tensors = plain.state_dict()
    for name in [name for name in tensors if ".gate." in name]:
        up = name.replace(".gate.", ".up.")
        tensors[name], tensors[up] = tensors[up], tensors[name]
    wrong = empty_model(plain.config).train()
    wrong.load_state_dict(tensors)
    rows = random_ids((30,), tiny)
    assert (logits_of(plain, rows) - logits_of(wrong, rows)).abs().max() > 1e-3


def with_weights(config: ModelConfig, plain: EncoderModel) -> EncoderModel:
    """A model of `config` with the weights of `plain`, and ones where it has more."""
    model = empty_model(config).train()
    ones = {name: torch.ones(shape) for name, shape in parameter_shapes(model).items()}
    model.load_state_dict(ones | plain.state_dict())
    return model

"""Attention by distance: T5's groups of MPNet, and disentangled attention of DeBERTa.

Against transformers, with negative controls: each fault that was seen elsewhere must show.
"""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_blocks import block_spec, compute, random_context, random_weights, same_bits
from tiny_checkpoints import Tiny, TinyFolder, fill_randomly, random_ids, tiny_config
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from isobatch.batching.packed import pack
from isobatch.checkpoint import read_config
from isobatch.errors import CheckpointError, UnsupportedModelError
from isobatch.kernels import KernelSelector, compiled, disentangled, distances
from isobatch.kernels.attention import PackedAttention
from isobatch.kernels.block_formula import KeptPositions
from isobatch.kernels.compiled import distance_panels
from isobatch.kernels.compiled.variants import TORCH, VARIABLE
from isobatch.kernels.disentangled import distance_scores, multiply_plainly
from isobatch.model import EncoderModel, read_model, read_packed_model, select_kernels
from isobatch.specification import Disentangled
from isobatch.types import Encoding, Rows

CPU = torch.device("cpu")
LENGTHS = (1, 2, 3, 17, 127, 128, 129, 511, 512)
DEBERTA, MPNET = Tiny("deberta-v2"), Tiny("mpnet")
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def logits_of(model: EncoderModel, rows: list[list[int]]) -> Tensor:
    batch = pack([Encoding(row, [0] * len(row)) for row in rows], model.config.encoder.positions)
    with torch.no_grad():
        return model(batch)


def reference_logits(model: PreTrainedModel, rows: list[list[int]]) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])


# --------------------------------------------------------------------------- groups of distances


@pytest.mark.parametrize(
    ("groups", "longest"), [(256, 512), (32, 512), (64, 128), (48, 500), (16, 64), (4, 16)]
)
def test_a_distance_has_the_row_of_transformers(groups: int, longest: int) -> None:
    numbers = torch.arange(-700, 701)
    expected = make_log_bucket_position(numbers, groups, longest).long() + groups
    found = distances.rows_by_logarithm(numbers.numpy(), Disentangled(groups, longest))
    assert np.array_equal(found, expected.clamp(0, 2 * groups - 1).numpy())


def test_mpnets_distances_have_the_rows_of_transformers() -> None:
    numbers = torch.arange(-1000, 1001)
    expected = MPNetEncoder.relative_position_bucket(numbers)
    assert np.array_equal(distances.t5_rows(numbers.numpy()), expected.numpy())
    assert len(expected.unique()) == 31, "no distance after the query is 0"


# ----------------------------------------------------------------------------------- the settings

SETTINGS: dict[str, dict[str, object]] = {
    "as version 3": {},
    "base": {"position_buckets": 256},
    "own projections": {"share_att_key": False},
    "c2p": {"pos_att_type": ["c2p"]},
    "p2c, own projections": {"pos_att_type": "p2c", "share_att_key": False},
    "no groups": {"position_buckets": -1, "max_relative_positions": 40},
    "groups to 100": {"position_buckets": 16, "max_relative_positions": 100},
    "no norm": {"norm_rel_ebd": "none"},
    "positions and types": {"position_biased_input": True, "type_vocab_size": 2},
    "no distances": {"relative_attention": False, "norm_rel_ebd": "none"},
}


def write_deberta(folder: Path, **settings: object) -> PreTrainedModel:
    config = tiny_config(DEBERTA)
    for name, value in settings.items():
        setattr(config, name, value)
    reread = type(config)(**config.to_dict())  # which brings pos_att_type to a list
    model = fill_randomly(AutoModelForSequenceClassification.from_config(reread)).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_setting_of_deberta_has_the_logits_of_transformers(
    settings: str, tmp_path: Path
) -> None:
    reference = write_deberta(tmp_path, **SETTINGS[settings])
    model, _ = read_packed_model(tmp_path, CPU)
    rows = random_ids(LENGTHS, DEBERTA)
    found = logits_of(model, rows)
    torch.testing.assert_close(found, reference_logits(reference, rows), **CLOSE)
    assert torch.equal(torch.cat([logits_of(model, [row]) for row in rows]), found)


@pytest.mark.parametrize(
    ("error", "settings", "message"),
    [
        (UnsupportedModelError, {"conv_kernel_size": 3}, "conv_kernel_size 3 is not supported"),
        (UnsupportedModelError, {"embedding_size": 16}, "embedding_size 16 is not supported"),
        (
            UnsupportedModelError,
            {"attention_head_size": 16},
            "attention_head_size 16 is not supported",
        ),
        (UnsupportedModelError, {"pos_att_type": "c2p|p2p"}, "pos_att_type 'p2p' is not supported"),
        (CheckpointError, {"pos_att_type": None}, "relative_attention needs a pos_att_type"),
        (CheckpointError, {"position_buckets": 2000}, "position_buckets of less than"),
        (CheckpointError, {"position_buckets": "many"}, "position_buckets must be an integer"),
    ],
)
def test_settings_that_cannot_be_computed_are_rejected_by_name(
    error: type[CheckpointError],
    settings: dict[str, object],
    message: str,
    tiny_folder: TinyFolder,
    tmp_path: Path,
) -> None:
    raw = json.loads((tiny_folder(DEBERTA) / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(raw | settings), "utf-8")
    with pytest.raises(error, match=message):
        read_config(tmp_path)


# ------------------------------------------------------------------------------ negative controls


FAULTS: dict[str, Callable[..., Tensor]] = {
    "the other direction": lambda rule, length: _rows(rule, length).flip(0),
    "one row further": lambda rule, length: (_rows(rule, length) + 1).clamp_max(2 * rule.span - 1),
    "far distances one row further": lambda rule, length: torch.where(
        _rows(rule, length) > rule.span + rule.span // 2,
        (_rows(rule, length) + 1).clamp_max(2 * rule.span - 1),
        _rows(rule, length),
    ),
}
_rows = distances.distance_rows

PANEL_FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "p2c with the other sign": lambda rows: torch.stack([rows[0], -rows[1]]),
    "p2c transposed": lambda rows: torch.stack([rows[0], rows[1].flip(1)]),
    "c2p transposed": lambda rows: torch.stack([rows[0].flip(1), rows[1]]),
    "c2p and p2c swapped": lambda rows: rows.flip(0),
    "rows of the next head": lambda rows: rows.roll(1, 1),
}
"""Of the projected rows [products, heads, rows, size]."""
compiled_only = pytest.mark.skipif(
    compiled.unavailable("fp32") is not None, reason="no compiled kernels run here"
)


@pytest.fixture
def rows() -> list[list[int]]:
    return random_ids((60,), DEBERTA)


@pytest.fixture
def expected(tiny_folder: TinyFolder, rows: list[list[int]]) -> Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(DEBERTA))
    return reference_logits(model.eval(), rows)


@pytest.fixture
def in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, TORCH)


def deberta_logits(tiny_folder: TinyFolder, rows: list[list[int]]) -> Tensor:
    return logits_of(read_packed_model(tiny_folder(DEBERTA), CPU)[0], rows)


@pytest.mark.parametrize("way", [None, TORCH])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_row_of_a_distance_is_found(
    fault: str,
    way: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: TinyFolder,
    rows: list[list[int]],
    expected: Tensor,
) -> None:
    if way is not None:
        monkeypatch.setenv(VARIABLE, way)
    assert torch.allclose(deberta_logits(tiny_folder, rows), expected, **CLOSE)
    for module in (disentangled, distance_panels):
        monkeypatch.setattr(module, "distance_rows", FAULTS[fault])
    distance_panels.listed_rows.cache_clear()
    try:
        assert not torch.allclose(deberta_logits(tiny_folder, rows), expected, atol=1e-3)
    finally:
        distance_panels.listed_rows.cache_clear()


@compiled_only
@pytest.mark.parametrize("fault", PANEL_FAULTS)
def test_wrong_panels_of_a_compiled_layer_are_found(
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: TinyFolder,
    rows: list[list[int]],
    expected: Tensor,
) -> None:
    right = distance_panels.project_positions
    change = PANEL_FAULTS[fault]
    assert torch.allclose(deberta_logits(tiny_folder, rows), expected, **CLOSE)
    monkeypatch.setattr(distance_panels, "project_positions", lambda *given: change(right(*given)))
    assert not torch.allclose(deberta_logits(tiny_folder, rows), expected, atol=1e-3)


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("fault", ["p2c with the other sign", "p2c transposed", "c2p transposed"])
@pytest.mark.parametrize("place", ["_of_all", "_of_one"])
def test_a_product_of_another_sign_or_direction_is_found(
    place: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: TinyFolder,
    rows: list[list[int]],
    expected: Tensor,
) -> None:
    """In the first layer, which computes all rows, and in the last, which computes one."""
    right = getattr(disentangled, place)

    def wrong(of_queries: bool, query: Tensor, key: Tensor, *others: Any) -> Tensor:
        scores = right(of_queries, query, key, *others)
        if of_queries != fault.startswith("c2p"):
            return scores
        if "sign" in fault:
            return -scores
        return scores.flip(3) if place == "_of_one" else scores.transpose(2, 3)

    monkeypatch.setattr(disentangled, place, wrong)
    assert not torch.allclose(deberta_logits(tiny_folder, rows), expected, atol=1e-3)


def test_a_transposed_bias_of_mpnet_is_found(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: TinyFolder
) -> None:
    rows = random_ids((60,), MPNET)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(MPNET)).eval()
    expected, right = reference_logits(model, rows), distances.toeplitz
    found = logits_of(read_packed_model(tiny_folder(MPNET), CPU)[0], rows)
    assert torch.allclose(found, expected, **CLOSE)
    monkeypatch.setattr(
        "isobatch.model.relative_positions.toeplitz", lambda *given: right(*given).flip(1)
    )
    found = logits_of(read_packed_model(tiny_folder(MPNET), CPU)[0], rows)
    assert not torch.allclose(found, expected, atol=1e-3)


# ---------------------------------------------------------------------- rows that a model keeps


def test_one_row_has_the_scores_that_it_has_among_all() -> None:
    rule = Disentangled(8, 30)
    generator = torch.Generator().manual_seed(3)
    q, k = torch.randn(2, 2, 3, 21, 5, generator=generator).unbind(0)
    positions = torch.randn(2, 3, 16, 5, generator=generator)
    whole = distance_scores(rule, q, k, positions, Rows.ALL, multiply_plainly)
    first = distance_scores(rule, q[:, :, :1], k, positions, Rows.FIRST, multiply_plainly)
    last = distance_scores(rule, q[:, :, -1:], k, positions, Rows.LAST, multiply_plainly)
    torch.testing.assert_close(first, whole[:, :, :1])
    torch.testing.assert_close(last, whole[:, :, -1:])


@pytest.mark.usefixtures("in_torch")
def test_scores_that_do_not_fit_into_memory_are_computed_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = block_spec(32, 4, 48, positions="disentangled", distances=Disentangled(9))
    kernel = KernelSelector(CPU).select_packed_block(random_weights(spec))
    lengths = (11,) * 7
    x, context = torch.randn(77, 32), random_context(spec, lengths)
    expected, counts = compute(kernel, x, lengths, context=context), []
    right = PackedAttention._attend

    def counted(self: PackedAttention, *given: Any) -> Tensor:
        counts.append(given[3].num_sequences)
        return right(self, *given)

    monkeypatch.setattr(PackedAttention, "_attend", counted)
    monkeypatch.setattr("isobatch.kernels.attention._MOST_SCORES", 3 * 4 * 11 * 11)
    assert same_bits(compute(kernel, x, lengths, context=context), expected)
    assert counts == [3, 3, 1]


@pytest.mark.usefixtures("in_torch")
def test_rows_of_distances_are_projected_once(tiny_folder: TinyFolder) -> None:
    model, _ = read_packed_model(tiny_folder(DEBERTA), CPU)
    kept = model.blocks[0].kernel._operations.project
    assert isinstance(kept, KeptPositions)
    rows = random_ids((5, 9), DEBERTA)
    found, first = logits_of(model, rows), kept._kept
    assert same_bits(logits_of(model, rows), found)
    assert kept._kept is first
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.blocks[0].kernel._operations.project._kept == (None, None)
        assert same_bits(logits_of(copied, rows), found)


@compiled_only
def test_panels_of_distances_are_made_once(tiny_folder: TinyFolder) -> None:
    model, _ = read_packed_model(tiny_folder(DEBERTA), CPU)
    kernel, rows = model.blocks[0].kernel, random_ids((5, 9), DEBERTA)
    found, first = logits_of(model, rows), kernel._panels
    assert isinstance(first, distance_panels.DistancePanels)
    assert same_bits(logits_of(model, rows), found)
    assert kernel._panels is first
    copied = pickle.loads(pickle.dumps(model))
    assert copied.blocks[0].kernel._panels is None
    assert same_bits(logits_of(copied, rows), found)


@compiled_only
def test_panels_follow_another_table() -> None:
    """The inverse: panels are those of the tensor that is given."""
    spec = block_spec(32, 4, 48, positions="disentangled", distances=Disentangled(9))
    weights, x = random_weights(spec), torch.randn(5, 32)
    kernel = compiled.PackedBlock(weights, "fp32")
    context = random_context(spec, (5,))
    expected = compute(kernel, x, (5,), context=context)
    assert not same_bits(compute(kernel, x, (5,), context=context * 2), expected)
    assert same_bits(compute(kernel, x, (5,), context=context.clone()), expected)
    with pytest.raises(TypeError, match=r"expected torch\.float32 \[18, 32\]"):
        compute(kernel, x, (5,), context=context[:-1])


def test_rows_that_inference_asked_for_first_serve_training(tiny_folder: TinyFolder) -> None:
    """torch saves no tensor for a gradient that was made in inference mode."""
    distances.distance_rows.cache_clear()
    distances._t5_rows.cache_clear()
    for tiny in (DEBERTA, MPNET):
        rows = random_ids((9,), tiny)
        with torch.inference_mode():
            logits_of(read_packed_model(tiny_folder(tiny), CPU)[0], rows)
        model = read_model(tiny_folder(tiny)).train()
        model(pack([Encoding(rows[0], [0] * 9)], model.config.encoder.positions)).sum().backward()
        assert model.relative_positions.table.weight.grad.abs().max() > 1e-3


def test_a_trainable_model_reads_its_present_table(tiny_folder: TinyFolder) -> None:
    """The inverse: a model that is trained must not keep them."""
    model = read_model(tiny_folder(DEBERTA))
    select_kernels(model)
    rows = random_ids((9,), DEBERTA)
    before = logits_of(model, rows)
    with torch.no_grad():
        model.relative_positions.table.weight.mul_(0.5)
        model.relative_positions.norm.bias.add_(1.0)
    assert not torch.allclose(logits_of(model, rows), before, atol=1e-3)

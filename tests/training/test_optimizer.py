"""The optimizer: torch's AdamW to the last digits, the same bits for any number of threads."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_checkpoints import Tiny, TinyFolder
from training_process import make_weights
from training_runs import make_examples, make_recipe

from isobatch.ambient import isolated
from isobatch.training.steps import optimizer as optimizer_module
from isobatch.training.steps.block_gradients import WORDS, BlockGradients
from isobatch.training.steps.gradient_engine import LocalEngine, StepGradient, single_threads
from isobatch.training.steps.optimizer import Optimizer, learning_rate


def steps(
    folder: object, threads: int, numbers: tuple[int, ...] = (1, 2, 3), **values: object
) -> dict[str, torch.Tensor]:
    """Weights, moments and averages after the steps with these numbers."""
    tiny = Tiny("bert")
    examples = make_examples(tiny)
    recipe = make_recipe(tiny, examples, **values)
    weights = make_weights(folder, examples)  # type: ignore[arg-type]
    with single_threads(threads) as pool:
        engine = LocalEngine(BlockGradients(weights, examples, recipe), pool)
        optimizer = Optimizer(weights, recipe, pool)
        for number in numbers:
            gradient = engine.compute([(0, 1), (2, 3), (4, 5, 6)], number)
            optimizer.step(gradient, number, 1e-2)
        return {name: tensor.clone() for name, tensor in optimizer.tensors.items()}


def test_threads_change_no_bit(tiny_folder: TinyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_module, "PIECE", 256)
    folder = tiny_folder(Tiny("bert"))
    expected = steps(folder, 1)
    for threads in (2, 4):
        found = steps(folder, threads)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_default_dtype_changes_no_bit(tiny_folder: TinyFolder) -> None:
    """In bfloat16 the number of step 258 would be rounded to 256."""
    folder = tiny_folder(Tiny("bert"))
    expected = steps(folder, 1, (258,))
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        with isolated():
            torch.set_default_dtype(dtype)
            try:
                found = steps(folder, 1, (258,))
            finally:
                torch.set_default_dtype(torch.float32)
        assert all(torch.equal(found[name], expected[name]) for name in expected), dtype


def test_it_is_torch_s_adamw(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert", dropout=0.0)
    examples = make_examples(tiny, 8)
    recipe = make_recipe(tiny, examples, layer_decay=1.0, weight_decay=0.1, clip_norm=0.5)
    weights = make_weights(tiny_folder(tiny), examples)
    assert weights.words is not None
    copies = [
        each.detach().clone().requires_grad_() for each in [*weights.parameters, weights.words]
    ]
    tables = [name.startswith("embeddings.") for name in [*weights.names, WORDS]]
    decays = [copy.ndim == 2 and not table for copy, table in zip(copies, tables, strict=True)]
    reference = torch.optim.AdamW(
        [
            {"params": [c for c, d in zip(copies, decays, strict=True) if d], "weight_decay": 0.1},
            {
                "params": [c for c, d in zip(copies, decays, strict=True) if not d],
                "weight_decay": 0,
            },
        ],
        lr=1e-2,
    )
    with single_threads(1) as pool:
        engine = LocalEngine(BlockGradients(weights, examples, recipe), pool)
        optimizer = Optimizer(weights, recipe, pool)
        for number in range(1, 5):
            gradient = engine.compute([tuple(range(8))], 0)
            table = torch.zeros_like(weights.words)
            for rows, words in gradient.words:
                table.index_add_(0, rows, words)
            for copy, each in zip(copies, [*gradient.parameters, table], strict=True):
                copy.grad = each / 8
            norm = torch.nn.utils.clip_grad_norm_(copies, 0.5)
            reference.step()
            assert optimizer.step(gradient, number, 1e-2) == pytest.approx(float(norm), rel=1e-5)
    for copy, moments in zip(copies, optimizer.moments, strict=True):
        assert torch.allclose(copy, moments.weight, rtol=1e-4, atol=1e-5), moments.name


def test_layers_have_rates_and_only_matrices_decay(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert")
    examples = make_examples(tiny)
    weights = make_weights(tiny_folder(tiny), examples)
    with single_threads(1) as pool:
        moments = Optimizer(weights, make_recipe(tiny, examples, layer_decay=0.5), pool).moments
    rates = {each.name: each.rate for each in moments}
    assert rates["head.output.weight"] == rates["blocks.1.norm.bias"] == 1.0
    assert rates["blocks.0.up.weight"] == 0.5
    assert rates[WORDS] == rates["embeddings.norm.weight"] == 0.25
    decaying = {each.name for each in moments if each.decays}
    assert "blocks.0.attention.query.weight" in decaying
    assert "head.dense.weight" in decaying
    assert not decaying & {WORDS, "embeddings.position.weight", "head.output.bias"}


@pytest.mark.parametrize("model_type", ["deberta-v2", "mpnet"])
def test_tables_of_distances_are_embeddings(model_type: str, tiny_folder: TinyFolder) -> None:
    """Every layer reads them, the first one too."""
    tiny = Tiny(model_type)
    examples = make_examples(tiny)
    weights = make_weights(tiny_folder(tiny), examples)
    with single_threads(1) as pool:
        moments = Optimizer(weights, make_recipe(tiny, examples, layer_decay=0.5), pool).moments
    rates = {each.name: each.rate for each in moments}
    assert rates["relative_positions.table.weight"] == rates[WORDS] == 0.25
    frozen = make_weights(tiny_folder(tiny), examples, freeze=1).names
    assert not [name for name in frozen if name.startswith("relative_positions.")]


def test_a_gradient_that_is_not_finite_changes_nothing(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert")
    examples = make_examples(tiny)
    weights = make_weights(tiny_folder(tiny), examples)
    with single_threads(1) as pool:
        optimizer = Optimizer(weights, make_recipe(tiny, examples), pool)
        before = {name: tensor.clone() for name, tensor in optimizer.tensors.items()}
        broken = [torch.full_like(each, math.nan) for each in weights.parameters]
        assert weights.words is not None
        words = [(torch.tensor([0]), weights.words[:1].detach())]
        assert math.isnan(optimizer.step(StepGradient(broken, words, np.zeros(2)), 1, 1e-2))
    assert all(torch.equal(before[name], each) for name, each in optimizer.tensors.items())


def test_the_norm_of_a_gradient_whose_squares_overflow_float32(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert")
    examples = make_examples(tiny)
    weights = make_weights(tiny_folder(tiny), examples)
    with single_threads(1) as pool:
        optimizer = Optimizer(weights, make_recipe(tiny, examples), pool)
        huge = [torch.zeros_like(each) for each in weights.parameters]
        huge[0].view(-1)[:2] = torch.tensor([3e25, 4e25])
        gradient = StepGradient(huge, [], np.zeros(2))
        gradient.words = [(torch.zeros(0, dtype=torch.int64), weights.words[:0])]  # type: ignore[index]
        assert optimizer.step(gradient, 1, 1e-3) == pytest.approx(2.5e25, rel=1e-6)


def test_words_that_no_text_has_keep_their_vectors(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert")
    examples = make_examples(tiny, 4)
    weights = make_weights(tiny_folder(tiny), examples)
    before = weights.model.embeddings.word.weight.detach().clone()
    recipe = make_recipe(tiny, examples)
    with single_threads(1) as pool:
        engine = LocalEngine(BlockGradients(weights, examples, recipe), pool)
        Optimizer(weights, recipe, pool).step(engine.compute([(0, 1, 2, 3)], 0), 1, 1e-2)
    weights.write_words()
    changed = (weights.model.embeddings.word.weight != before).any(dim=1).nonzero()[:, 0]
    used = {index for encoding in examples.encodings for index in encoding.input_ids}
    assert {*changed.tolist()} == used


def test_the_average_is_exchanged_exactly(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert")
    examples = make_examples(tiny)
    weights = make_weights(tiny_folder(tiny), examples)
    recipe = make_recipe(tiny, examples)
    with single_threads(1) as pool:
        engine = LocalEngine(BlockGradients(weights, examples, recipe), pool)
        optimizer = Optimizer(weights, recipe, pool)
        optimizer.step(engine.compute([(0, 1, 2, 3)], 0), 1, 1e-2)
        before = {name: tensor.clone() for name, tensor in optimizer.tensors.items()}
        optimizer.exchange_average()
        assert torch.equal(optimizer.tensors[f"weight.{WORDS}"], before[f"average.{WORDS}"])
        assert not torch.equal(before[f"average.{WORDS}"], before[f"weight.{WORDS}"])
        optimizer.exchange_average()
    assert all(torch.equal(before[name], each) for name, each in optimizer.tensors.items())


def test_the_rate_rises_and_falls() -> None:
    tiny = Tiny("bert")
    recipe = replace(make_recipe(tiny, make_examples(tiny)), learning_rate=1.0, warm_up=0.1)
    rates = [learning_rate(recipe, number, 100) for number in range(1, 101)]
    assert rates[9] == 1.0 == max(rates)
    assert rates[0] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.02
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)

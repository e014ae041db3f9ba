"""Gradients of blocks: the sum of single texts', with dropout, and that of transformers without."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_checkpoints import FAMILIES, Tiny, TinyFolder, reference_model
from training_process import make_weights
from training_runs import make_examples, make_recipe

from isobatch.training.recipe import Recipe, TrainingTask
from isobatch.training.steps.block_gradients import WORDS, BlockGradients, TrainedWeights
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.gradient_engine import LocalEngine, single_threads
from isobatch.training.steps.order import GradientBlock, cut_blocks

TASKS: dict[TrainingTask, int] = {"single": 3, "multi": 4, "regression": 1}


def compute(
    weights: TrainedWeights, examples: Examples, recipe: Recipe, blocks: list[GradientBlock]
) -> dict[str, torch.Tensor]:
    """The sum of the gradients of `blocks`, by name."""
    with single_threads(1) as threads:
        step = LocalEngine(BlockGradients(weights, examples, recipe), threads).compute(blocks, 0)
    found = dict(zip(weights.names, step.parameters, strict=True))
    table = torch.zeros_like(weights.words)
    for rows, words in step.words:
        table.index_add_(0, rows, words)
    return {**found, WORDS: table}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("double", [False, True])
def test_a_step_is_the_sum_of_its_texts_with_dropout_on(
    tiny_folder: TinyFolder, family: str, double: bool
) -> None:
    tiny = Tiny(family)
    examples = make_examples(tiny, 14, weights=True)
    recipe = make_recipe(tiny, examples)
    weights = make_weights(tiny_folder(tiny), examples)
    if double:
        weights.model.double()
        weights.parameters = [each for each in weights.model.parameters() if each.requires_grad]
        weights.words = weights.words.double()
    packed = compute(weights, examples, recipe, cut_blocks(range(14), examples.lengths, 48))
    single = compute(weights, examples, recipe, [(index,) for index in range(14)])
    assert {*packed} == {*single}
    # The gradient of a bias of keys is zero but for rounding: the tolerance is that of the whole.
    scale = max(gradient.abs().max() for gradient in single.values())
    for name, gradient in packed.items():
        assert (gradient - single[name]).abs().max() <= (1e-10 if double else 1e-5) * scale, name


def test_a_text_has_another_gradient_in_another_epoch_and_with_another_seed(
    tiny_folder: TinyFolder,
) -> None:
    tiny = Tiny("bert")
    examples = make_examples(tiny)
    weights = make_weights(tiny_folder(tiny), examples)
    found = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        gradients = BlockGradients(weights, examples, make_recipe(tiny, examples, seed=seed))
        found.append(gradients.compute((3,), epoch))
    same = [torch.equal(found[0].words, other.words) for other in found]
    assert same == [True, False, False, True]


@pytest.mark.parametrize("task", TASKS)
def test_without_dropout_the_gradient_is_that_of_transformers(
    tiny_folder: TinyFolder, task: TrainingTask
) -> None:
    tiny = Tiny("bert", dropout=0.0, num_labels=TASKS[task])
    examples = make_examples(tiny, 6, task=task)
    weights = make_weights(tiny_folder(tiny), examples)
    ours = compute(weights, examples, make_recipe(tiny, examples, task), [(0, 1, 2), (3, 4, 5)])
    reference = reference_model(tiny_folder(tiny)).train()
    total = torch.zeros(())
    for encoding, target in zip(
        examples.encodings, torch.from_numpy(examples.targets), strict=True
    ):
        logits = reference(torch.tensor([encoding.input_ids])).logits[0]
        if task == "single":
            total = total + F.cross_entropy(logits[None], target.argmax()[None])
        elif task == "multi":
            total = total + F.binary_cross_entropy_with_logits(logits, target)
        else:
            total = total + F.mse_loss(logits, target)
    total.backward()
    word = reference.bert.embeddings.word_embeddings.weight.grad[weights.used_words]
    assert torch.allclose(ours[WORDS], word, rtol=1e-3, atol=1e-5 * float(word.abs().max()))
    down = reference.bert.encoder.layer[0].output.dense.weight.grad
    found = ours["blocks.0.down.weight"]
    assert torch.allclose(found, down, rtol=1e-3, atol=1e-5 * float(down.abs().max()))


def test_frozen_blocks_and_embeddings_have_no_gradient(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("distilbert")
    examples = make_examples(tiny)
    weights = make_weights(tiny_folder(tiny), examples, freeze=1)
    assert weights.words is None
    assert all(name.startswith(("blocks.1.", "head.")) for name in weights.names)
    gradient = BlockGradients(weights, examples, make_recipe(tiny, examples)).compute((0, 1), 0)
    assert gradient.words is None
    assert len(gradient.parameters) == len(weights.names)


def test_a_teacher_alone_trains_texts_without_a_label(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert", num_labels=3)
    given = make_examples(tiny, 4)
    teacher = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    targets = given.targets.copy()
    targets[1] = np.nan
    examples = Examples(given.encodings, targets, given.weights, given.places, teacher)
    weights = make_weights(tiny_folder(tiny), examples)
    found = BlockGradients(weights, examples, make_recipe(tiny, examples)).compute((0, 1, 2), 0)
    assert np.isfinite(found.losses).all()
    assert all(bool(each.isfinite().all()) for each in found.parameters)

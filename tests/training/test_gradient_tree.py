"""The tree of block gradients: the same bits in any order of arrival, and from any split."""

import random

import pytest
import torch

from isobatch.training.steps.gradient_tree import GradientTree


def make_gradients(number: int) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(number)
    return [
        [torch.randn(40, generator=generator) * 10.0**k, torch.randn(7, generator=generator)]
        for k in range(number)
    ]


def total(number: int, order: list[int]) -> list[torch.Tensor]:
    tree, gradients = GradientTree(number), make_gradients(number)
    for index in order:
        tree.add((0, index), gradients[index])
    return tree.total()


@pytest.mark.parametrize("number", [1, 2, 3, 5, 7, 8, 13])
def test_any_order_of_arrival_gives_the_same_bits(number: int) -> None:
    expected = total(number, list(range(number)))
    orders = [random.Random(seed).sample(range(number), number) for seed in range(8)]
    for order in orders:
        assert all(map(torch.equal, total(number, order), expected))
    plain = torch.stack([each[0] for each in make_gradients(number)]).double().sum(dim=0)
    assert torch.allclose(expected[0].double(), plain, rtol=1e-5)


def test_a_running_sum_depends_on_the_order() -> None:
    """The inverse: the same gradients in a plain loop."""
    sums = []
    for order in (range(13), reversed(range(13))):
        running = torch.zeros(40)
        for index in order:
            running += make_gradients(13)[index][0]
        sums.append(running)
    assert not torch.equal(*sums)


@pytest.mark.parametrize("number", [5, 8, 13])
def test_parts_from_several_machines_give_the_same_bits(number: int) -> None:
    expected = total(number, list(range(number)))
    for cut in range(1, number):
        whole, gradients = GradientTree(number), make_gradients(number)
        for part in (range(cut), range(cut, number)):
            tree = GradientTree(number)
            for index in part:
                tree.add((0, index), gradients[index])
            for node, gradient in tree.nodes().items():
                whole.add(node, gradient)
        assert all(map(torch.equal, whole.total(), expected))

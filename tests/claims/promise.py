"""Batch invariance as functions: the batch never changes the answer.

A system is a function from texts to logits [texts, num_labels]. Each function returns the texts
whose bits changed. The claim is that the list is empty; each claim is also tested on a system
without the property, where the list must not be empty. No tolerance, no retry.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

Logits = NDArray[np.float32]
System = Callable[[list[str]], Logits]


def alone(system: System, texts: Sequence[str]) -> Logits:
    """Compute each text in a call of its own."""
    return np.concatenate([system([text]) for text in texts])


def changed_in_random_batches(
    system: System, texts: Sequence[str], seed: int, rounds: int = 3
) -> list[str]:
    """Cut shuffled texts into batches of 1 to 64 and compare each row with the text alone."""
    shuffler = random.Random(seed)
    expected = dict(zip(texts, alone(system, texts), strict=True))
    changed: list[str] = []
    for _ in range(rounds):
        shuffled = shuffler.sample(list(texts), len(texts))
        while shuffled:
            size = shuffler.randint(1, 64)
            batch, shuffled = shuffled[:size], shuffled[size:]
            rows = zip(batch, system(batch), strict=True)
            changed += [text for text, row in rows if not same_bits(row, expected[text])]
    return changed


def changed_needles(
    system: System, needle: str, neighbours: Sequence[str], seed: int, rounds: int = 30
) -> list[str]:
    """Put one text at a random place among random batch neighbours, `rounds` times."""
    shuffler = random.Random(seed)
    expected = system([needle])[0]
    changed: list[str] = []
    for _ in range(rounds):
        others = shuffler.sample(list(neighbours), shuffler.randint(1, len(neighbours)))
        place = shuffler.randint(0, len(others))
        row = system([*others[:place], needle, *others[place:]])[place]
        changed += [] if same_bits(row, expected) else [needle]
    return changed


def changed_by_order(system: System, texts: Sequence[str], seed: int, rounds: int = 5) -> list[str]:
    """Permute one batch: each text must keep its logits, which also detects a lost order."""
    shuffler = random.Random(seed)
    expected = dict(zip(texts, system(list(texts)), strict=True))
    changed: list[str] = []
    for _ in range(rounds):
        shuffled = shuffler.sample(list(texts), len(texts))
        rows = zip(shuffled, system(shuffled), strict=True)
        changed += [text for text, row in rows if not same_bits(row, expected[text])]
    return changed


def changed_by_threads(
    system: System, texts: Sequence[str], thread_counts: Sequence[int] = (1, 2)
) -> list[str]:
    """Compute alone and together with each number of threads."""
    results = []
    for num_threads in thread_counts:
        with threads(num_threads):
            results += [alone(system, texts), system(list(texts))]
    return [
        text
        for index, text in enumerate(texts)
        if not all(same_bits(result[index], results[0][index]) for result in results)
    ]


def same_bits(one: Logits, other: Logits) -> bool:
    """Compare bits; unlike with ==, 0.0 differs from -0.0 and a NaN is equal to itself."""
    return one.tobytes() == other.tobytes()


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Set torch's number of threads inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def random_texts(vocabulary: Sequence[str], num_texts: int, seed: int) -> list[str]:
    """Distinct texts of 0 to some 300 words, mostly short, as real ones are."""
    shuffler = random.Random(seed)
    lengths = [min(int(shuffler.lognormvariate(2.3, 0.9)), 300) for _ in range(num_texts)]
    return [
        " ".join([f"{number}", *shuffler.choices(vocabulary, k=length)])
        for number, length in enumerate(lengths)
    ]

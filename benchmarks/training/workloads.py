"""Workloads: a checkpoint, and labelled texts in the order of the steps.

Invariant: every side gets the same texts in the same steps, but for the one that groups by length:
its order is that of `transformers`' own sampler over the whole pool, of which a fair part is taken.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from benchmarks.checkpoints import Checkpoint
from benchmarks.workload import read_labelled, read_labelled_articles

BATCH_SIZE = 32
SEED = 0
POOL_TEXTS = 6_400
"""200 steps: `group_by_length` sorts 50 steps at a time where there are as many."""

CORPORA = {"sst2": "SST-2 phrases", "agnews": "AG News"}


@dataclass(frozen=True)
class TrainingWorkload:
    """Texts and the numbers of their labels. learning_rate: the default one of this width."""

    checkpoint: Path
    learning_rate: float
    num_labels: int
    texts: Sequence[str]
    labels: Sequence[int]

    def take(self, order: Sequence[int]) -> "TrainingWorkload":
        """Take the texts with these indices, in this order."""
        texts, labels = [self.texts[i] for i in order], [self.labels[i] for i in order]
        return replace(self, texts=texts, labels=labels)


def make_pool(data: Path, corpus: str, checkpoint: Checkpoint) -> TrainingWorkload:
    """Draw the pool of a corpus in a seeded order."""
    read = read_labelled if corpus == "sst2" else read_labelled_articles
    texts, labels = read(data, None)
    rate = 1e-4 if checkpoint.name == "bundled" else 5e-5
    whole = TrainingWorkload(checkpoint.folder, rate, len({*labels}), texts, labels)
    count = min(POOL_TEXTS, len(texts))
    return whole.take(random.Random(SEED).sample(range(len(texts)), count))


def spread_steps(
    order: Sequence[int], lengths: Sequence[int], warm_up: int, num_steps: int, rounds: int
) -> list[int]:
    """Choose steps of an order that is grouped by length, so that each round has a fair share.

    lengths: in tokens, of all texts. Those of all rounds are spread evenly over the steps of the
    order, sorted by their tokens; of neighbours each round has one, in turns. The untimed ones are
    of middle length.
    """
    steps = [order[first : first + BATCH_SIZE] for first in range(0, len(order), BATCH_SIZE)]
    steps = [step for step in steps if len(step) == BATCH_SIZE]
    steps.sort(key=lambda step: sum(lengths[index] for index in step))
    wanted = num_steps * rounds
    chosen = [steps[(2 * place + 1) * len(steps) // (2 * wanted)] for place in range(wanted)]
    taken = [steps[len(steps) // 2]] * warm_up
    draw = random.Random(SEED)
    for number in range(rounds):
        # There and back, so that no round has the longest of every group.
        places = (number, rounds - 1 - number)
        own = [chosen[group * rounds + places[group % 2]] for group in range(num_steps)]
        draw.shuffle(own)
        taken += own
    return list(chain.from_iterable(taken))

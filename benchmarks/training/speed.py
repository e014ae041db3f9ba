"""The speed and memory of every side, on every workload, in rounds that take turns."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.checkpoints import Checkpoint
from benchmarks.engines import peer
from benchmarks.result_files import log
from benchmarks.training.side_process import SIDES, Round, Side, started
from benchmarks.training.workloads import (
    BATCH_SIZE,
    CORPORA,
    SEED,
    TrainingWorkload,
    make_pool,
    spread_steps,
)
from isobatch.training.steps.order import draw_order

PAUSE_SECONDS = 0.3
"""Before each turn, so that the last side's threads stop spinning."""


@dataclass(frozen=True)
class SpeedPlan:
    """Steps of a round for a checkpoint on a corpus; `warm_up` untimed steps go first."""

    steps: int
    rounds: int
    warm_up: int = 2

    @property
    def num_texts(self) -> int:
        return BATCH_SIZE * (self.warm_up + self.steps * self.rounds)


def measure_workload(
    data: Path, corpus: str, checkpoint: Checkpoint, threads: int, plan: SpeedPlan, scratch: Path
) -> dict[str, Any]:
    """Measure all sides on the texts of one corpus; return their rounds."""
    pool = make_pool(data, corpus, checkpoint)
    title = f"{checkpoint.title}, {CORPORA[corpus]}"
    rounds: dict[str, list[Round]] = {side.name: [] for side in SIDES}
    with ExitStack() as stack:
        sides = []
        for side in SIDES:
            log(f"{title}: {side.name} starts")
            workload = _order(pool, side, plan)
            steps = (plan.warm_up, plan.steps)
            context = started(side, workload, threads, scratch, *steps)
            sides.append(stack.enter_context(context))
        for turn in range(plan.rounds):
            log(f"{title}: round {turn + 1} of {plan.rounds}, {plan.steps} steps")
            first = turn % len(sides)
            for process in sides[first:] + sides[:first]:
                time.sleep(PAUSE_SECONDS)
                rounds[process.side.name].append(process.train_round())
    return {
        "checkpoint": checkpoint.title,
        "corpus": CORPORA[corpus],
        "learning_rate": pool.learning_rate,
        **asdict(plan),
        "sides": {name: [asdict(each) for each in found] for name, found in rounds.items()},
    }


def _order(pool: TrainingWorkload, side: Side, plan: SpeedPlan) -> TrainingWorkload:
    """Put the texts into the order of the side's steps; Isobatch draws its own from the seed."""
    if side.grouped:
        return pool.take(_grouped_order(pool, plan))
    texts = pool.take(range(plan.num_texts))
    if side.module == "isobatch_training":
        return texts
    return texts.take(draw_order(plan.num_texts, SEED, 0))


def _grouped_order(pool: TrainingWorkload, plan: SpeedPlan) -> Sequence[int]:
    """Group the pool by transformers' own function, and take steps that are spread over it."""
    tokenizer = Tokenizer.from_file(str(pool.checkpoint / "tokenizer.json"))
    lengths = [len(each.ids) for each in tokenizer.encode_batch_fast(list(pool.texts))]
    group = peer("transformers.trainer_pt_utils").get_length_grouped_indices
    generator = peer("torch").Generator().manual_seed(SEED)
    order = group(lengths, BATCH_SIZE, generator=generator)
    return spread_steps(order, lengths, plan.warm_up, plan.steps, plan.rounds)

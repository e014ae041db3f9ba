"""Shards as the rows of a Ray dataset. It runs on the cluster, as one task.

There, and not with the user, because of what Ray Data and its owner say of their inner life: it
goes to Ray's logs. Nothing here knows what a shard is. Invariant: a row that comes back is one that
went in, with a result.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]


def map_rows(
    worker: type,
    rows: Sequence[Row],
    is_error: Callable[[Row], bool],
    workers: int,
    options: dict[str, Any],
) -> list[Row]:
    """What instances of `worker`, each in a process of its own, make of the rows.

    Each takes one row at a time. It ends at the first error. `options` as of Dataset.map.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    pool = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1)
    dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows))
    done = []
    for row in dataset.map(worker, compute=pool, **options).iter_rows():
        done.append(row)
        if is_error(row):
            break
    return done

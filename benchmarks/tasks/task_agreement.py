"""Outputs of two sides, or of two runs of one, for the same items: agreement, and equal bits.

Invariant: a side that computes another model is rejected in every precision, and a NaN is never
within tolerance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import BenchmarkError
from benchmarks.engines import Logits
from benchmarks.equivalence import (
    LARGEST_ERROR_OVER_SPREAD,
    compare_with_reference,
    reject_another_model,
)
from benchmarks.schema import Precision
from benchmarks.tasks.task_sides import OutputRow
from benchmarks.tasks.task_workloads import TaskName

LARGEST_FP32_ERROR = 0.01
"""Root mean square error in units of the outputs' own spread, next to the absolute limit: scores of
20 labels by random weights are all near 0.05, and another model's differ by less than 1e-3."""

LARGEST_RERANKING_ERROR = 0.95
"""The same in int8. Random weights give the candidates of a query nearly equal logits: ONNX
Runtime's error is 0.87 spreads. Outputs that ignore the text, all equal to the mean, would give 1,
and another model 1.4; the fp32 graph that is quantized is checked by the limit above."""

SMALLEST_SHARE = 0.99
"""Of texts with the same entities as the reference; random weights leave some near ties."""

LARGEST_SCORE_DIFFERENCE = 1e-3
ENTITY_NUMBERS = 4


def check_agreement(
    task: TaskName,
    name: str,
    precision: Precision,
    rows: Sequence[OutputRow],
    reference: Sequence[OutputRow],
) -> dict[str, float]:
    """Return how far a side's rows are from the reference; BenchmarkError for another model."""
    if len(rows) != len(reference):
        raise BenchmarkError(f"{name}: {len(rows)} rows, expected {len(reference)}")
    if task == "tokens":
        return _check_entities(name, rows, reference)
    error = compare_with_reference(_array(rows), _array(reference))
    limit = _limit(task, precision)
    if precision == "fp32":
        reject_another_model(name, precision, error)
    if not error.error_over_spread <= limit:
        raise BenchmarkError(
            f"{name}: outputs differ from the reference (got {error.error_over_spread:g} spreads, "
            f"expected at most {limit:g}). It does not compute the same model"
        )
    return error._asdict()


def _limit(task: TaskName, precision: Precision) -> float:
    if precision == "fp32":
        return LARGEST_FP32_ERROR
    return LARGEST_RERANKING_ERROR if task == "reranking" else LARGEST_ERROR_OVER_SPREAD


def _check_entities(
    name: str, rows: Sequence[OutputRow], reference: Sequence[OutputRow]
) -> dict[str, float]:
    same, differences = 0, [np.zeros(1)]
    for row, wanted in zip(rows, reference, strict=True):
        ours, theirs = row.reshape(-1, ENTITY_NUMBERS), wanted.reshape(-1, ENTITY_NUMBERS)
        if ours.shape == theirs.shape and (ours[:, :3] == theirs[:, :3]).all():
            same += 1
            differences.append(np.abs(ours[:, 3] - theirs[:, 3]))
    share, largest = same / len(rows), float(np.concatenate(differences).max())
    if not (share >= SMALLEST_SHARE and largest <= LARGEST_SCORE_DIFFERENCE):
        raise BenchmarkError(
            f"{name}: entities differ from the reference (the same in {share:.1%} of the texts, "
            f"scores off by up to {largest:g}). It does not compute the same model"
        )
    return {"same_entities": share, "largest_difference": largest}


def compare_row_bits(
    together: Sequence[OutputRow], alone: Sequence[OutputRow]
) -> dict[str, float | int]:
    """Count the rows whose bits alone are others than in the batch.

    largest_difference: of a number, over the rows that have the same entities.
    """
    changed = [
        index
        for index, pair in enumerate(zip(together, alone, strict=True))
        if pair[0].tobytes() != pair[1].tobytes()
    ]
    differences = [
        float(np.abs(together[index] - alone[index]).max())
        for index in changed
        if together[index].shape == alone[index].shape
    ]
    return {
        "rows": len(alone),
        "changed": len(changed),
        "largest_difference": max(differences, default=0.0),
    }


def _array(rows: Sequence[OutputRow]) -> Logits:
    stacked: Any = np.stack(rows)
    return stacked.astype(np.float32)  # type: ignore[no-any-return]

"""What a precision costs in answers: the bundled model on labelled texts, beside itself in fp32.

It knows the wire, and no engine but Isobatch's. Invariant: each precision answers in a process of
its own, and fp32, which the others are compared with, is always among them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.bars import judge_accuracy
from benchmarks.checkpoints import Checkpoint
from benchmarks.contestants import Bench, lone_process, progress
from benchmarks.engines import OURS, PRECISIONS, Logits, find_engine
from benchmarks.schema import AccuracyResult, Precision, PrecisionAccuracy


def measure_accuracy(
    bench: Bench,
    checkpoint: Checkpoint,
    labelled: tuple[list[str], list[int]],
    precisions: Sequence[Precision],
) -> AccuracyResult:
    """Answer all the texts in every precision."""
    texts, labels = labelled
    chosen = [one for one in PRECISIONS if one == "fp32" or one in precisions]
    logits = {precision: _logits(bench, checkpoint, precision, texts) for precision in chosen}
    results: dict[str, PrecisionAccuracy] = {
        precision: compare(rows, logits["fp32"], np.asarray(labels))
        for precision, rows in logits.items()
    }
    return {"texts": len(texts), "precisions": results, "bars": judge_accuracy(results)}


def compare(rows: Logits, fp32: Logits, labels: npt.NDArray[np.int64]) -> PrecisionAccuracy:
    """Hold one precision's logits to the labels and to those of fp32."""
    ours, theirs = rows.argmax(axis=1), fp32.argmax(axis=1)
    return {
        "accuracy_percent": 100 * float((ours == labels).mean()),
        "points_from_fp32": 100
        * (float((ours == labels).mean()) - float((theirs == labels).mean())),
        "same_label_percent": 100 * float((ours == theirs).mean()),
        "largest_difference": float(np.abs(rows - fp32).max()),
    }


def _logits(bench: Bench, checkpoint: Checkpoint, precision: Precision, texts: list[str]) -> Logits:
    progress(checkpoint, f"accuracy in {precision}")
    with lone_process(bench, checkpoint, find_engine(OURS[precision]), "accuracy") as worker:
        return np.asarray(worker.ask("bulk", texts=texts)["logits"], dtype=np.float32)

"""Accuracy of each precision: the bundled model on labelled texts, compared with itself in fp32.

Each precision runs in its own process.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks import UnsupportedError
from benchmarks.checkpoints import Checkpoint
from benchmarks.engines import OURS, PRECISIONS, Logits, find_engine
from benchmarks.loaded_engines import BenchmarkRun, load_isobatch, log_progress
from benchmarks.schema import AccuracyResult, Precision, PrecisionAccuracy


def measure_accuracy(
    run: BenchmarkRun,
    checkpoint: Checkpoint,
    labelled: tuple[list[str], list[int]],
    precisions: Sequence[Precision],
) -> AccuracyResult:
    """Classify all texts in fp32 and in each of the supported precisions."""
    texts, labels = labelled
    chosen = [one for one in PRECISIONS if one == "fp32" or one in precisions]
    logits = {}
    for precision in chosen:
        try:
            logits[precision] = _logits(run, checkpoint, precision, texts)
        except UnsupportedError as error:
            log_progress(checkpoint, f"accuracy in {precision} is left out: {error}")
    results: dict[str, PrecisionAccuracy] = {
        precision: compare_with_fp32(ours, logits["fp32"], np.asarray(labels))
        for precision, ours in logits.items()
    }
    return {"texts": len(texts), "precisions": results}


def compare_with_fp32(
    logits: Logits, fp32: Logits, labels: npt.NDArray[np.int64]
) -> PrecisionAccuracy:
    """Compare a precision's logits with the labels and with the logits in fp32."""
    predicted, reference = logits.argmax(axis=1), fp32.argmax(axis=1)
    return {
        "accuracy_percent": 100 * float((predicted == labels).mean()),
        "points_from_fp32": 100
        * (float((predicted == labels).mean()) - float((reference == labels).mean())),
        "same_label_percent": 100 * float((predicted == reference).mean()),
        "largest_difference": float(np.abs(logits - fp32).max()),
    }


def _logits(
    run: BenchmarkRun, checkpoint: Checkpoint, precision: Precision, texts: list[str]
) -> Logits:
    log_progress(checkpoint, f"accuracy in {precision}")
    with load_isobatch(run, checkpoint, find_engine(OURS[precision]), "accuracy") as (worker, _):
        return np.asarray(worker.request("bulk", texts=texts)["logits"], dtype=np.float32)

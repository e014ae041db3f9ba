"""`make bench-families`: every family next to transformers and OpenVINO on padded batches.

All sides compute the same token ids with the same random weights in one process, and take turns.
Lengths are as in sentiment data, with some longer texts. It needs the extra `bench`.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from benchmarks import UnsupportedError
from benchmarks.families.family_sides import (
    CONVERSION_ERROR,
    Forward,
    Packed,
    openvino_forward,
    packed_by,
    padded,
    planned,
    random_model,
    random_rows,
    transformers_forward,
)
from benchmarks.families.shapes import SHAPES, Shape
from benchmarks.result_files import RESULTS, log, write_result_by_kind
from benchmarks.system_info import describe_machine, installed_version
from isobatch.kernels import arithmetic_name
from isobatch.model import read_packed_model

BATCH_SIZES = (4, 16, 32)
"""Of the padded sides: the fastest of these counts, for each."""

_COMPARED = 24
"""Texts whose logits alone are compared with those in batches."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__)
    parser.add_argument("families", nargs="*", help="model types; default: all")
    parser.add_argument("--quick", action="store_true", help="one layer each; no result is written")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shapes = [
        each for each in SHAPES if each.model_type in (arguments.families or [each.model_type])
    ]
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "threads": torch.get_num_threads(),
        "rounds": arguments.rounds,
        "versions": {
            name: installed_version(name) for name in ("torch", "transformers", "openvino")
        },
        "families": [measure(shape, arguments.rounds, quick=arguments.quick) for shape in shapes],
    }
    if not arguments.quick:
        log(str(write_result_by_kind(result, RESULTS / "families")))


@torch.inference_mode()
def measure(shape: Shape, rounds: int, *, quick: bool) -> dict[str, Any]:
    """Measure one shape; returns its part of the result."""
    rows = random_rows(16 if quick else 64)
    packed, theirs, arithmetic = load(shape, quick=quick)
    pad_token_id = theirs.config.pad_token_id or 0
    forwards: dict[str, Forward] = {"transformers": transformers_forward(theirs)}
    alone = torch.cat([packed([row]) for row in rows[:_COMPARED]])
    expected = torch.cat(
        [padded(forwards["transformers"], [row], 1, pad_token_id) for row in rows[:_COMPARED]]
    )
    left_out = {}
    try:
        forwards["openvino"] = openvino_forward(theirs, torch.get_num_threads())
        found = padded(forwards["openvino"], rows[:_COMPARED], 4, pad_token_id)
        if (error := float((found - expected).abs().max())) > CONVERSION_ERROR:
            raise UnsupportedError(f"OpenVINO: logits differ by {error:.1e} after the conversion")
    except UnsupportedError as error:
        forwards.pop("openvino", None)
        left_out["openvino"] = str(error)

    def side(forward: Forward, size: int) -> Callable[[], Tensor]:
        return lambda: padded(forward, rows, size, pad_token_id)

    sides: dict[str, Callable[[], Tensor]] = {"isobatch": lambda: planned(packed, rows)}
    sizes = {}
    for name, forward in forwards.items():
        sizes[name] = min(BATCH_SIZES, key=lambda size: seconds(side(forward, size)))
        sides[name] = side(forward, sizes[name])
    first_texts = {name: compute()[:_COMPARED] for name, compute in sides.items()}
    measured = {
        "model_type": shape.model_type,
        "shape": shape.checkpoint,
        "arithmetic": arithmetic,
        "texts": len(rows),
        "tokens": sum(map(len, rows)),
        "batch_size": sizes,
        "seconds": take_turns(sides, rounds),
        "left_out": left_out,
        "parity": float((alone - expected).abs().max()),
        "size_of_logits": float(expected.abs().max()),
        "changed": {
            name: int((first_texts[name] != reference).any(1).sum())
            for name, reference in (("isobatch", alone), ("transformers", expected))
        },
        "compared": len(alone),
    }
    log(describe(measured))
    return measured


def load(shape: Shape, *, quick: bool) -> tuple[Packed, transformers.PreTrainedModel, str]:
    """Write a random checkpoint, and load it on both sides; the string names the arithmetic."""
    with tempfile.TemporaryDirectory() as folder:
        random_model(shape, quick=quick).save_pretrained(folder)
        gc.collect()
        model, choices = read_packed_model(Path(folder), torch.device("cpu"))
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
    return packed_by(model), theirs, arithmetic_name((choice.kernel for choice in choices), "fp32")


def take_turns(sides: Mapping[str, Callable[[], Tensor]], rounds: int) -> dict[str, list[float]]:
    """Time all sides in every round."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, compute in sides.items():
            times[name].append(seconds(compute))
    return times


def seconds(compute: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    compute()
    return time.perf_counter() - start


def describe(measured: Mapping[str, Any]) -> str:
    """Return a line on a family, for the log of a run."""
    medians = {name: statistics.median(times) for name, times in measured["seconds"].items()}
    ratios = [
        f"{medians[name] / medians['isobatch']:.2f} times {name}"
        for name in medians
        if name != "isobatch"
    ]
    parts = [*ratios, f"parity {measured['parity']:.1e}", f"changed {measured['changed']}"]
    return f"{measured['model_type']}: {', '.join([*parts, *measured['left_out'].values()])}"


if __name__ == "__main__":
    main()

"""Results of benchmark runs that were never measured, for the tables."""

from typing import Any

AVX2 = ["avx", "avx2", "fma", "sse4_2"]
AVX512 = [*AVX2, "avx512bw", "avx512dq", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16"]


def engine(
    label: str = "Isobatch",
    precision: str = "fp32",
    bulk: float | None = 100.0,
    p50: float | None = 10.0,
    changed: int = 0,
    kernel: str = "avx2",
) -> dict[str, Any]:
    """One engine: texts a second in bulk, milliseconds of one text."""
    speed = bulk and {"seconds": [1.0], "median_seconds": 1.0, "texts_per_second": bulk}
    return {
        "label": label,
        "precision": precision,
        "batch_size": 0 if label == "Isobatch" else 4,
        "details": {"instruction_set": kernel, "arithmetic": "isobatch-1"}
        if label == "Isobatch"
        else {},
        "bulk": speed,
        "one_text": p50 and {"milliseconds": [[p50]], "p50": p50, "p95": 2 * p50},
        "memory": {"after_load_mb": 1.0, "after_bulk_mb": 1.0},
        "bits": {"rows": 9, "changed": changed, "largest_difference": 1e-6, "label_flips": 0},
    }


def result(
    flags: list[str], engines: dict[str, Any], date: str = "2026-11-26T01:02:03+00:00"
) -> dict[str, Any]:
    """The result of a run on a machine with these flags."""
    checkpoint = {"title": "A shape", "mix": {"SST-2": 2}, "engines": engines}
    return {
        "date": date,
        "machine": {"cpu": "A processor", "instruction_sets": flags},
        "versions": {"torch": "2.13.0"},
        "protocol": {"threads": 2, "rounds": 3},
        "checkpoints": {"base": checkpoint},
        "accuracy": None,
        "scaling": None,
    }

"""The table of docs/models.md: families, heads, precisions, parity, changed bits and speed."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.families.shapes import SHAPES
from benchmarks.machine_kinds import MachineKind
from isobatch.kernels import ARITHMETIC


def render_families() -> str:
    """List every family with its heads and examples."""
    lines = [
        "| `model_type` | heads | precisions | checkpoints of this kind |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{each.model_type}` | {each.heads} | fp32, bf16, int8 | {each.examples} |"
        for each in SHAPES
    ]
    return "\n".join(lines)


def render_speeds(results: Sequence[tuple[MachineKind, Any]]) -> str:
    """Render the newest result of each kind of machine."""
    parts = [part for kind, result in results for part in _render(kind, result)]
    return "\n\n".join(parts) if parts else "No result yet."


def _render(kind: MachineKind, result: Mapping[str, Any]) -> Iterator[str]:
    yield f"On {kind.title}:"
    lines = [
        "| family | shape | arithmetic | parity | changed bits, Isobatch / transformers "
        "| texts/s | transformers, sorted | ratio | OpenVINO, sorted | ratio |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    yield "\n".join([*lines, *map(_row, result["families"])])
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    yield (
        f"{result['date']}, {result['machine']['cpu']}, {result['threads']} threads, fp32, medians "
        f"of {result['rounds']} rounds; padded sides at the fastest of batches of 4, 16 and 32. "
        f"{versions}."
    )
    reasons = [
        f"`{family['model_type']}` has no OpenVINO: {reason}."
        for family in result["families"]
        for reason in family["left_out"].values()
    ]
    if reasons:
        yield "\n".join(f"- {reason}" for reason in reasons)


def _row(family: Mapping[str, Any]) -> str:
    medians = {name: statistics.median(times) for name, times in family["seconds"].items()}
    rates = {name: family["texts"] / median for name, median in medians.items()}
    ours = rates["isobatch"]
    peers = [
        f"{rates[name]:.1f} | {ours / rates[name]:.2f}×" if name in rates else "– | –"
        for name in ("transformers", "openvino")
    ]
    changed = " / ".join(
        f"{family['changed'][name]} of {family['compared']}"
        for name in ("isobatch", "transformers")
    )
    arithmetic = ARITHMETIC if family["arithmetic"] == ARITHMETIC else "torch"
    return (
        f"| `{family['model_type']}` | {family['shape']} | {arithmetic} | {family['parity']:.0e} "
        f"| {changed} | {ours:.1f} | {' | '.join(peers)} |"
    )

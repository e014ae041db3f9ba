"""Result files of `make bench-tasks` as Markdown: tables and acceptance criteria.

Targets are applied when a result is shown: those of embeddings and reranking are the ratios of the
newest classification benchmark on the same kind of machine.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.machine_kinds import MachineKind
from benchmarks.table_rows import row, verdict
from benchmarks.tasks.task_checkpoints import SHAPES
from benchmarks.tasks.task_sides import (
    BASELINES,
    ISOBATCH,
    ISOBATCH_INT8,
    ONNXRUNTIME,
    ONNXRUNTIME_INT8,
    OPENVINO,
    PIPELINE,
    PIPELINE_32,
    SENTENCE_32,
    SENTENCE_BEST,
    SIDES,
    TASK_TITLES,
    TaskSide,
)
from benchmarks.tasks.task_workloads import TaskName

ZERO_SHOT_TARGET = 4.0
"""Times as fast as the pipeline, with 20 labels."""

Results = Sequence[tuple[MachineKind, Any]]

COMPARED = (
    (ISOBATCH, (SENTENCE_32, SENTENCE_BEST), ("isobatch", ("transformers-sorted",))),
    (ISOBATCH, (ONNXRUNTIME, OPENVINO), ("isobatch", ("onnxruntime", "openvino"))),
    (ISOBATCH_INT8, (ONNXRUNTIME_INT8,), ("isobatch-int8", ("onnxruntime-int8",))),
)
"""Isobatch, the others of which the fastest counts, and the same engines on classification."""


def render_kinds(results: Results, classification: Results) -> str:
    """Render the newest results of every kind of machine, without a final newline."""
    classified = dict(classification)
    parts = []
    for kind, result in results:
        parts += [f"### {kind.title}", render_tasks(result, classified.get(kind))]
    return "\n\n".join(parts) if parts else "No result yet."


def render_tasks(result: Mapping[str, Any], classification: Mapping[str, Any] | None) -> str:
    """Render a run: tables, criteria, footnote. classification: the run that sets targets."""
    parts = ["\n".join(_table(each)) for each in result["workloads"]]
    criteria = [line for each in result["workloads"] for line in _criteria(each, classification)]
    return "\n\n".join([*parts, "\n".join(criteria), _footnote(result, classification)])


def speed_ratio(workload: Mapping[str, Any], ours: TaskSide, other: TaskSide) -> float:
    """Return the speed of `ours` over that of `other`: the median of the ratios of the rounds."""
    own, others = (workload["sides"][each.name]["seconds"] for each in (ours, other))
    return statistics.median(float(b / a) for a, b in zip(own, others, strict=True))


def classification_ratio(
    classification: Mapping[str, Any] | None, shape: str, ours: str, others: Sequence[str]
) -> float | None:
    """Return how far ahead classification is of the fastest of `others`; None: not measured."""
    if classification is None:
        return None
    measured = classification["checkpoints"].get(SHAPES[shape].classified)
    engines = measured["engines"] if measured else {}
    speeds = {
        name: engines[name]["bulk"]["texts_per_second"]
        for name in (ours, *others)
        if name in engines and engines[name]["bulk"]
    }
    best = max((speeds[name] for name in others if name in speeds), default=None)
    return speeds[ours] / best if best and ours in speeds else None


def _table(workload: Mapping[str, Any]) -> Iterator[str]:
    task: TaskName = workload["task"]
    yield f"**{TASK_TITLES[task]}**, {SHAPES[workload['shape']].title}, {_size(workload)}"
    yield ""
    yield row(
        "",
        "precision",
        "batch",
        f"{_unit(task)}/s",
        "Isobatch ÷ this",
        "peak memory, MB",
        "rows with other bits",
    )
    yield "|---|---|---:|---:|---:|---:|---:|"
    for side in SIDES[task]:
        found = workload["sides"][side.name]
        speed = workload["num_rows"] / statistics.median(found["seconds"])
        bits = found["bits"]
        changed = f"{bits['changed']} of {bits['rows']}"
        yield row(
            side.title,
            side.precision,
            str(found["batch_size"] or "–"),
            f"{speed:,.1f}",
            f"{speed_ratio(workload, BASELINES[side.precision], side):.2f}",
            f"{found['peak_memory_mb']:,.0f}",
            f"{changed}, up to {bits['largest_difference']:.0e}" if bits["changed"] else changed,
        )


def _unit(task: TaskName) -> str:
    return "candidates" if task == "reranking" else "texts"


def _size(workload: Mapping[str, Any]) -> str:
    """Say what the workload is; the texts are the same mix in each."""
    if workload["task"] == "reranking":
        candidates = workload["num_rows"] // workload["questions"]
        number = workload["questions"]
        queries = "1 query" if number == 1 else f"{number} queries"
        return f"{queries}, {candidates} candidates each"
    texts = f"{workload['num_rows']} texts"
    return f"{texts}, 20 labels" if workload["task"] == "zero-shot" else texts


def _criteria(
    workload: Mapping[str, Any], classification: Mapping[str, Any] | None
) -> Iterator[str]:
    where = f"{TASK_TITLES[workload['task']]}, {workload['shape']}"
    if workload["task"] in ("embeddings", "reranking"):
        for ours, others, (classifier, engines) in COMPARED:
            name, ratio = _against_fastest(workload, ours, others)
            wanted = classification_ratio(classification, workload["shape"], classifier, engines)
            yield _criterion(f"{where}, {ours.precision}, speed over {name}", ratio, wanted)
    if workload["task"] == "zero-shot":
        for other in (PIPELINE, PIPELINE_32):
            ratio = speed_ratio(workload, ISOBATCH, other)
            size = workload["sides"][other.name]["batch_size"]
            name = f"{where}, speed over the pipeline, batch {size}"
            yield _criterion(name, ratio, ZERO_SHOT_TARGET)
    changed = sum(
        workload["sides"][side.name]["bits"]["changed"]
        for side in BASELINES.values()
        if side.name in workload["sides"]
    )
    name = f"{where}, rows of Isobatch with other bits"
    yield f"- {verdict(changed == 0)}: {name}: {changed} (target: 0)"


def _against_fastest(
    workload: Mapping[str, Any], ours: TaskSide, others: Sequence[TaskSide]
) -> tuple[str, float]:
    """Return the name of the fastest of the others, and the smallest ratio, which is its."""
    fastest = min(others, key=lambda other: speed_ratio(workload, ours, other))
    size = workload["sides"][fastest.name]["batch_size"]
    title = fastest.title.removesuffix(", best size")
    return f"{title}, batch {size}", speed_ratio(workload, ours, fastest)


def _criterion(name: str, ratio: float, wanted: float | None) -> str:
    if wanted is None:
        return f"- no target: {name}: {ratio:.2f} (classification was not measured here)"
    is_met = round(ratio, 2) >= round(wanted, 2)
    return f"- {verdict(is_met)}: {name}: {ratio:.2f} (target: at least {wanted:.2f})"


def _footnote(result: Mapping[str, Any], classification: Mapping[str, Any] | None) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    targets = (
        f" Targets of embeddings and reranking: classification in the run of "
        f"{classification['date']}."
        if classification
        else ""
    )
    return (
        f"{result['date']}, {result['machine']['cpu']}, {result['threads']} threads, medians of "
        f"{result['rounds']} rounds.{targets} {versions}."
    )

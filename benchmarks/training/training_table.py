"""Result files of `make bench-train` as Markdown: tables and acceptance criteria."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.machine_kinds import MachineKind
from benchmarks.training.side_process import DYNAMIC, GROUPED, ISOBATCH, SIDES

MAX_POINTS = 0.3
"""Of accuracy below that of the Trainer."""

Results = Sequence[tuple[MachineKind, Any]]


def render_kinds(speed: Results, accuracy: Results) -> str:
    """Render the newest results of every kind of machine, without a final newline."""
    parts = []
    accuracies = dict(accuracy)
    for kind in dict.fromkeys(kind for kind, _ in (*speed, *accuracy)):
        parts.append(f"### {kind.title}")
        parts += [render_speed(result) for each, result in speed if each is kind]
        parts += [render_accuracy(accuracies[kind])] if kind in accuracies else []
    return "\n\n".join(parts) if parts else "No result yet."


def render_speed(result: Mapping[str, Any]) -> str:
    """Render a run without `--accuracy`: tables, criteria, footnote."""
    parts = ["\n".join(_table(each)) for each in result["workloads"]]
    parts.append("\n".join(line for each in result["workloads"] for line in _criteria(each)))
    return "\n\n".join([*parts, _footnote(result, f"medians of {result['rounds']} rounds")])


def seconds_by_token(rounds: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the time of a real token in each round: grouped steps have other texts."""
    return [each["seconds"] / each["tokens"] for each in rounds]


def speed_ratio(workload: Mapping[str, Any], name: str) -> float:
    """Return Isobatch's speed over that of a side: the median of the ratios of the rounds."""
    ours, others = (seconds_by_token(workload["sides"][each]) for each in (ISOBATCH.name, name))
    return statistics.median(other / own for own, other in zip(ours, others, strict=True))


def peak_memory(workload: Mapping[str, Any], name: str) -> float:
    return float(workload["sides"][name][-1]["peak_memory_mb"])


def _table(workload: Mapping[str, Any]) -> Iterator[str]:
    ours = workload["sides"][ISOBATCH.name]
    texts = 32 * workload["steps"]
    mean_tokens = sum(each["tokens"] for each in ours) / (texts * len(ours))
    yield f"**{workload['checkpoint']}**, {workload['corpus']}, {mean_tokens:.1f} tokens a text"
    yield ""
    yield (
        "| | texts/s | Isobatch ÷ this | real tokens a step | computed tokens a step "
        "| peak memory, MB |"
    )
    yield "|---|---:|---:|---:|---:|---:|"
    for side in SIDES:
        rounds = workload["sides"][side.name]
        speed = 1.0 / (statistics.median(seconds_by_token(rounds)) * mean_tokens)
        steps = workload["steps"] * len(rounds)
        tokens, computed = (
            sum(each[key] for each in rounds) / steps for key in ("tokens", "computed")
        )
        yield (
            f"| {side.title} | {speed:,.1f} | {speed_ratio(workload, side.name):.2f} "
            f"| {tokens:,.0f} | {computed:,.0f} | {peak_memory(workload, side.name):,.0f} |"
        )


def _criteria(workload: Mapping[str, Any]) -> Iterator[str]:
    where = f"{workload['checkpoint']}, {workload['corpus']}"
    for side in SIDES:
        if side.target is not None:
            ratio = speed_ratio(workload, side.name)
            yield (
                f"- {_verdict(ratio >= side.target)}: {where}, speed over that of {side.title}: "
                f"{ratio:.2f} (target: at least {side.target:g})"
            )
    memory = peak_memory(workload, ISOBATCH.name) / peak_memory(workload, DYNAMIC.name)
    yield (
        f"- {_verdict(memory <= 1.0)}: {where}, peak memory over that of {DYNAMIC.title}: "
        f"{memory:.2f} (target: at most 1)"
    )


def render_accuracy(result: Mapping[str, Any]) -> str:
    """Render a run with `--accuracy`: table, criteria, footnote."""
    lines = [
        f"**Whole trainings** of the bundled model on {result['train_texts']:,} AG News articles, "
        f"tested on {result['test_texts']:,} others",
        "",
        "| | accuracy, % | mean | time, s | peak memory, MB |",
        "|---|---|---:|---:|---:|",
    ]
    runs = result["runs"]
    for side in (ISOBATCH, GROUPED):
        own = runs[side.name]
        each = ", ".join(f"{100 * run['accuracy']:.2f}" for run in own)
        lines.append(
            f"| {side.title} | {each} | {_mean(own, 'accuracy') * 100:.2f} "
            f"| {_mean(own, 'seconds'):,.0f} | {_mean(own, 'peak_memory_mb'):,.0f} |"
        )
    ours, others = runs[ISOBATCH.name], runs[GROUPED.name]
    points = 100 * (_mean(ours, "accuracy") - _mean(others, "accuracy"))
    time = _mean(ours, "seconds") / _mean(others, "seconds")
    lines += [
        "",
        f"- {_verdict(points >= -MAX_POINTS)}: points of accuracy over {GROUPED.title}: "
        f"{points:+.2f} (target: at least -{MAX_POINTS:g})",
        f"- {_verdict(time <= 1.0)}: time over that of {GROUPED.title}: {time:.2f} "
        "(target: at most 1)",
        "",
        _footnote(result, f"means of {len(ours)} seeds, {result['epochs']} epochs"),
    ]
    return "\n".join(lines)


def _mean(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    return statistics.fmean(run[key] for run in runs)


def _footnote(result: Mapping[str, Any], how: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"{result['date']}, {result['machine']['cpu']}, {result['threads']} threads, fp32, batches "
        f"of 32, {how}. {versions}."
    )


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"

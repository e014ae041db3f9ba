"""The rows of Markdown tables, and acceptance criteria as a list."""

from collections.abc import Sequence

from benchmarks.schema import CriterionResult


def row(*cells: str) -> str:
    """Render one row."""
    return f"| {' | '.join(cells)} |"


def with_criteria(table: str, criteria: Sequence[CriterionResult]) -> str:
    """Render a table and the criteria below it."""
    return "\n".join([table, *(["", *map(criterion, criteria)] if criteria else [])])


def criterion(result: CriterionResult) -> str:
    """Render one criterion with its verdict and target."""
    target = f"target: {result['direction']} {result['wanted']:g}"
    if result["got"] is None:
        return f"- not measured: {result['name']} ({target})"
    return f"- {verdict(result['met'])}: {result['name']}: {_figure(result['got'])} ({target})"


def verdict(is_met: bool | None) -> str:
    """Render whether a target is met; a dash where none is set."""
    return "–" if is_met is None else "met" if is_met else "**missed**"


def target(ratio: float | None) -> str:
    """Render the target of a ratio; a dash where none is set."""
    return "–" if ratio is None else f"{ratio:.2f}×"


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"

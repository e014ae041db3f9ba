"""The page of an evaluation of rankings, similarities or entities, in the style of the report.

Invariant: as of the report of labels, everything from outside is escaped, and the same evaluation
gives the same bytes.
"""

from typing import TYPE_CHECKING

from isobatch.drawing.display_text import counted, percent
from isobatch.drawing.html_page import render_html
from isobatch.drawing.svg import BLUE, draw_svg
from isobatch.evaluation.ranking_metrics import TOP
from isobatch.evaluation.report_parts import describe_evaluation
from isobatch.evaluation.task_records import (
    RankingEvaluation,
    SimilarityEvaluation,
    TaskEvaluation,
)
from isobatch.extras import needs_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render_task_report(evaluation: TaskEvaluation, title: str) -> str:
    """Render the report as an HTML page, to be saved as UTF-8.

    OptionError if the extra `evaluate` is missing.
    """
    with needs_extra("evaluate", "evaluation"):
        chart, caption = _chart(evaluation)
        return render_html(
            "isobatch.evaluation",
            "task_report.html",
            pictures={"chart": chart} if chart else {},
            filters={"counted": counted},
            values={
                "title": title,
                "evaluation": evaluation,
                "parts": describe_evaluation(evaluation),
                "caption": caption,
            },
        )


def _chart(evaluation: TaskEvaluation) -> tuple[str, str]:
    """Return the chart and its caption; "" for an evaluation without one."""
    if isinstance(evaluation, RankingEvaluation):
        return _first_ranks(evaluation)
    if isinstance(evaluation, SimilarityEvaluation):
        return _scatter(evaluation)
    return "", ""


def _first_ranks(evaluation: RankingEvaluation) -> tuple[str, str]:
    shares = [number / evaluation.num_queries for number in evaluation.first_ranks]
    names = [*map(str, range(1, TOP + 1)), f"> {TOP}"]

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        axes.bar(names, shares, color=BLUE, alpha=0.9)
        axes.set(xlabel="rank of the first relevant text", ylabel="share of queries", ylim=(0, 1))

    top = sum(shares[:TOP])
    described = (
        f"Rank of the first relevant text: first for {percent(shares[0])} of the queries, among "
        f"the first {TOP} for {percent(top)}."
    )
    caption = "Queries by the rank of their first relevant text."
    return draw_svg((5.2, 3.4), draw, "ranks", described), caption


def _scatter(evaluation: SimilarityEvaluation) -> tuple[str, str]:
    expected, found = zip(*evaluation.points, strict=True)

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        axes.scatter(expected, found, s=9, color=BLUE, alpha=0.4, linewidths=0)
        axes.set(xlabel="expected similarity", ylabel="similarity of the vectors")

    number = counted(len(evaluation.points), "pair")
    described = f"Similarity of the vectors by expected similarity, of {number}."
    caption = "Each point is a pair of texts."
    if len(evaluation.points) < evaluation.num_texts:
        caption += f" {number} are drawn, evenly spread over the files."
    return draw_svg((5.2, 4.2), draw, "similarities", described), caption

"""The columns of a ranking: the score of each row for its query."""

from dataclasses import dataclass

from isobatch.tasks import Column, Prediction, RowFormat


@dataclass(frozen=True)
class RankingRows(RowFormat[Prediction]):
    """`score`, with `logits` if requested."""

    labels: tuple[str, ...]

    def columns(self, *, raw: bool, all_scores: bool) -> tuple[Column, ...]:
        columns = (Column("score", "number"),)
        return (*columns, Column("logits", "numbers")) if raw else columns

    def values(self, prediction: Prediction, *, raw: bool, all_scores: bool) -> list[object]:
        values: list[object] = [prediction.score]
        return [*values, list(prediction.logits)] if raw else values

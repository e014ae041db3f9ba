"""Rows to answers: what stands in the text columns is asked, and what cannot be asked is an error.

It knows rows and the classifier, no files. Invariant: as many answers as rows, in their order.
"""

from collections import Counter
from collections.abc import Sequence

from isobatch.batching.cache import OutputCache
from isobatch.batching.plan import count_padding
from isobatch.errors import InputError
from isobatch.jobs.layout import Layout, ReadColumns
from isobatch.jobs.summary import Counts
from isobatch.tables import MISSING, Rows, Unreadable
from isobatch.tasks import Classifier, Prediction
from isobatch.types import Truncation

Answer = Prediction | InputError


def answer_rows(
    rows: Rows,
    columns: ReadColumns,
    classifier: Classifier,
    truncation: Truncation,
    cache: OutputCache,
) -> list[Answer]:
    """One answer or error for each row."""
    texts = read_texts(rows, columns)
    asked = [text for text in texts if not isinstance(text, InputError)]
    answers = iter(classifier.predict_or_errors(asked, truncation=truncation, cache=cache))
    return [text if isinstance(text, InputError) else next(answers) for text in texts]


def read_texts(rows: Rows, columns: ReadColumns) -> list[object]:
    """What each row asks: a text, a pair, or the InputError that says why neither."""
    texts = [_text(cell, columns.text) for cell in rows.cells(columns.text)]
    if columns.pair is None:
        return texts
    pairs = [_text(cell, columns.pair) for cell in rows.cells(columns.pair)]
    return [
        next((each for each in both if isinstance(each, InputError)), both)
        for both in zip(texts, pairs, strict=True)
    ]


def _text(cell: object, column: str) -> object:
    if isinstance(cell, str):
        return cell
    if cell is None:
        return InputError(f"{column} is null")
    if cell is MISSING:
        return InputError(f"has no {column}")
    if isinstance(cell, Unreadable):
        return InputError(f"{column} cannot be read: {cell.reason}")
    return InputError(f"{column} is no text but {type(cell).__name__}: {str(cell)[:40]}")


def added_values(answers: Sequence[Answer], layout: Layout) -> list[list[object]]:
    """For each added field of the layout, its value in every row."""
    rows = [_added_row(answer, layout) for answer in answers]
    return [[row[index] for row in rows] for index in range(len(layout.added))]


def _added_row(answer: Answer, layout: Layout) -> list[object]:
    if isinstance(answer, InputError):
        return [None] * (len(layout.added) - 1) + [answer.reason]
    row: list[object] = [answer.label, answer.score]
    if layout.has_logits:
        row.append(list(answer.logits))
    if layout.has_scores:
        row.extend(answer.scores.values())
    return [*row, answer.truncated, None]


def count_answers(answers: Sequence[Answer], duplicates: int) -> Counts:
    """Counts of the rows with these answers, of which `duplicates` were not computed anew."""
    predictions = [answer for answer in answers if isinstance(answer, Prediction)]
    lengths = [prediction.num_tokens for prediction in predictions]
    return Counts(
        rows=len(answers),
        errors=len(answers) - len(predictions),
        truncated=sum(prediction.truncated for prediction in predictions),
        duplicates=duplicates,
        tokens=sum(lengths),
        pads=count_padding(lengths),
        labels=dict(Counter(prediction.label for prediction in predictions)),
    )

"""Entities of texts, compared with the expected ones: spans of words by tags, or of characters.

Words that are given as a list are tagged as training tags them: a word has the tag of its first
token. Where the file has spans of characters, they are compared with the entities as
`TokenClassifier` gives them, with its aggregation.
"""

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from isobatch.batching.cache import Output, OutputCache
from isobatch.checkpoint.token_encoder import TokenEncoding, WordList
from isobatch.drawing.display_text import counted
from isobatch.errors import InputError, OptionError
from isobatch.evaluation.evaluator import NUM_MISTAKES
from isobatch.evaluation.labelled import LabelledFiles
from isobatch.evaluation.row_tally import RowTally
from isobatch.evaluation.span_cells import ExpectedEntities, as_tag, read_entities, types_of
from isobatch.evaluation.span_counts import SpanCounts
from isobatch.evaluation.tag_schemes import OUTSIDE, Scheme, TagSpan, read_tag, spans_of
from isobatch.evaluation.task_records import EntityEvaluation, SpanMistake
from isobatch.scoring import (
    InputColumns,
    ProgressCallback,
    RowCounts,
    ScoringProgress,
    choose_columns,
    cut_chunks,
)
from isobatch.scoring.chunks import MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.tables import Table, TableChunk, open_table, scan_tables
from isobatch.tasks import Aggregation, TokenClassifier
from isobatch.types import Encoding

WORDS = "word"
"""The kind of offsets of pre-split texts."""

CHARACTERS = "character"

Row = tuple[str, ExpectedEntities]
"""The place of a row, and its text with the expected entities."""


@dataclass(frozen=True, slots=True)
class EntityOptions:
    """How entities are compared.

    scheme: count only spans that are complete in this scheme, as seqeval's strict mode does.
    aggregation: of the tokens, where spans of characters are compared; None is "simple".
    """

    scheme: Scheme | None = None
    aggregation: Aggregation | None = None


@dataclass(frozen=True, slots=True)
class FoundSpan:
    """A predicted span and its score."""

    span: TagSpan
    score: float


@dataclass(frozen=True)
class EntityColumn:
    """The columns of texts and of expected entities, and other names of tags and types."""

    files: LabelledFiles
    columns: InputColumns
    scheme: Scheme | None
    names: Mapping[str, str]

    def rows(self, rows: TableChunk, tally: RowTally) -> Iterator[Row]:
        """Yield the rows with expected entities; count the others, or raise InputError."""
        column = self.files.label.column
        cells = zip(rows.cells(self.columns.text), rows.cells(column), strict=True)
        for index, (text, cell) in enumerate(cells):
            place = self.columns.place(rows, index)
            try:
                found = read_entities(text, cell, self.names, self.scheme)
            except InputError as error:
                if self.files.label.on_bad_label == "stop":
                    raise InputError(f"{place}: the column {column!r}: {error.reason}") from None
                tally.add_error(place, f"{column}: {error.reason}")
                continue
            if found is not None:
                yield place, found
            elif self.files.label.skip_unlabelled:
                tally.num_unlabelled += 1
            else:
                raise InputError(
                    f"{place}: the entities are missing in the column {column!r}. Leave such rows "
                    "out with --skip-unlabelled"
                )


def evaluate_entities(
    files: LabelledFiles,
    classifier: TokenClassifier,
    options: EntityOptions = EntityOptions(),  # frozen
    *,
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = NUM_MISTAKES,
    on_progress: ProgressCallback = lambda progress: None,
) -> EntityEvaluation:
    """Find the entities of every row, and count which of them are as expected.

    The label column has tags of words or spans of characters, as isobatch.evaluation.span_cells
    reads them. OptionError for columns that do not exist, InputError for tags or spans that cannot
    be read, and where the checkpoint has none of the expected types; TableError for a file that
    cannot be read.
    """
    labels = classifier.config.head.labels
    names = _read_names(files.label.label_map)
    tables = [open_table(each) for each in files.tables]
    scan = scan_tables(tables)
    named = files.text_column, None, files.id_column, files.label.column
    columns = choose_columns(scan.columns, *named)
    column = EntityColumn(files, columns, options.scheme, names)
    _check_scheme(labels, options.scheme)
    kinds, notes = _check_cells(tables, column, types_of(labels))
    _refuse_unused(options, kinds)
    tally, comparison = RowTally(), SpanComparison(num_mistakes)
    start, done, cache = time.monotonic(), 0, OutputCache()
    for rows in cut_chunks(tables, columns):
        expected = list(column.rows(rows, tally))
        found = _find(classifier, [each for _, each in expected], files, options, cache)
        for (place, each), spans in zip(expected, found, strict=True):
            if isinstance(spans, InputError):
                tally.add_error(place, spans.reason)
                continue
            encoding, predicted = spans
            empty, size = not each.text.strip(), len(encoding)
            tally.add(truncated=encoding.truncated, empty=empty, num_tokens=size)
            comparison.add(place, each, predicted)
        done += len(rows)
        counts, seconds = RowCounts(rows=done, tokens=tally.num_tokens), time.monotonic() - start
        on_progress(ScoringProgress(scan.num_rows, RowCounts(), counts, seconds))
    if not tally.num_texts:
        raise tally.absence("text")
    aggregation = {} if kinds == {WORDS} else {"aggregation": options.aggregation or "simple"}
    compared = {"spans of": " and ".join(f"{kind}s" for kind in sorted(kinds)) or "no text"}
    all_facts = {**(facts or {}), **compared, **aggregation}
    return comparison.finish(options.scheme, tally.fields(all_facts, notes))


def _read_names(given: Sequence[str]) -> dict[str, str]:
    """Read mappings such as "PERSON=PER"; OptionError for one without a name on a side."""
    names: dict[str, str] = {}
    for each in given:
        name, equals, other = each.rpartition("=")
        if not equals or not name or not other:
            raise OptionError(f"--label-map {each}: expected NAME=NAME, such as PERSON=PER")
        if names.setdefault(name, other) != other:
            raise OptionError(f"--label-map {each}: {name} is {names[name]} already. Map it once")
    return names


def _check_scheme(labels: Sequence[str], scheme: Scheme | None) -> None:
    if scheme is None:
        return
    for label in labels:
        try:
            read_tag(as_tag(label), scheme)
        except InputError:
            raise OptionError(
                f"--scheme {scheme}: the checkpoint has the label {label}, which that scheme does "
                "not have. Choose the scheme of the checkpoint, or leave it out"
            ) from None


def _refuse_unused(options: EntityOptions, kinds: set[str]) -> None:
    """Raise OptionError for an option that is for another kind of expected entities than all."""
    if options.scheme is not None and kinds == {CHARACTERS}:
        raise OptionError(
            f"--scheme {options.scheme}: is for tags of words, but the column has spans of "
            "characters. Leave it out"
        )
    if options.aggregation is not None and kinds == {WORDS}:
        raise OptionError(
            f"--aggregation {options.aggregation}: is for spans of characters, but the column has "
            "tags of words. Leave it out"
        )


def _check_cells(
    tables: Sequence[Table], column: EntityColumn, types: frozenset[str]
) -> tuple[set[str], list[str]]:
    """Read all expected entities; return the kinds of their offsets, and notes on their types.

    InputError where no type is one of `types`.
    """
    kinds: set[str] = set()
    counts: dict[str, tuple[str, int]] = {}
    for table in tables:
        for rows in table.rows(MAX_CHUNK_ROWS, MAX_READ_CHARACTERS):
            for place, each in column.rows(rows, RowTally()):
                kinds.add(CHARACTERS if each.words is None else WORDS)
                for span in sorted(each.spans):
                    first, number = counts.get(span.label, (place, 0))
                    counts[span.label] = first, number + 1
    unknown = [name for name in counts if name not in types]
    known = ", ".join(sorted(types))
    if unknown and len(unknown) == len(counts):
        first = counts[unknown[0]][0]
        raise InputError(
            f"{first}: the checkpoint has none of the expected types (got {', '.join(unknown[:9])};"
            f" the checkpoint has {known}). Specify theirs with --label-map, such as --label-map "
            f"{unknown[0]}={min(types, default='PER')}"
        )
    notes = [
        f"the checkpoint has no type {name}: {counted(counts[name][1], 'expected span')} of it "
        f"cannot be found; --label-map {name}=NAME renames it"
        for name in unknown
    ]
    return kinds, notes


def _find(
    classifier: TokenClassifier,
    texts: Sequence[ExpectedEntities],
    files: LabelledFiles,
    options: EntityOptions,
    cache: OutputCache,
) -> Iterator[InputError | tuple[Encoding, list[FoundSpan]]]:
    """Yield for each text its encoding and its spans; or why it has none."""
    given = [each.text if each.words is None else WordList(each.words) for each in texts]
    encodings = classifier.tokenize(given, truncation=files.truncation)
    valid = [each for each in encodings if not isinstance(each, InputError)]
    outputs = iter(classifier.forward_or_errors(valid, cache))
    for text, encoding in zip(texts, encodings, strict=True):
        if isinstance(encoding, InputError):
            yield encoding
            continue
        output = next(outputs)
        if isinstance(output, InputError):
            yield output
        elif text.words is None:
            entities = classifier.decode(output, encoding, options.aggregation or "simple").entities
            spans = [FoundSpan(TagSpan(e.start, e.end, e.label), e.score) for e in entities]
            yield encoding, spans
        else:
            aligned = cast("TokenEncoding", encoding)
            yield encoding, _tagged_spans(classifier, output, aligned, text, options)


def _tagged_spans(
    classifier: TokenClassifier,
    output: Output,
    encoding: TokenEncoding,
    text: ExpectedEntities,
    options: EntityOptions,
) -> list[FoundSpan]:
    """Return the spans of words by the tag of each word's first token; of no token, O."""
    assert text.words is not None
    labels = classifier.config.head.labels
    tags, scores = [OUTSIDE] * len(text.words), [0.0] * len(text.words)
    seen: set[int] = set()
    for token, word in enumerate(encoding.words):
        if word is None or word in seen:
            continue
        seen.add(word)
        best = int(output[token].argmax())
        tags[word] = as_tag(labels[best])
        # Only shown, and the order of mistakes: it needs no fixed bits.
        shifted = output[token].astype(np.float64) - float(output[token][best])
        scores[word] = float(1 / np.exp(shifted).sum())
    spans = sorted(spans_of(tags, options.scheme))
    return [
        FoundSpan(span, sum(scores[span.start : span.end]) / (span.end - span.start))
        for span in spans
    ]


class SpanComparison:
    """Counts of spans over texts, and the wrong spans with the highest scores."""

    def __init__(self, num_mistakes: int) -> None:
        self._num_mistakes = num_mistakes
        self._counts = SpanCounts()
        self._num_missed = self._num_spurious = self._number = 0
        self._mistakes: list[tuple[float, int, SpanMistake]] = []

    def add(self, place: str, expected: ExpectedEntities, found: Sequence[FoundSpan]) -> None:
        """Count the spans of one text."""
        spans = [each.span for each in found]
        self._counts.add(expected.spans, spans)
        self._num_missed += sum(not _overlapping(each, spans) for each in expected.spans)
        for each in found:
            others = _overlapping(each.span, sorted(expected.spans))
            self._num_spurious += not others
            if each.span not in expected.spans:
                self._add_mistake(place, expected, each, others)

    def _add_mistake(
        self, place: str, text: ExpectedEntities, found: FoundSpan, expected: Sequence[TagSpan]
    ) -> None:
        self._number += 1
        shown = "; ".join(f"{each.label} {text.shown(each)!r}" for each in expected)
        words, label = text.shown(found.span), found.span.label
        mistake = SpanMistake(place, text.text, words, label, shown or "none", found.score)
        entry = found.score, -self._number, mistake
        if len(self._mistakes) < self._num_mistakes:
            heapq.heappush(self._mistakes, entry)
        elif self._mistakes:
            heapq.heappushpop(self._mistakes, entry)

    def finish(self, scheme: Scheme | None, fields: Mapping[str, object]) -> EntityEvaluation:
        """Compute the metrics. fields: those of EvaluatedRows."""
        counts = self._counts
        return EntityEvaluation(
            task="entities",
            scheme=scheme or "default",
            micro=counts.micro,
            macro=counts.macro,
            weighted=counts.weighted,
            types=tuple(counts.types),
            num_missed=self._num_missed,
            num_spurious=self._num_spurious,
            mistakes=tuple(mistake for *_, mistake in sorted(self._mistakes, reverse=True)),
            **fields,  # type: ignore[arg-type]
        )


def _overlapping(span: TagSpan, others: Sequence[TagSpan]) -> list[TagSpan]:
    return [each for each in others if each.start < span.end and span.start < each.end]

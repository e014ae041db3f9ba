"""The texts of `isobatch lesson --texts`: a file, read as `isobatch run` reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isobatch.cli import input_files
from isobatch.cli.terminal_layout import say
from isobatch.errors import InputError


@dataclass(frozen=True, slots=True)
class LessonTexts:
    """Texts and the name of their file, without its folder; texts: None for the built-in sample."""

    texts: Sequence[str] | None
    source: str
    num_left_out: int = 0


def read_lesson_texts(
    name: str | None, text_column: str | None, reading: input_files.InputOptions
) -> LessonTexts:
    """Read all texts of a file; None for the built-in sample.

    A row without a text is left out, counted, and the first one is reported on stderr. Raises
    TableError for a file that cannot be read, OptionError without a column that can be the text,
    and for fewer than two texts.
    """
    from isobatch.lesson.mask_cost import SAMPLE, check_number_of_texts

    if name is None:
        return LessonTexts(None, SAMPLE)
    from isobatch.scoring import choose_columns, cut_chunks
    from isobatch.scoring.predictions import read_inputs
    from isobatch.tables import open_table, scan_tables

    texts: list[str] = []
    refused: list[str] = []
    with input_files.input_tables([name], reading) as files:
        tables = [open_table(each) for each in files]
        found = scan_tables(tables).columns
        if found:
            columns = choose_columns(found, text_column)
            for table in tables:
                table.check_text(columns.text)
            for rows in cut_chunks(tables, columns):
                for index, text in enumerate(read_inputs(rows, columns)):
                    if isinstance(text, InputError):
                        refused.append(f"{columns.place(rows, index)}: {text.reason}")
                    else:
                        assert isinstance(text, str)
                        texts.append(text)
    if refused:
        say(f"isobatch: {len(refused):,} left out; the first, {refused[0]}", err=True)
    source = "stdin" if name == input_files.STDIN else Path(name).name
    check_number_of_texts(texts, source)
    return LessonTexts(texts, source, len(refused))

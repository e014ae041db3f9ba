"""The labelled files of a training: described for its record, and found again from there.

Invariant: a description names everything that the texts of a file depend on: its bytes, its format
and the columns that are read; files that are found by it have the same bytes.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from isobatch.drawing.display_text import counted
from isobatch.errors import JobError, NotVerifiableError, OptionError
from isobatch.jobs.durable import digest_file
from isobatch.tables import CsvDialect, TableFile
from isobatch.training.data.dataset import LabelledColumns, LabelledTexts, read_labelled

DataPart = Literal["training", "validation", "unlabelled"]
PARTS: tuple[DataPart, ...] = get_args(DataPart)


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """The files of one part, which have the same columns; unlabelled texts have no labels."""

    part: DataPart
    tables: tuple[TableFile, ...]
    columns: LabelledColumns

    def read(self) -> LabelledTexts:
        """Read all texts with their labels; errors as those of `read_labelled`."""
        is_training = self.part == "training"
        return read_labelled(self.tables, self._columns, is_training=is_training)

    @property
    def _columns(self) -> LabelledColumns:
        """The columns that are read: of unlabelled texts only the texts."""
        if self.part != "unlabelled":
            return self.columns
        return replace(self.columns, labels=(), separator=None)

    def describe(self, texts: LabelledTexts, out: Path) -> list[dict[str, Any]]:
        """Describe each file in plain values, for the record in the folder `out`.

        texts: as `read` returned them. Paths are relative to that folder, so that both can be moved
        together; that of stdin is null: its text is not kept.
        """
        pairs = zip(self.tables, texts.files, strict=True)
        return [self._describe(table, facts, out) for table, facts in pairs]

    def _describe(self, table: TableFile, facts: Mapping[str, Any], out: Path) -> dict[str, Any]:
        place = os.path.relpath(table.path.resolve(), out.resolve())
        labels = self.columns.labels
        return {
            "part": self.part,
            "path": None if table.is_stdin else place,
            "rows": facts["rows"],
            "bytes": facts["bytes"],
            "sha256": facts["sha256"],
            "format": table.format,
            "compression": table.compression,
            "dialect": asdict(table.dialect),
            "encoding": table.encoding,
            "columns": {
                **asdict(self.columns),
                "labels": None if labels is None else list(labels),
            },
        }


def find_sources(
    files: Sequence[Mapping[str, Any]], folder: Path, moved: Sequence[Path] = ()
) -> list[LabelledSource]:
    """Return the sources that `describe` described in the record of `folder`.

    moved: where the files are instead, in their order, or the folder that they are in. OptionError
    for another number of files; NotVerifiableError for a file that is missing or has changed.
    """
    paths = _paths(files, folder, moved)
    for path, described in zip(paths, files, strict=True):
        _check_file(folder, path, described)
    sources = []
    for part in PARTS:
        pairs = [pair for pair in zip(paths, files, strict=True) if pair[1]["part"] == part]
        if pairs:
            columns = {**pairs[0][1]["columns"]}
            if columns["labels"] is not None:
                columns["labels"] = tuple(columns["labels"])
            tables = tuple(_table(*pair) for pair in pairs)
            sources.append(LabelledSource(part, tables, LabelledColumns(**columns)))
    return sources


def _paths(files: Sequence[Mapping[str, Any]], folder: Path, moved: Sequence[Path]) -> list[Path]:
    if any(each["path"] is None for each in files) and not moved:
        raise NotVerifiableError(
            f"{folder}: its texts were read from stdin, which is not kept. Save them to a file, "
            "and specify it"
        )
    recorded = [(folder.resolve() / (each["path"] or "stdin")).resolve() for each in files]
    if not moved:
        return recorded
    if len(moved) == 1 and moved[0].is_dir():
        return [moved[0] / path.name for path in recorded]
    if len(moved) != len(recorded):
        raise OptionError(
            f"{folder} was trained from {counted(len(recorded), 'file')}, got {len(moved)}. Name "
            f"all of them in their order ({', '.join(path.name for path in recorded)}), or the "
            "folder that they are in"
        )
    return [*moved]


def _check_file(folder: Path, path: Path, described: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise NotVerifiableError(
            f"{folder}: {path}, which it was trained from, does not exist. If it was moved, name "
            "all files, or their folder"
        )
    try:
        found = digest_file(path).sha256
    except JobError as error:
        raise NotVerifiableError(f"{folder}: {error}") from error
    if found != described["sha256"]:
        raise NotVerifiableError(
            f"{folder}: {path}, which it was trained from, has changed: SHA-256 was "
            f"{described['sha256']}, is {found}. Restore it, or specify the file that it was"
        )


def _table(path: Path, described: Mapping[str, Any]) -> TableFile:
    return TableFile(
        path,
        described["format"],
        described["compression"],
        CsvDialect(**described["dialect"]),
        described["encoding"],
        format_given=True,
    )

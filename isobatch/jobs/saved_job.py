"""A finished output, its manifest and its runs, read back as the job that wrote it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobatch.checkpoint.truncation import read_truncation
from isobatch.errors import JobError, NotVerifiableError
from isobatch.jobs.folder import JobFolder, other_format
from isobatch.jobs.job import FileJob
from isobatch.jobs.manifest import MANIFEST_FORMAT
from isobatch.scoring import ScoringOptions, TaskOptions, recorded_options
from isobatch.tables import CsvDialect, TableFile

RECORDS = ("manifest.json", "finished.json")
"""A folder that has one of them belongs to a job; one that only has a lock does not."""


@dataclass(frozen=True, slots=True)
class SavedJob:
    """A finished output as its job folder describes it."""

    output: TableFile
    sha256: str
    manifest: dict[str, Any]
    run: Mapping[str, Any]

    def input_paths(self) -> list[Path]:
        """Return where the inputs were, seen from the output; "stdin" in the place of stdin."""
        folder = self.output.path.resolve().parent
        names = self.run.get("inputs") or [f"input {i + 1}" for i in range(len(self.inputs))]
        return [Path(folder / ("stdin" if name is None else name)).resolve() for name in names]

    @property
    def is_of_stdin(self) -> bool:
        """Whether the input was stdin, whose text is not kept."""
        return None in (self.run.get("inputs") or ())

    @property
    def inputs(self) -> Sequence[Mapping[str, Any]]:
        """The inputs' formats and digests."""
        inputs: list[dict[str, Any]] = self.manifest["inputs"]
        return inputs

    @property
    def task(self) -> TaskOptions:
        """The task and its options."""
        labels = self.manifest["columns"]["labels"]
        return recorded_options(self.manifest.get("task"), tuple(labels))

    def job(self, paths: Sequence[Path]) -> FileJob:
        """Return the job that wrote the output, with its inputs at `paths`."""
        columns = self.manifest["columns"]
        read, is_array = columns["read"], self.output.format == "npy"
        scoring = ScoringOptions(
            text_column=read["text"],
            pair_column=read["pair"],
            id_column=read["id"],
            columns=None if is_array else tuple(columns["kept"]),
            logits=columns["has_logits"],
            scores=columns["has_scores"],
            prefix="" if is_array else columns["added"][-1]["name"].removesuffix("error"),
            truncation=read_truncation(self.manifest["truncation"]),
            on_empty=self.manifest["on_empty"],
            labels_column=read.get("labels"),
        )
        pairs = zip(paths, self.inputs, strict=True)
        return FileJob(tuple(_table(*pair) for pair in pairs), self.output, scoring)


def read_saved_job(path: Path) -> SavedJob:
    """Read the job folder of a finished output; NotVerifiableError if there is not one."""
    target = path.resolve() if path.is_symlink() else path
    folder = JobFolder(target)
    try:
        manifest, finished, runs = (
            folder.read_manifest(),
            folder.read_finished(),
            folder.read_runs(),
        )
    except JobError as error:
        raise NotVerifiableError(f"{path}: its job cannot be read: {error}") from error
    if not target.is_file() and (manifest is None or finished is not None):
        raise NotVerifiableError(
            f"{path}: no such file. Use an output of `isobatch run` or `embed`"
        )
    if manifest is None:
        raise NotVerifiableError(
            f"{path}: there is no {folder.path / 'manifest.json'}, which says how it was made. "
            "Use an output of `isobatch run` or `embed`, with the folder .isobatch next to it"
        )
    if manifest.get("manifest") != MANIFEST_FORMAT:
        raise NotVerifiableError(f"{path}: {other_format(manifest)}")
    if finished is None:
        raise NotVerifiableError(
            f"{path}: its job is not finished. Run the same command again to finish it"
        )
    try:
        output = _table(target, manifest["output"])
        saved = SavedJob(output, finished.sha256, manifest, runs[-1] if runs else {})
        saved.job(saved.input_paths())
        _ = saved.task
    except (KeyError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise NotVerifiableError(
            f"{folder.path}: the manifest is incomplete or was edited: {error!r}. Score the input "
            "again with --restart"
        ) from error
    return saved


def outputs_with_jobs(path: Path) -> list[Path]:
    """Return `path`, or the outputs in a folder; NotVerifiableError if it has none.

    Outputs of unfinished jobs are among them, though some do not exist yet: none may be missed.
    """
    if not path.is_dir():
        return [path]
    records = (each for each in (path / ".isobatch").glob("*/*") if each.name in RECORDS)
    jobs = sorted({each.parent for each in records})
    if not jobs:
        raise NotVerifiableError(
            f"{path}: has no output of `isobatch run` or `embed`. Use an output, or its folder"
        )
    return [path / each.name for each in jobs]


def _table(path: Path, described: Any) -> TableFile:
    dialect = CsvDialect(**described["dialect"])
    read = described["format"], described["compression"], dialect, described["encoding"]
    return TableFile(path, *read, format_given=True)

"""Verification of a finished output: its rows are computed again, and compared bit for bit.

Inputs and options are those of its manifest. Invariant: an output counts as reproduced only if its
file is unchanged since it was finished, and if every cell that `run` added to the checked rows is
computed with the same bits; how many rows were checked is always part of the result.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from isobatch.batching.cache import OutputCache
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.drawing.display_text import counted
from isobatch.errors import (
    CheckpointError,
    DeviceError,
    NotInvariantError,
    NotVerifiableError,
    OptionError,
    PrecisionError,
    TableError,
)
from isobatch.jobs.durable import digest_file
from isobatch.jobs.job import FileJob, ModelOptions
from isobatch.jobs.manifest import Manifest, describe_changes, describe_provenance, portable_fix
from isobatch.jobs.prepare import PreparedJob, prepare_job
from isobatch.jobs.row_comparison import (
    DifferentRow,
    PairedRow,
    UnequalRowsError,
    different_cells,
    pair_rows,
)
from isobatch.jobs.saved_job import SavedJob, read_saved_job
from isobatch.scoring import RowScorer, score_inputs
from isobatch.tables import open_output
from isobatch.tasks.model_engines import engine_of

DEFAULT_SAMPLE = 1000
"""If one row in 333 differs, 95 of 100 samples of this size find one."""

ROWS_AT_ONCE = 512
MAX_SHOWN = 10

NOT_IN_THE_WAY = ("versions", "chunks")
"""Entries of a manifest that may differ: they are named in the result, and the rows tell."""

VerifyProgress = Callable[[int, int], object]
"""Called with the number of checked rows, and of rows to check."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Which rows are checked, and what replaces the places that were recorded.

    sample: the number of rows; None checks all. seed: another one chooses other rows. inputs: the
    inputs in their order, or one folder that has them under their recorded names. shown: the number
    of different rows that are described.
    """

    sample: int | None = DEFAULT_SAMPLE
    seed: int = 0
    inputs: tuple[Path, ...] = ()
    model: str | None = None
    revision: str | None = None
    device: str | None = None
    threads: int | None = None
    max_batch_tokens: int = MAX_BATCH_TOKENS
    shown: int = MAX_SHOWN

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise OptionError(f"sample must be at least 1, got {self.sample}")


@dataclass(frozen=True, slots=True)
class Verification:
    """The result for one output, of which `checked` of `rows` rows were computed again.

    chosen: how many were to be; not all of them are checked if the output cannot be read to its
    end. different: how many are not reproduced; `first` describes some of those. problems: other
    reasons why the output is not reproduced. notes: differences to the recorded run that may be.
    """

    output: str
    rows: int
    chosen: int
    checked: int
    different: int
    first: tuple[DifferentRow, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    arithmetic: str

    @property
    def is_reproduced(self) -> bool:
        return not self.different and not self.problems

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        verdict = "reproduced" if self.is_reproduced else "not reproduced"
        return {"verdict": verdict, **asdict(self)}


class Verifier:
    """Verifies outputs one after the other; a model that several need is loaded once."""

    def __init__(self, options: VerifyOptions) -> None:
        self._options = options
        self._loaded: dict[ModelOptions, RowScorer] = {}

    def verify(
        self, path: Path, on_progress: VerifyProgress = lambda checked, total: None
    ) -> Verification:
        """Verify the output at `path`.

        NotVerifiableError if that is impossible here: no job finished it, inputs
        or checkpoint are missing or changed, or the arithmetic is another one.
        """
        saved = read_saved_job(path)
        job = saved.job(self._input_paths(saved))
        _check_inputs(job, saved.manifest)
        scorer, model = self._scorer(saved)
        provenance = describe_provenance(scorer, model.model, model.revision)
        try:
            prepared = prepare_job(job, scorer.row_format, provenance)
        except (TableError, OptionError) as error:
            raise NotVerifiableError(f"{path}: its input cannot be read again: {error}") from error
        notes = _notes(path, saved, prepared.manifest)
        problems = _changed_file(saved)
        chosen = _choose_rows(prepared.num_rows, self._options)
        rows = _Comparison(prepared, scorer, self._options.shown)
        problems += rows.run(chosen, lambda done: on_progress(done, len(chosen)))
        return Verification(
            output=str(path),
            rows=prepared.num_rows,
            chosen=len(chosen),
            checked=rows.checked,
            different=rows.different,
            first=tuple(rows.first),
            problems=tuple(problems),
            notes=tuple(notes),
            arithmetic=scorer.pipeline.arithmetic,
        )

    def _input_paths(self, saved: "SavedJob") -> list[Path]:
        given, recorded = self._options.inputs, saved.input_paths()
        if len(given) == 1 and given[0].is_dir():
            return [given[0] / each.name for each in recorded]
        if given and len(given) != len(recorded):
            raise OptionError(
                f"--input: {saved.output.path} has {counted(len(recorded), 'input')}, got "
                f"{len(given)}. Specify all of them in their order "
                f"({', '.join(each.name for each in recorded)}), or the folder that they are in"
            )
        if not given and saved.is_of_stdin:
            raise NotVerifiableError(
                f"{saved.output.path}: its input was stdin, which is not kept. Save the text to a "
                "file, and specify it with --input"
            )
        return [*given] or recorded

    def _scorer(self, saved: "SavedJob") -> tuple[RowScorer, ModelOptions]:
        given, run = self._options, saved.run
        model, revision = (
            (run.get("model"), run.get("revision"))
            if given.model is None
            else (given.model, given.revision)
        )
        options = ModelOptions(
            model=model,
            precision=saved.manifest["precision"],
            device=given.device or str(run.get("device", "cpu")).split(" ")[0],
            threads=given.threads,
            max_batch_tokens=given.max_batch_tokens,
            revision=revision,
            task=saved.task,
            engine=engine_of(str(saved.manifest["arithmetic"])),
        )
        if options not in self._loaded:
            try:
                self._loaded[options] = options.load()
            except (CheckpointError, NotInvariantError, PrecisionError, DeviceError) as error:
                if isinstance(error, OptionError) and given.device:
                    raise
                raise NotVerifiableError(
                    f"{saved.output.path}: its checkpoint cannot be loaded as it was: {error}. If "
                    "it was moved, specify it with --model"
                ) from error
        return self._loaded[options], options


def _check_inputs(job: FileJob, manifest: Mapping[str, Any]) -> None:
    for table, described in zip(job.inputs, manifest["inputs"], strict=True):
        if not table.path.is_file():
            raise NotVerifiableError(
                f"{job.output.path}: its input {table.path} does not exist. If it was moved, name "
                "it with --input"
            )
        digest = digest_file(table.path)
        if digest.sha256 != described["sha256"]:
            raise NotVerifiableError(
                f"{job.output.path}: its input {table.path} has changed: SHA-256 was "
                f"{described['sha256']}, is {digest.sha256}. Restore it, or specify it with --input"
            )


def _notes(path: Path, saved: SavedJob, now: Manifest) -> list[str]:
    """Return the differences that may be; NotVerifiableError for the others."""
    before = saved.manifest
    if changed := describe_changes(*(_without(NOT_IN_THE_WAY, each) for each in (before, now))):
        fix = portable_fix(before, now, "verify it")
        raise NotVerifiableError(
            f"{path}: {changed}. {fix or 'Restore it, or specify it with --input or --model'}"
        )
    return [note] if (note := describe_changes(before, now)) else []


def _without(names: Sequence[str], manifest: Mapping[str, object]) -> Manifest:
    return {name: value for name, value in manifest.items() if name not in names}


def _changed_file(saved: SavedJob) -> list[str]:
    found = digest_file(saved.output.path).sha256
    if found == saved.sha256:
        return []
    return [f"the file has changed since it was finished: SHA-256 was {saved.sha256}, is {found}"]


def _choose_rows(num_rows: int, options: VerifyOptions) -> Collection[int]:
    """Choose the same rows for the same number of rows, sample and seed, on every machine."""
    if options.sample is None or options.sample >= num_rows:
        return range(num_rows)
    generator = random.Random(f"isobatch verify {options.seed}")
    return {*generator.sample(range(num_rows), options.sample)}


class _Comparison:
    """Computes chosen rows again, and keeps the first that differ."""

    def __init__(self, prepared: PreparedJob, scorer: RowScorer, shown: int) -> None:
        self._prepared = prepared
        self._scorer = scorer
        self._shown = shown
        self._cache = OutputCache()
        self.checked = 0
        self.different = 0
        self.first: list[DifferentRow] = []

    def run(self, chosen: Collection[int], on_progress: Callable[[int], object]) -> list[str]:
        """Compare the rows; return other reasons why the output is not reproduced."""
        job = self._prepared.job
        on_progress(0)
        try:
            table = open_output(replace(job.output, format_given=False))
            self._refuse_missing_columns(table.columns)
            pairs = pair_rows(self._prepared, table, chosen)
            while self._compare_next(pairs):
                on_progress(self.checked)
        except UnequalRowsError as error:
            found, expected = error.args
            return [f"the output has {counted(found, 'row')}, its input {expected:,}"]
        except TableError as error:
            return [f"the output cannot be read: {error}"]
        return []

    def _compare_next(self, pairs: Iterator[PairedRow]) -> bool:
        """Compare a block of rows, those before an error of `pairs` too; False without any."""
        block: list[PairedRow] = []
        try:
            for row in islice(pairs, ROWS_AT_ONCE):
                block.append(row)
        except (TableError, UnequalRowsError):
            self._compare(block)
            raise
        self._compare(block)
        return bool(block)

    def _refuse_missing_columns(self, columns: Sequence[str] | None) -> None:
        names = [field.name for field in self._prepared.columns.added]
        missing = [] if columns is None else [name for name in names if name not in columns]
        if missing:
            raise TableError(f"it lacks the column {missing[0]!r}")

    def _compare(self, rows: Sequence[PairedRow]) -> None:
        options, read = self._prepared.job.options, self._prepared.columns.read
        inputs = [row.input for row in rows]
        how = self._prepared.truncation, self._cache, options.on_empty
        scored = score_inputs(inputs, read, self._scorer, *how)
        for row, cells in zip(rows, different_cells(self._prepared, rows, scored), strict=True):
            self.checked += 1
            if not cells:
                continue
            self.different += 1
            if len(self.first) < self._shown:
                self.first.append(DifferentRow(row.row, row.place, row.input_place, cells))

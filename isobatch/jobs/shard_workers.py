"""What a Ray worker does with a shard: count its rows, or run its job.

Each holds all jobs and is given the number of one; what it returns is packed, errors of Isobatch
too, so that they come back as what they are. It does not import Ray. Invariant: a worker answers
only if its answers depend on exactly what those of the reference do.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from isobatch.cache import LogitsCache
from isobatch.errors import IsobatchError, JobError
from isobatch.jobs.manifest import Provenance, describe_provenance, differences
from isobatch.jobs.options import ModelOptions
from isobatch.jobs.prepare import FileJob, prepare_job
from isobatch.jobs.run import run_job
from isobatch.tables import open_table, scan

ShardRow = dict[str, Any]


def describe_worker(model: ModelOptions) -> bytes:
    """Packed: the provenance of a worker's answers, and its model's longest text."""

    def describe() -> tuple[Provenance, int]:
        classifier = model.load()
        return describe_provenance(classifier), classifier.max_tokens

    return pack(describe)


def count_rows(row: ShardRow, jobs: Sequence[FileJob]) -> ShardRow:
    """Read the inputs of a job through, and count their rows."""
    tables = jobs[row["shard"]].inputs
    return {"result": pack(lambda: sum(scan(open_table(each)).num_rows for each in tables))}


class ShardWorker:
    """Runs jobs with one classifier, and one cache."""

    def __init__(self, jobs: Sequence[FileJob], model: ModelOptions, reference: Provenance) -> None:
        self._jobs = jobs
        self._reference = reference
        self._classifier = model.load()
        self._provenance = describe_provenance(self._classifier)
        self._cache = LogitsCache()

    def __call__(self, row: ShardRow) -> ShardRow:
        return {"result": pack(lambda: self._run(self._jobs[row["shard"]]))}

    def _run(self, job: FileJob) -> int:
        if different := differences(asdict(self._reference), asdict(self._provenance)):
            raise JobError(
                "the workers' answers could differ in their last digits: "
                + "; ".join(different)
                + ". Use machines of one kind, with the same versions"
            )
        prepared = prepare_job(job, self._classifier.labels, self._provenance)
        progress = run_job(prepared, self._classifier, cache=self._cache)
        return progress.total.rows


def pack(action: Callable[[], object]) -> bytes:
    """The result of `action`, or the error of Isobatch that it raised."""
    try:
        return pickle.dumps(action())
    except IsobatchError as error:
        return pickle.dumps(error)


def unpack(packed: bytes) -> Any:
    """What was packed; raised, if it is an error."""
    result = pickle.loads(packed)
    if isinstance(result, IsobatchError):
        raise result
    return result

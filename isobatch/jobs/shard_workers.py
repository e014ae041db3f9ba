"""What a Ray worker does with a shard: read its inputs through, or run its job.

Each holds all jobs and is given the number of one; what it returns is packed, errors too, so that
they come back as what they are. It does not import Ray. Invariant: a worker answers only if its
answers depend on exactly what those of the reference do.
"""

import pickle
import platform
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isobatch.cache import LogitsCache
from isobatch.errors import IsobatchError, JobError
from isobatch.jobs.manifest import Provenance, describe_provenance, differences
from isobatch.jobs.options import ModelOptions
from isobatch.jobs.prepare import FileJob, prepare_job
from isobatch.jobs.run import run_job
from isobatch.predictor import Classifier

ShardRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """What every worker's classifier must be like."""

    provenance: Provenance
    labels: tuple[str, ...]
    max_tokens: int


def describe_worker(model: ModelOptions) -> bytes:
    """Packed: the reference, which is the worker that this runs on."""

    def describe() -> Reference:
        classifier = model.load()
        return Reference(
            describe_provenance(classifier), classifier.labels, classifier.max_tokens
        )

    return pack(describe)


def check_shard(row: ShardRow, jobs: Sequence[FileJob], reference: Reference) -> ShardRow:
    """Do of a job what can be done without a model; its result is the number of rows."""

    def check() -> int:
        job = jobs[row["shard"]]
        return prepare_job(job, reference.labels, reference.provenance).num_rows

    return row | {"result": pack(check)}


class ShardWorker:
    """Runs jobs with one classifier, and one cache."""

    def __init__(
        self, jobs: Sequence[FileJob], model: ModelOptions, reference: Reference
    ) -> None:
        self._jobs = jobs
        self._model = model
        self._reference = reference
        self._classifier: Classifier | None = None
        self._cache = LogitsCache()

    def __call__(self, row: ShardRow) -> ShardRow:
        """Run a job; its result is the counts of all its rows."""
        return row | {"result": pack(lambda: self._run(self._jobs[row["shard"]]))}

    def _run(self, job: FileJob) -> object:
        # Not when the worker starts: Ray would make an error there one of its own, and try again.
        if self._classifier is None:
            self._classifier = self._load()
        prepared = prepare_job(job, self._reference.labels, self._reference.provenance)
        return run_job(prepared, self._classifier, cache=self._cache).total

    def _load(self) -> Classifier:
        classifier = self._model.load()
        own = describe_provenance(classifier)
        if different := differences(asdict(self._reference.provenance), asdict(own)):
            raise JobError(
                "the workers' answers could differ in their last digits: "
                + "; ".join(different)
                + ". Use machines of one kind, with the same versions"
            )
        return classifier


def pack(action: Callable[[], object]) -> bytes:
    """The result of `action`, or its error; a JobError for one that is not Isobatch's."""
    try:
        return pickle.dumps(action())
    except IsobatchError as error:
        return pickle.dumps(error)
    except OSError as error:
        return pickle.dumps(
            JobError(
                f"on worker {platform.node()}: {error}; all workers must see inputs, outputs and "
                "model under the same paths"
            )
        )
    except Exception as error:  # noqa: BLE001 - else Ray takes it for its own, and tries again
        where = traceback.extract_tb(error.__traceback__)[-1]
        return pickle.dumps(
            JobError(
                f"on worker {platform.node()}: {type(error).__name__}: {error} "
                f"({where.filename}:{where.lineno})"
            )
        )


def unpack(packed: bytes) -> Any:
    """What was packed; raised, if it is an error."""
    result = pickle.loads(packed)
    if isinstance(result, IsobatchError):
        raise result
    return result

"""What a Ray worker does with a shard: read its inputs through, or run its job.

Each holds all jobs and is given the number of one; what it returns is packed, errors too, so that
they come back as what they are. It does not import Ray. Invariant: a worker answers only if its
answers depend on exactly what those of the reference do.
"""

import json
import pickle
import platform
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isobatch.batching.cache import OutputCache
from isobatch.errors import IsobatchError, JobError
from isobatch.jobs.folder import JobFolder
from isobatch.jobs.ledgers import LedgerWatch
from isobatch.jobs.manifest import Manifest, Provenance, describe_provenance, differences
from isobatch.jobs.options import ModelOptions
from isobatch.jobs.prepare import FileJob, PreparedJob, prepare_job
from isobatch.jobs.run import run_job
from isobatch.jobs.summary import Counts
from isobatch.tasks import Classifier

ShardRow = dict[str, Any]

MAX_ATTEMPTS = 3
"""How often a shard may take its worker down, without a row more, before the run gives up."""

SHARED = "all workers must see inputs, outputs and model under the same paths"


@dataclass(frozen=True, slots=True)
class Reference:
    """What every worker's classifier must be like."""

    provenance: Provenance
    labels: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class CheckedShard:
    """What is settled about a shard before any is run."""

    num_rows: int
    manifest: Manifest


def describe_worker(model: ModelOptions) -> bytes:
    """Packed: the reference, which is the worker that this runs on."""

    def describe() -> Reference:
        classifier = model.load()
        return Reference(describe_provenance(classifier), classifier.labels, classifier.max_tokens)

    return pack(describe)


def check_shard(row: ShardRow, jobs: Sequence[FileJob], reference: Reference) -> ShardRow:
    """Do of a job all that needs no model; its result is a CheckedShard."""

    def check() -> CheckedShard:
        prepared = _prepare(jobs[row["shard"]], reference)
        return CheckedShard(prepared.num_rows, prepared.manifest)

    return row | {"result": pack(check)}


class ShardWorker:
    """Runs jobs with one classifier, and one cache; `run` is the name of the whole run."""

    def __init__(
        self, jobs: Sequence[FileJob], model: ModelOptions, reference: Reference, run: str
    ) -> None:
        self._jobs = jobs
        self._model = model
        self._reference = reference
        self._run_name = run
        self._classifier: Classifier | None = None
        self._cache = OutputCache()

    def __call__(self, row: ShardRow) -> ShardRow:
        """Run a job that was checked; its result is the counts of all its rows."""
        job, checked = self._jobs[row["shard"]], unpack(row["result"])
        return row | {"result": pack(lambda: self._run(job, checked))}

    def _run(self, job: FileJob, checked: CheckedShard) -> Counts:
        attempts = _Attempts(job, self._run_name)
        attempts.begin()
        # Not when the worker starts: Ray would make an error there one of its own, and try again.
        self._classifier = self._classifier or self._load()
        prepared = _prepare(job, self._reference)
        if different := differences(checked.manifest, prepared.manifest):
            raise JobError(
                f"{job.output.path}: is not what it was when the run began, or not the same on "
                "every machine: " + "; ".join(different)
            )
        counts = run_job(prepared, self._classifier, cache=self._cache).total
        attempts.end()
        return counts

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


def _prepare(job: FileJob, reference: Reference) -> PreparedJob:
    """As `prepare_job`; JobError if this machine does not see the inputs."""
    for table in job.inputs:
        if not table.path.exists():
            raise JobError(f"on worker {platform.node()}: {table.path}: is not there; {SHARED}")
    return prepare_job(job, reference.labels, reference.provenance)


class _Attempts:
    """How often workers of one run began a job where it stands; Ray itself begins without end."""

    def __init__(self, job: FileJob, run: str) -> None:
        self._output = job.output.path
        self._run = run
        self._path = JobFolder(self._output).path / "attempts.json"

    def begin(self) -> None:
        """JobError if that was tried often enough."""
        state = {"run": self._run, "rows": LedgerWatch([self._output]).look().rows}
        times = self._times(state) + 1
        if times > MAX_ATTEMPTS:
            raise JobError(
                f"{self._output}: {MAX_ATTEMPTS} workers died on it, each after the "
                f"{state['rows']:,} rows that are kept; for want of memory? Ray's logs say more, "
                "and the same command goes on from there"
            )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(state | {"times": times}), encoding="utf-8")

    def end(self) -> None:
        self._path.unlink(missing_ok=True)

    def _times(self, state: dict[str, Any]) -> int:
        try:
            before = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return 0
        times: int = before.pop("times", 0)
        return times if before == state else 0


def pack(action: Callable[[], object]) -> bytes:
    """The result of `action`, or its error; a JobError for one that is not Isobatch's."""
    try:
        return pickle.dumps(action())
    except IsobatchError as error:
        return pickle.dumps(error)
    except OSError as error:
        return pickle.dumps(JobError(f"on worker {platform.node()}: {error}; {SHARED}"))
    except Exception as error:  # noqa: BLE001 - else Ray takes it for its own, and tries again
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}:{last.lineno}"
        return pickle.dumps(
            JobError(f"on worker {platform.node()}: {type(error).__name__}: {error} ({where})")
        )


def unpack(packed: bytes) -> Any:
    """What was packed; raised, if it is an error."""
    result = pickle.loads(packed)
    if isinstance(result, IsobatchError):
        raise result
    return result


def failed(row: ShardRow) -> bool:
    """Whether the result of a row is an error."""
    return isinstance(pickle.loads(row["result"]), IsobatchError)

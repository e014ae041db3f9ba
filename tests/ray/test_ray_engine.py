"""Parts of the Ray engine that need no Ray: shard workers, crash limits, ledger reading."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jobs.machines import TORCH_ON_AVX2, TORCH_ON_AVX512, machine
from jobs.task_checkpoints import write_embedder
from ray_machines import num_lines_kept, run_here, write_csv, write_model

from isobatch.errors import InputError, IsobatchError, JobError, OptionError, TableError
from isobatch.jobs import (
    FileJob,
    ModelOptions,
    RayOptions,
    ScoringOptions,
    TaskOptions,
    plan_jobs,
    run_files,
)
from isobatch.jobs.folder import JobFolder
from isobatch.jobs.manifest import Manifest
from isobatch.jobs.ray_engine import (
    MAX_CRASHES,
    LedgerReader,
    RayDriver,
    Reference,
    ShardWorker,
    check_shard,
    describe_worker,
    returns_errors,
)
from isobatch.kernels import ARITHMETIC
from isobatch.scoring import RowCounts, RowScorer
from isobatch.tables import TableFile
from isobatch.types import Truncation


class Counted(ModelOptions):
    """Counts how often a model is loaded."""

    loads = 0

    def load(self, truncation: Truncation | None = None) -> RowScorer:
        Counted.loads += 1
        return super().load(truncation)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelOptions:
    return Counted(str(write_model(tmp_path_factory.mktemp("model"))), threads=1)


@pytest.fixture(scope="module")
def reference(model: ModelOptions) -> Reference:
    described = describe_worker(model)
    assert isinstance(described, Reference)
    return described


def jobs_for(folder: Path, num_shards: int = 1) -> list[FileJob]:
    paths = [write_csv(folder / f"{index}.csv", 20, start=index) for index in range(num_shards)]
    tables = [TableFile(path, "csv", "none") for path in paths]
    return plan_jobs(tables, f"{folder}/out/", ScoringOptions())


def check(job: FileJob, reference: Reference) -> Manifest:
    checked = check_shard(job, reference)
    assert not isinstance(checked, IsobatchError)
    return checked[1]


def test_two_shards_are_one_load_and_the_bytes_of_one_machine(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    jobs = jobs_for(tmp_path, 2)
    worker = ShardWorker(model, reference)
    before = Counted.loads
    for job in jobs:
        counts = worker.run(job, check(job, reference))
        assert isinstance(counts, RowCounts)
        assert counts.rows == 20
    assert Counted.loads == before + 1
    written = [job.output.path.read_bytes() for job in jobs]
    shutil.rmtree(tmp_path / "out")
    run_files(jobs, model)
    assert [job.output.path.read_bytes() for job in jobs] == written


def reference_on(
    reference: Reference, arithmetic: str, kernel: str, versions: dict[str, str] | None = None
) -> Reference:
    """The reference as a worker of another kind of machine describes it."""
    provenance = replace(
        reference.provenance,
        arithmetic=arithmetic,
        instruction_set="AVX512",
        processor="another processor",
        kernels=dict.fromkeys(reference.provenance.kernels, kernel),
        versions={**reference.provenance.versions, **(versions or {})},
    )
    return replace(reference, provenance=provenance)


def test_workers_of_several_kinds_write_the_bytes_of_one_where_the_arithmetic_is_equal(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    [job] = jobs_for(tmp_path)
    elsewhere = reference_on(reference, ARITHMETIC, "compiled avx512vnni", {"torch": "2.14.0"})
    with machine(instruction_set="AVX2", kernel="compiled avx2"):
        counts = ShardWorker(model, elsewhere).run(job, check(job, elsewhere))
        assert isinstance(counts, RowCounts)
        written = job.output.path.read_bytes()
        [run] = JobFolder(job.output.path).read_runs()
        assert run["kernels"] != elsewhere.provenance.kernels, "the worker's own are recorded"
        assert run["instruction_set"] == "AVX2"
        shutil.rmtree(tmp_path / "out")
        run_files([job], model)
    assert job.output.path.read_bytes() == written


@pytest.mark.parametrize(
    ("arithmetic", "kernel", "versions", "words"),
    [
        (
            TORCH_ON_AVX512,
            "onednn",
            {},
            f'on [^ ]+ arithmetic: was "{TORCH_ON_AVX512}", is "{ARITHMETIC}". The arithmetic '
            f"{ARITHMETIC} .* `isobatch info` says",
        ),
        (ARITHMETIC, "compiled avx2", {"tokenizers": "9.9"}, 'tokenizers: was "9.9".*same version'),
    ],
)
def test_a_worker_with_another_arithmetic_or_tokenizer_refuses(
    model: ModelOptions,
    reference: Reference,
    tmp_path: Path,
    arithmetic: str,
    kernel: str,
    versions: dict[str, str],
    words: str,
) -> None:
    [job] = jobs_for(tmp_path)
    elsewhere = reference_on(reference, arithmetic, kernel, versions)
    with machine():
        error = ShardWorker(model, elsewhere).run(job, check(job, elsewhere))
    assert isinstance(error, JobError)
    assert "predictions of the workers could differ: on " in str(error)
    assert re.search(words, str(error)), str(error)
    assert not job.output.path.exists()


def test_torch_s_arithmetic_of_another_kind_of_kernels_is_refused(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    [job] = jobs_for(tmp_path)
    elsewhere = reference_on(reference, TORCH_ON_AVX2, "onednn")
    with machine(TORCH_ON_AVX2, kernel="mkl"):
        error = ShardWorker(model, elsewhere).run(job, check(job, elsewhere))
    assert isinstance(error, JobError)
    assert 'was "onednn", is "mkl"' in str(error)


def test_an_input_that_changes_after_the_check_is_refused(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    [job] = jobs_for(tmp_path)
    checked = check(job, reference)
    write_csv(job.inputs[0].path, 21)
    error = ShardWorker(model, reference).run(job, checked)
    assert isinstance(error, JobError)
    assert "changed after the check" in str(error)


def test_errors_are_returned_as_themselves(reference: Reference, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    jobs[0].inputs[0].path.write_text('id,text\n1,"never closed\n')
    jobs[1].inputs[0].path.unlink()
    assert type(check_shard(jobs[0], reference)) is TableError
    missing = check_shard(jobs[1], reference)
    assert isinstance(missing, JobError)
    with pytest.raises(JobError, match=r"on worker .*1\.csv.*under the same paths"):
        raise missing

    def failing(error: Exception) -> Callable[[], object]:
        @returns_errors
        def fail() -> object:
            raise error

        return fail

    odd = failing(InputError("too odd", 3))()
    assert (type(odd), str(odd)) == (InputError, "text 3: too odd")
    full = failing(MemoryError("no room"))()
    assert isinstance(full, JobError)
    with pytest.raises(JobError, match=r"on worker .*: MemoryError: no room \(.*\.py:\d+\)"):
        raise full


def test_crashes_without_progress_are_limited(model: ModelOptions, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    driver = RayDriver(None, jobs, model, RayOptions())
    for _ in range(MAX_CRASHES - 1):
        driver.record_crash(0)
        driver.record_crash(1)
    run_files(jobs[1:], model)
    driver.record_crash(1)  # that shard has made progress
    with pytest.raises(JobError, match="3 workers crashed on this shard after 0 saved rows"):
        driver.record_crash(0)
    RayDriver(None, jobs, model, RayOptions()).record_crash(0)  # the next run counts from zero


def test_a_ledger_is_read_while_it_is_written(model: ModelOptions, tmp_path: Path) -> None:
    [job] = jobs_for(tmp_path)
    ledger_reader = LedgerReader(job.output.path)
    assert ledger_reader.poll().rows == 0
    run_files([job], model)
    assert ledger_reader.poll().rows == 20
    assert num_lines_kept(job.output.path) == 1
    ledger = tmp_path / "out/.isobatch/0.csv/chunks.jsonl"
    line = ledger.read_bytes()
    ledger.write_bytes(line + line[:30])
    assert ledger_reader.poll().rows == 20, "an incomplete line is ignored"
    ledger.write_bytes(line * 3)
    assert ledger_reader.poll().rows == 60
    ledger.write_bytes(line)
    assert ledger_reader.poll().rows == 20, "started over"
    ledger.write_bytes(line + b'{"odd": 1}\n' * 2)
    assert ledger_reader.poll().rows == 20, "its writer reports the error"
    ledger.write_bytes(line)
    job.output.path.rename(tmp_path / "elsewhere")
    assert ledger_reader.poll().rows == 0, "the job starts over"
    (tmp_path / "elsewhere").rename(job.output.path)
    assert ledger_reader.poll().rows == 20
    shutil.rmtree(tmp_path / "out")
    assert ledger_reader.poll().rows == 0


def test_a_ledger_that_did_not_grow_is_not_opened(
    model: ModelOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = jobs_for(tmp_path)
    run_files([job], model)
    ledger_reader = LedgerReader(job.output.path)
    before = ledger_reader.poll()

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Path, "open", refuse)
    assert ledger_reader.poll() == before


@pytest.mark.parametrize("name", ["workers", "cpus", "seconds_to_wait"])
def test_options_of_ray_are_at_least_one(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} must be at least 1, got 0"):
        RayOptions(**{name: 0})


def test_stdout_is_no_output_of_ray(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shard = write_csv(tmp_path / "shard.csv", 5)
    assert run_here(shard, "-o", "-", "--engine", "ray") == 2
    said = capfd.readouterr()
    assert "--engine ray writes files" in said.err
    assert said.out == ""


@pytest.mark.parametrize("output", ["npy", "parquet"])
def test_workers_write_vectors_with_the_bytes_of_one_process(tmp_path: Path, output: Any) -> None:
    """The pooling and the prompt reach the workers, with everything that they compute."""
    task = TaskOptions(
        name="feature-extraction", pooling="max", normalize=True, prompt_name="query"
    )
    model = ModelOptions(str(write_embedder(tmp_path / "model")), threads=1, task=task)
    described = describe_worker(model)
    assert isinstance(described, Reference)
    paths = [write_csv(tmp_path / f"{index}.csv", 20, start=index) for index in range(2)]
    tables = [TableFile(path, "csv", "none") for path in paths]
    jobs = plan_jobs(tables, f"{tmp_path}/out/", ScoringOptions(), output)
    worker = ShardWorker(model, described)
    for job in jobs:
        assert isinstance(worker.run(job, check(job, described)), RowCounts)
    written = [job.output.path.read_bytes() for job in jobs]
    shutil.rmtree(tmp_path / "out")
    run_files(jobs, model)
    assert [job.output.path.read_bytes() for job in jobs] == written
    other = describe_worker(replace(model, task=replace(task, prompt_name="passage")))
    assert isinstance(other, Reference)
    refused = ShardWorker(model, other).run(jobs[0], check(jobs[0], other))
    assert 'task.prompt_name: was "passage", is "query"' in str(refused)

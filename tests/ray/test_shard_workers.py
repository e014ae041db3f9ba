"""What a worker does with a shard, and how its ledger is read; without Ray."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ray_machines import num_lines_kept, run_here, write_csv, write_model

from isobatch.errors import InputError, JobError, OptionError, TableError
from isobatch.jobs import AnswerOptions, FileJob, ModelOptions, RayOptions, plan_jobs, run_files
from isobatch.jobs.ledgers import LedgerWatch
from isobatch.jobs.shard_workers import (
    MAX_ATTEMPTS,
    Reference,
    ShardWorker,
    check_shard,
    describe_worker,
    pack,
    unpack,
)
from isobatch.tables import TableFile
from isobatch.tasks import Classifier


class Counted(ModelOptions):
    """Counts how often a model is loaded."""

    loads = 0

    def load(self) -> Classifier:
        Counted.loads += 1
        return super().load()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelOptions:
    return Counted(str(write_model(tmp_path_factory.mktemp("model"))), threads=1)


@pytest.fixture(scope="module")
def reference(model: ModelOptions) -> Reference:
    described: Reference = unpack(describe_worker(model))
    return described


def jobs_for(folder: Path, num_shards: int = 1) -> list[FileJob]:
    paths = [write_csv(folder / f"{index}.csv", 20, start=index) for index in range(num_shards)]
    tables = [TableFile(path, "csv", "none") for path in paths]
    return plan_jobs(tables, f"{folder}/out/", AnswerOptions())


def check(jobs: list[FileJob], reference: Reference, shard: int = 0) -> dict[str, object]:
    return check_shard({"shard": shard}, jobs, reference)


def test_two_shards_are_one_load_and_the_bytes_of_one_machine(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    jobs = jobs_for(tmp_path, 2)
    worker = ShardWorker(jobs, model, reference, "run")
    before = Counted.loads
    for shard in range(2):
        counts = unpack(worker(check(jobs, reference, shard))["result"])
        assert counts.rows == 20
    assert Counted.loads == before + 1
    written = [job.output.path.read_bytes() for job in jobs]
    shutil.rmtree(tmp_path / "out")
    run_files(jobs, model)
    assert [job.output.path.read_bytes() for job in jobs] == written


def test_a_worker_of_another_kind_refuses(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    jobs = jobs_for(tmp_path)
    other = replace(reference.provenance, instruction_set="another")
    elsewhere = replace(reference, provenance=other)
    worker = ShardWorker(jobs, model, elsewhere, "run")
    with pytest.raises(JobError, match=r"could differ.*instruction_set: was .another"):
        unpack(worker(check(jobs, elsewhere))["result"])
    assert not jobs[0].output.path.exists()


def test_an_input_that_changes_after_the_check_is_refused(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    jobs = jobs_for(tmp_path)
    checked = check(jobs, reference)
    write_csv(jobs[0].inputs[0].path, 21)
    with pytest.raises(JobError, match="is not what it was when the run began"):
        unpack(ShardWorker(jobs, model, reference, "run")(checked)["result"])


def test_errors_come_back_as_themselves(reference: Reference, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    jobs[0].inputs[0].path.write_text('id,text\n1,"never closed\n')
    jobs[1].inputs[0].path.unlink()
    with pytest.raises(TableError):
        unpack(check(jobs, reference)["result"])
    with pytest.raises(JobError, match=r"on worker .*1\.csv.*under the same paths"):
        unpack(check(jobs, reference, 1)["result"])

    def fail(error: Exception) -> Callable[[], object]:
        def action() -> object:
            raise error

        return action

    with pytest.raises(InputError, match="text 3: too odd") as raised:
        unpack(pack(fail(InputError("too odd", 3))))
    assert type(raised.value) is InputError
    with pytest.raises(JobError, match=r"on worker .*: MemoryError: no room \(.*\.py:\d+\)"):
        unpack(pack(fail(MemoryError("no room"))))


def test_a_shard_is_tried_again_only_so_often_where_it_stands(
    model: ModelOptions, reference: Reference, tmp_path: Path
) -> None:
    class Deadly(ModelOptions):
        def load(self) -> Classifier:
            raise KeyboardInterrupt  # as good as death: nothing after it is done

    jobs = jobs_for(tmp_path)
    checked = check(jobs, reference)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            ShardWorker(jobs, Deadly(), reference, "run")(checked)
    with pytest.raises(JobError, match="3 workers died on it, each after the 0 rows"):
        unpack(ShardWorker(jobs, Deadly(), reference, "run")(checked)["result"])
    assert unpack(ShardWorker(jobs, model, reference, "next run")(checked)["result"]).rows == 20


def test_a_ledger_is_read_while_it_is_written(model: ModelOptions, tmp_path: Path) -> None:
    [job] = jobs_for(tmp_path)
    watch = LedgerWatch([job.output.path])
    assert watch.look().rows == 0
    run_files([job], model)
    assert watch.look().rows == 20
    assert num_lines_kept(job.output.path) == 1
    ledger = tmp_path / "out/.isobatch/0.csv/chunks.jsonl"
    line = ledger.read_bytes()
    ledger.write_bytes(line + line[:30])
    assert watch.look().rows == 20, "a torn line is not there yet"
    ledger.write_bytes(line * 3)
    assert watch.look().rows == 60
    ledger.write_bytes(line)
    assert watch.look().rows == 20, "begun anew"
    ledger.write_bytes(line + b'{"odd": 1}\n' * 2)
    assert watch.look().rows == 20, "who writes it will complain"
    ledger.write_bytes(line)
    job.output.path.rename(tmp_path / "elsewhere")
    assert watch.look().rows == 0, "the job begins anew"
    (tmp_path / "elsewhere").rename(job.output.path)
    assert watch.look().rows == 20
    shutil.rmtree(tmp_path / "out")
    assert watch.look().rows == 0


def test_a_ledger_that_did_not_grow_is_not_opened(
    model: ModelOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = jobs_for(tmp_path)
    run_files([job], model)
    watch = LedgerWatch([job.output.path])
    before = watch.look()

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Path, "open", refuse)
    assert watch.look() == before


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

"""Jobs on Ray: the same bytes as on one machine, also after crashes; and errors, not silence."""

import gzip
import importlib.metadata
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from isobatch_on_path import environment_with_isobatch
from jobs.task_checkpoints import write_embedder
from ray_machines import (
    MARK,
    SECONDS,
    Cluster,
    assert_all_end,
    contents,
    ended,
    kill,
    num_lines_kept,
    run,
    run_here,
    running_cluster,
    started,
    wait_for,
    workers_of,
    write_csv,
    write_model,
)

try:
    importlib.metadata.version("ray")
except importlib.metadata.PackageNotFoundError:
    pytest.skip("Ray is not installed", allow_module_level=True)

OURS = re.compile(
    r"isobatch: .*|\d[\d,]* rows .*|.*tokens/s; .*|.*duplicates not computed again|labels: .*"
    r"|digest: .*"
)
"""Lines of the command on stderr; any other is Ray's."""

LONG = 36_000
"""Rows of a shard, nine chunks: enough that work is left when the second driver starts.

With five, the first one's workers had sometimes done nearly all before they were gone.
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def long_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for index in range(2):
        write_csv(folder / f"{index}.csv", LONG, start=index * LONG)
    return folder


@pytest.fixture(scope="module")
def expected(long_shards: Path, model: Path) -> dict[str, bytes]:
    """The outputs of the long shards as one machine writes them."""
    output = long_shards.parent / "expected"
    assert run_here(long_shards, "-o", f"{output}/", "-m", model, "-q") == 0
    return contents(output)


def own_ray() -> dict[str, str]:
    """The environment of a run with a Ray of its own."""
    return os.environ | {MARK: os.urandom(8).hex()}


def drive(script: str, *arguments: object, cluster: Cluster) -> str:
    """The output of a Python driver; `run_on_ray`, `jobs_of` and `where` are there for it."""
    prelude = """
import os, sys
from isobatch.errors import IsobatchError
from isobatch.jobs import ModelOptions, RayOptions, ScoringOptions, plan_jobs, run_on_ray
from isobatch.tables import TableFile, detect_format, expand_inputs
def jobs_of(folder, output):
    tables = [TableFile(path, *detect_format(path.name)) for path in expand_inputs([folder])]
    return plan_jobs(tables, output + "/", ScoringOptions())
where = RayOptions(sys.argv[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", prelude + script, cluster.address, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=cluster.environment,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_format_has_the_same_bytes_and_a_worker_loads_one_model(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    plain = write_csv(shards / "a.csv", 300)
    (shards / "b.csv.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    texts = [f"not sure {number} — “é”" for number in range(300)]
    rows = [json.dumps({"text": text, "n": [1, None]}) for text in texts]
    (shards / "c.jsonl").write_text("\n".join(rows))
    table = pyarrow.table({"text": [*texts[:-1], None], "n": range(300)})
    for name in "de":
        pyarrow.parquet.write_table(table, shards / f"{name}.parquet")
    local = tmp_path / "local"
    assert run_here(shards, "-o", f"{local}/", "-m", model, "-q") == 0
    script = """
class Counted(ModelOptions):
    def load(self, scoring=None):
        with open("LOADS", "a") as file:
            file.write(f"{os.getpid()}\\n")
        return super().load(scoring)
run_on_ray(jobs_of(sys.argv[2], sys.argv[3]), Counted(sys.argv[4]), where)
"""
    loads = tmp_path / "loads"
    script = script.replace("LOADS", str(loads))
    drive(script, shards, tmp_path / "ray", model, cluster=cluster)
    assert contents(tmp_path / "ray") == contents(local)
    pids = loads.read_text().split()
    # One that describes itself, and up to two workers: the first may take all that there is.
    assert 2 <= len(pids) <= 3
    assert len({*pids}) == len(pids)


def test_the_example_has_the_bytes_of_one_process(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    environment = {**cluster.environment, **environment_with_isobatch(tmp_path)}
    script = Path(__file__).parent.parent.parent / "examples/ray_cluster.sh"
    options = ["-m", str(model), "--ray-address", cluster.address, "--workers", "1"]
    ran = subprocess.run(
        ["bash", script, tmp_path, *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    assert "\n15 rows in " in f"\n{ran.stderr}"
    alone = tmp_path / "alone"
    assert run_here(tmp_path / "shards", "-o", f"{alone}/", "-m", model, "-q") == 0
    assert len(contents(alone)) == 3
    assert contents(tmp_path / "scored") == contents(alone)


def test_begun_here_ended_by_ray_though_a_worker_is_killed(
    cluster: Cluster, model: Path, long_shards: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = (long_shards, "-o", f"{tmp_path}/", "-m", model)
    with started(*command, environment=os.environ) as begun:
        wait_for(lambda: num_lines_kept(tmp_path / "0.csv") >= 2)
        begun.terminate()
        assert ended(begun).returncode == 128 + signal.SIGTERM
    kept = num_lines_kept(tmp_path / "0.csv")
    # Nine workers would not fit, and two are all that two shards can use.
    on_ray = ("--engine", "ray", "--ray-address", cluster.address, "--workers", 9)
    with started(*command, *on_ray, environment=cluster.environment) as process:
        wait_for(lambda: num_lines_kept(tmp_path / "1.csv") >= 2)
        assert num_lines_kept(tmp_path / "0.csv") >= kept
        [worker] = workers_of([tmp_path / "1.csv"])
        kill(worker)
        done = ended(process)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"isobatch: resuming: [\d,]+ of {2 * LONG:,} rows are saved", done.stderr)
    assert re.search(rf"{2 * LONG:,} rows in .*, [\d,]+ of them from earlier runs", done.stderr)
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if not OURS.fullmatch(line)] == []
    assert contents(tmp_path) == expected


def test_a_killed_driver_and_a_terminated_one_leave_work_but_no_processes(
    model: Path,
    long_shards: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = (long_shards, "-o", f"{tmp_path}/", "-m", model)
    environment = own_ray()
    with started(*command, "--engine", "ray", environment=environment) as killed:
        wait_for(lambda: num_lines_kept(tmp_path / "0.csv") >= 1)
        # Not `ended`: helpers of Ray that outlive the driver have its stderr open.
        killed.kill()
        killed.wait(SECONDS)
    # Of a driver that was killed, two helpers of Ray see the end only after a minute.
    assert_all_end(environment, 30, but=("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
    kept = num_lines(tmp_path)

    environment = own_ray()
    with started(*command, "--engine", "ray", environment=environment) as terminated:
        wait_for(lambda: num_lines(tmp_path) > kept)
        terminated.terminate()
        done = ended(terminated)
    assert done.returncode == 128 + signal.SIGTERM
    assert "resuming: " in done.stderr
    assert "rows are saved. Run the same command again to resume" in done.stderr
    assert [line for line in done.stderr.splitlines() if not OURS.fullmatch(line)] == []
    assert_all_end(environment, 15)

    assert run_here(*command) == 0
    assert "resuming: " in capfd.readouterr().err
    assert contents(tmp_path) == expected


def num_lines(folder: Path) -> int:
    return sum(num_lines_kept(folder / f"{index}.csv") for index in range(2))


def test_one_output_of_several_inputs_on_a_terminal(model: Path, tmp_path: Path) -> None:
    inputs = [write_csv(tmp_path / f"{index}.csv", 50, start=index * 50) for index in range(2)]
    command = (*inputs, "-m", model)
    assert run_here(*command, "-o", tmp_path / "a.csv") == 0
    environment = own_ray()
    code, shown = run_on_terminal(
        *command, "-o", tmp_path / "b.csv", "--engine", "ray", environment=environment
    )
    assert code == 0, shown
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "100 rows in" in plain
    assert not re.search(r"(?i)\bray|\.cc:|\.py:|warn|info|traceback", plain)
    assert_all_end(environment, 15)


def run_on_terminal(*arguments: object, environment: dict[str, str]) -> tuple[int, str]:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "isobatch", "run", *map(str, arguments)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment | {"COLUMNS": "150", "TERM": "xterm-256color"},
    )
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # Linux ends a pseudo-terminal's stream so
        pass
    os.close(leader)
    return process.wait(), shown.decode()


def test_vectors_of_a_cluster_have_the_bytes_of_one_machine(
    cluster: Cluster, tmp_path: Path
) -> None:
    shard = write_csv(tmp_path / "shard.csv", 50)
    given = (shard, "-m", write_embedder(tmp_path / "model"))
    local, other = tmp_path / "local.npy", tmp_path / "ray.npy"
    assert run_here(*given, "-o", local, "-q", command="embed") == 0
    on_ray = ("--engine", "ray", "--ray-address", cluster.address, "--workers", 1)
    done = run(*given, "-o", other, *on_ray, environment=cluster.environment, command="embed")
    assert done.returncode == 0, done.stderr
    assert other.read_bytes() == local.read_bytes()


def test_a_cluster_without_room_says_so(cluster: Cluster, model: Path, tmp_path: Path) -> None:
    for index in range(3):
        write_csv(tmp_path / f"shards/{index}.csv", 5)
    done = run(
        *(tmp_path / "shards", "-o", f"{tmp_path}/out/", "-m", model, "--engine", "ray"),
        *("--ray-address", cluster.address, "--workers", 3, "--ray-wait", 1),
        environment=cluster.environment,
    )
    assert done.returncode == 7
    assert "no room for 3 workers of 1 CPU, 0 GPU each: it has 2 CPU, 0 GPU" in done.stderr
    assert "--workers, --threads" in done.stderr
    assert "--ray-wait" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_address_where_nothing_listens_is_refused_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shard = write_csv(tmp_path / "shard.csv", 5)
    command = (shard, "-o", tmp_path / "out.csv", "--engine", "ray", "--ray-address")
    done = run(*command, "127.0.0.1:1", environment=os.environ)
    assert done.returncode == 7
    assert done.stderr.startswith("isobatch: cannot connect to Ray at 127.0.0.1:1: ")
    assert len(done.stderr.splitlines()) == 1
    assert run_here(*command, "ray://127.0.0.1:1") == 2
    assert "Ray Client is not supported" in capfd.readouterr().err


def test_a_malformed_shard_ends_the_run_before_any_is_computed(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    write_csv(tmp_path / "shards/0.csv", 50)
    (tmp_path / "shards/1.csv").write_text('id,text\n1,"never closed\n')
    done = run(
        *(tmp_path / "shards", "-o", f"{tmp_path}/out/", "-m", model, "--engine", "ray"),
        *("--ray-address", cluster.address),
        environment=cluster.environment,
    )
    assert done.returncode == 6
    assert "shards/1.csv" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_row_without_a_prediction_stops_the_run_under_on_error_stop(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    shard = tmp_path / "shard.jsonl"
    shard.write_text('{"text": "good"}\n{"text": 7}\n')
    done = run(
        *(shard, "-o", tmp_path / "out.jsonl", "-m", model, "--engine", "ray", "--on-error"),
        *("stop", "--ray-address", cluster.address),
        environment=cluster.environment,
    )
    assert done.returncode == 3
    assert "shard.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_import_error_of_a_worker_is_one_clear_error(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    write_csv(tmp_path / "shards/0.csv", 5)
    script = """
import types
only_here = sys.modules["only_here"] = types.ModuleType("only_here")
exec("from isobatch.jobs import ModelOptions\\nclass Options(ModelOptions): pass", vars(only_here))
try:
    run_on_ray(jobs_of(sys.argv[2], sys.argv[3]), only_here.Options(sys.argv[4]), where)
except IsobatchError as error:
    print(type(error).__name__, error)
"""
    said = drive(script, tmp_path / "shards", tmp_path / "out", model, cluster=cluster)
    assert said.startswith("JobError Ray failed: ")
    assert "No module named 'only_here'" in said
    assert len(said.splitlines()) == 1


def test_a_shard_that_kills_every_worker_ends_the_run(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    write_csv(tmp_path / "shards/0.csv", 5)
    script = """
class Poison(ModelOptions):
    def load(self, scoring=None):
        if os.path.exists(os.path.join(self.model, "poison")):
            os.kill(os.getpid(), 9)
        open(os.path.join(self.model, "poison"), "w").close()
        return super().load(scoring)
try:
    run_on_ray(jobs_of(sys.argv[2], sys.argv[3]), Poison(sys.argv[4]), where)
except IsobatchError as error:
    print(type(error).__name__, error)
"""
    own_model = write_model(tmp_path / "model")
    said = drive(script, tmp_path / "shards", tmp_path / "out", own_model, cluster=cluster)
    assert said.startswith("JobError ")
    assert "0.csv: 3 workers crashed on this shard after 0 saved rows" in said

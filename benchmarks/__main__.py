"""The driver: `python -m benchmarks` measures every engine on every checkpoint, in one run.

It reads the command line and ISOBATCH_DATA, writes one JSON file and prints one table. It knows no
protocol. Exit status: 0 measured (bars met or missed), 1 a run that could not be finished.
"""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import Checkpoint, folder_checkpoint, random_base_checkpoint
from benchmarks.contestants import Bench
from benchmarks.engines import ENGINES, find_engine
from benchmarks.errors import BenchError
from benchmarks.machine import describe_machine, library_versions, usable_cores
from benchmarks.measure import TOLERANCE, measure
from benchmarks.schema import Result
from benchmarks.table import render
from benchmarks.texts import Plan, make_job

_HERE = Path(__file__).parent
_BUILD = _HERE / ".build"
_QUICK = Plan(
    sst2_texts=40, agnews_texts=10, rounds=1, one_texts=8, bits_texts=24, bits_partitions=1
)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default_data = os.environ.get("ISOBATCH_DATA", _HERE.parent.parent / "shared" / "data")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    option(
        "--checkpoint",
        default="all",
        help="base (random DistilBERT-base), bundled, all (both), or a checkpoint folder",
    )
    option(
        "--engines",
        default=",".join(spec.name for spec in ENGINES),
        help="names, separated by commas (default: %(default)s)",
    )
    option("--sst2-texts", type=int, help="SST-2 texts of the bulk job")
    option("--agnews-texts", type=int, help="AG News texts of the bulk job")
    option("--rounds", type=int, help="how often each engine is asked")
    option("--threads", type=int, default=usable_cores(), help="default: the usable cores")
    option("--data", type=Path, default=default_data, help="default: ISOBATCH_DATA, or %(default)s")
    option("--out", type=Path, default=_HERE / "results", help="folder for the JSON file")
    option("--tokenizer-from", type=Path, help="folder whose tokenizer base takes: not bundled's")
    option("--quick", action="store_true", help="a smoke test: few texts, one round")
    return parser.parse_args(arguments)


def make_plan(options: argparse.Namespace) -> Plan:
    """Return the default plan, or the quick one, with what the command line changes."""
    plan = vars(_QUICK if options.quick else Plan())
    chosen = {name: value for name, value in vars(options).items() if name in plan}
    return Plan(**plan | {name: value for name, value in chosen.items() if value is not None})


def choose_checkpoints(options: argparse.Namespace) -> list[Checkpoint]:
    """Return the checkpoints that --checkpoint names, making the random one if need be."""
    wanted = ["base", "bundled"] if options.checkpoint == "all" else [options.checkpoint]
    return [_checkpoint(name, options.tokenizer_from) for name in wanted]


def _checkpoint(name: str, tokenizer_from: Path | None) -> Checkpoint:
    if name == "base":
        return random_base_checkpoint(_BUILD, tokenizer_from or _bundled_folder())
    if name == "bundled":
        return folder_checkpoint(name, "the bundled model", _bundled_folder())
    folder = Path(name)
    return folder_checkpoint(f"folder-{folder.name}", folder.name, folder)


def _bundled_folder() -> Path:
    from isobatch.checkpoint import bundled_folder

    return bundled_folder()


def run(options: argparse.Namespace) -> Result:
    """Measure, and return the whole result."""
    plan = make_plan(options)
    specs = [find_engine(name) for name in options.engines.split(",")]
    bench = Bench(plan, make_job(options.data, plan), options.threads, _BUILD)
    machine = describe_machine()
    checkpoints = {
        checkpoint.name: measure(bench, checkpoint, specs)
        for checkpoint in choose_checkpoints(options)
    }
    protocol: dict[str, Any] = {"threads": options.threads, "tolerance": TOLERANCE, **vars(plan)}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": library_versions(),
        "protocol": protocol,
        "checkpoints": checkpoints,
    }


def write(result: Result, folder: Path) -> Path:
    """Write the result to a file named by its date."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(result["date"]).strftime("%Y-%m-%dT%H%M%SZ")
    path = folder / f"{stamp}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    try:
        options = parse_options(arguments)
        result = run(options)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = write(result, options.out)
    print(render(result))
    print(f"written to {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

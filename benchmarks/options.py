"""The command line: what is to be measured, how much of it, and where things are.

It reads ISOBATCH_DATA, and writes the random checkpoint where that is asked for. It starts no
engine. Invariant: a name that is not known is refused before anything is measured.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.checkpoints import Checkpoint, folder_checkpoint, random_base_checkpoint
from benchmarks.engines import ENGINES, PRECISIONS, EngineSpec, find_engine
from benchmarks.errors import BenchError
from benchmarks.machine import usable_cores
from benchmarks.schema import Precision
from benchmarks.texts import Plan

_HERE = Path(__file__).parent
BUILD = _HERE / ".build"
_QUICK = Plan(
    sst2_texts=40,
    agnews_texts=10,
    rounds=1,
    one_texts=8,
    bits_texts=24,
    bits_partitions=1,
    accuracy_texts=200,
    scaling_sizes=[100, 400, 1600],
    scaling_runs=[2, 1, 1],
)
_PARTS = ("speed", "accuracy", "scaling")


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default_data = os.environ.get("ISOBATCH_DATA", _HERE.parent.parent / "shared" / "data")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Isobatch and its peers; print the tables and write one JSON file.",
    )
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
    option(
        "--precisions",
        default=",".join(PRECISIONS),
        help="engines of other precisions are left out (default: %(default)s)",
    )
    option("--parts", default=",".join(_PARTS), help="of the run (default: %(default)s)")
    option("--scaling-precision", choices=PRECISIONS, default="int8", help="default: %(default)s")
    option("--sst2-texts", type=int, help="SST-2 texts of the bulk job")
    option("--agnews-texts", type=int, help="AG News texts of the bulk job")
    option("--rounds", type=int, help="how often each engine is asked")
    option("--threads", type=int, default=usable_cores(), help="default: the usable cores")
    option("--data", type=Path, default=default_data, help="default: ISOBATCH_DATA, or %(default)s")
    option("--out", type=Path, default=_HERE / "results", help="folder for the JSON file")
    option("--tokenizer-from", type=Path, help="folder whose tokenizer base takes: not bundled's")
    option("--quick", action="store_true", help="a smoke test: little of everything, one round")
    return parser.parse_args(arguments)


def make_plan(options: argparse.Namespace) -> Plan:
    """Return the default plan, or the quick one, with what the command line changes."""
    plan = vars(_QUICK if options.quick else Plan())
    chosen = {name: value for name, value in vars(options).items() if name in plan}
    return Plan(**plan | {name: value for name, value in chosen.items() if value is not None})


def choose_precisions(options: argparse.Namespace) -> list[Precision]:
    """Return the precisions that --precisions names."""
    wanted = options.precisions.split(",")
    _refuse_unknown("precision", wanted, PRECISIONS)
    return [precision for precision in PRECISIONS if precision in wanted]


def choose_engines(options: argparse.Namespace) -> list[EngineSpec]:
    """Return the engines of --engines that compute in one of --precisions."""
    precisions = choose_precisions(options)
    specs = [find_engine(name) for name in options.engines.split(",")]
    chosen = [spec for spec in specs if spec.precision in precisions]
    if not chosen:
        raise BenchError("none of --engines computes in one of --precisions")
    return chosen


def choose_parts(options: argparse.Namespace) -> list[str]:
    """Return the parts that --parts names."""
    parts: list[str] = options.parts.split(",")
    _refuse_unknown("part", parts, _PARTS)
    return parts


def _refuse_unknown(what: str, wanted: list[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            raise BenchError(f"no {what} {name!r}; there are {', '.join(known)}")


def choose_checkpoints(options: argparse.Namespace) -> list[Checkpoint]:
    """Return the checkpoints that --checkpoint names, making the random one if need be."""
    wanted = ["base", "bundled"] if options.checkpoint == "all" else [options.checkpoint]
    return [_checkpoint(name, options.tokenizer_from) for name in wanted]


def _checkpoint(name: str, tokenizer_from: Path | None) -> Checkpoint:
    if name == "base":
        return random_base_checkpoint(BUILD, tokenizer_from or _bundled_folder())
    if name == "bundled":
        return bundled_checkpoint()
    folder = Path(name)
    return folder_checkpoint(f"folder-{folder.name}", folder.name, folder)


def bundled_checkpoint() -> Checkpoint:
    """Return the model that comes with Isobatch."""
    return folder_checkpoint("bundled", "the bundled model", _bundled_folder())


def _bundled_folder() -> Path:
    from isobatch.checkpoint import bundled_folder

    return bundled_folder()

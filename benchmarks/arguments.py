"""The command line of `python -m benchmarks`: engines, checkpoints, sizes and folders.

Invariant: an unknown name is rejected before anything is measured.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.checkpoints import Checkpoint, folder_checkpoint, random_base_checkpoint
from benchmarks.engines import ENGINES, PRECISIONS, EngineSpec, find_engine
from benchmarks.result_files import RESULTS
from benchmarks.schema import Precision
from benchmarks.system_info import usable_cores
from benchmarks.workload import DEFAULT_DATA, BenchmarkPlan

_HERE = Path(__file__).parent
BUILD = _HERE / ".build"
_QUICK = BenchmarkPlan(
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
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Isobatch and its peers; print the tables and write one JSON file.",
    )
    option = parser.add_argument
    option(
        "--checkpoint",
        default="all",
        help="base (random DistilBERT-base), bundled, all (both), or path to a checkpoint folder",
    )
    option(
        "--engines",
        default=",".join(spec.name for spec in ENGINES),
        help="Comma-separated engine names. Default: %(default)s",
    )
    option(
        "--precisions",
        default=",".join(PRECISIONS),
        help="Comma-separated precisions to measure. Default: %(default)s",
    )
    option(
        "--parts",
        default=",".join(_PARTS),
        help="Comma-separated parts to run. Default: %(default)s",
    )
    option("--scaling-precision", choices=PRECISIONS, default="int8", help="Default: %(default)s")
    option("--sst2-texts", type=int, help="Number of SST-2 texts in the workload")
    option("--agnews-texts", type=int, help="Number of AG News texts in the workload")
    option("--rounds", type=int, help="Number of timed rounds")
    option(
        "--threads",
        type=int,
        default=usable_cores(),
        help="Number of threads. Default: usable cores",
    )
    option(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        help="Path to the texts. Default: ISOBATCH_DATA, or %(default)s",
    )
    option("--out", type=Path, default=RESULTS, help="Folder for the JSON file")
    option(
        "--tokenizer-from",
        type=Path,
        help="Path to a checkpoint folder with the tokenizer for base",
    )
    option("--quick", action="store_true", help="Smoke test: small sizes, one round")
    return parser.parse_args(arguments)


def make_plan(options: argparse.Namespace) -> BenchmarkPlan:
    """Return the default or the quick plan, with the sizes that the command line changes."""
    plan = vars(_QUICK if options.quick else BenchmarkPlan())
    chosen = {name: value for name, value in vars(options).items() if name in plan}
    return BenchmarkPlan(
        **plan | {name: value for name, value in chosen.items() if value is not None}
    )


def choose_precisions(options: argparse.Namespace) -> list[Precision]:
    """Return the precisions that --precisions names."""
    chosen = options.precisions.split(",")
    _reject_unknown("precision", chosen, PRECISIONS)
    return [precision for precision in PRECISIONS if precision in chosen]


def choose_engines(options: argparse.Namespace) -> list[EngineSpec]:
    """Return the engines of --engines that compute in one of --precisions."""
    precisions = choose_precisions(options)
    specs = [find_engine(name) for name in options.engines.split(",")]
    chosen = [spec for spec in specs if spec.precision in precisions]
    if not chosen:
        raise BenchmarkError(
            f"--engines: none computes in {options.precisions}. Change --engines or --precisions"
        )
    return chosen


def choose_parts(options: argparse.Namespace) -> list[str]:
    """Return the parts that --parts names."""
    parts: list[str] = options.parts.split(",")
    _reject_unknown("part", parts, _PARTS)
    return parts


def _reject_unknown(what: str, chosen: list[str], known: Sequence[str]) -> None:
    for name in chosen:
        if name not in known:
            raise BenchmarkError(f"unknown {what} {name!r}. Available: {', '.join(known)}")


def choose_checkpoints(options: argparse.Namespace) -> list[Checkpoint]:
    """Return the checkpoints that --checkpoint names; write the random one if it is missing."""
    chosen = ["base", "bundled"] if options.checkpoint == "all" else [options.checkpoint]
    return [_checkpoint(name, options.tokenizer_from) for name in chosen]


def _checkpoint(name: str, tokenizer_from: Path | None) -> Checkpoint:
    if name == "base":
        return random_base_checkpoint(BUILD, tokenizer_from or _bundled_folder())
    if name == "bundled":
        return bundled_checkpoint()
    folder = Path(name)
    return folder_checkpoint(f"folder-{folder.name}", folder.name, folder)


def bundled_checkpoint() -> Checkpoint:
    """Return the model that Isobatch includes."""
    return folder_checkpoint("bundled", "the bundled model", _bundled_folder())


def _bundled_folder() -> Path:
    from isobatch.checkpoint import bundled_folder

    return bundled_folder()

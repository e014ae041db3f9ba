"""The command line of `python -m benchmarks`: engines, checkpoints, sizes and folders.

Invariant: an unknown name is rejected before anything is measured.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.checkpoints import Checkpoint, folder_checkpoint, random_base_checkpoint
from benchmarks.engines import ENGINES, PRECISIONS, EngineSpec, find_engine
from benchmarks.instruction_sets import reject_forced_set
from benchmarks.result_files import ENGINES_RESULTS
from benchmarks.schema import Precision, Turn
from benchmarks.system_info import usable_cores
from benchmarks.workload import DEFAULT_DATA, BenchmarkPlan

_HERE = Path(__file__).parent
BUILD = _HERE / ".build"
_QUICK = BenchmarkPlan(
    sst2_texts=66,
    agnews_texts=18,
    rounds=3,
    one_texts=20,
    warm_up_texts=2,
    bits_texts=24,
    bits_partitions=1,
    accuracy_texts=200,
    scaling_sizes=[100, 400, 1600],
    scaling_runs=[2, 1, 1],
    roof_rounds=2,
    roof_seconds=0.1,
    slow_texts=2,
    cold_starts=3,
)
_SPEED: dict[str, tuple[Precision, Turn]] = {
    "fp32-bulk": ("fp32", "bulk"),
    "fp32-one": ("fp32", "one"),
    "bf16-bulk": ("bf16", "bulk"),
    "bf16-one": ("bf16", "one"),
    "int8-bulk": ("int8", "bulk"),
    "int8-one": ("int8", "one"),
}
_ALL = ",".join(PRECISIONS)
_OTHERS = ("roof", "bits", "cold-start", "accuracy", "scaling")
_QUICK_PARTS = (*_SPEED, "roof", "bits", "cold-start")
_REFERENCE_ENGINES = ("transformers-arrival", "transformers-sorted")


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Isobatch and its peers; print the tables and write one JSON file.",
    )
    option = parser.add_argument
    option(
        "--checkpoint",
        help="base (random DistilBERT-base), bundled, all (both), or path to a checkpoint folder. "
        "Default: all; with --quick or --only: base",
    )
    option(
        "--engines",
        help=f"Comma-separated engine names out of {','.join(spec.name for spec in ENGINES)}. "
        "Default: all; with --quick: without transformers, and so without the equivalence check",
    )
    option(
        "--precisions",
        default=_ALL,
        help="Comma-separated precisions to measure. Default: %(default)s",
    )
    option(
        "--only",
        help=f"Comma-separated parts to run: {', '.join(_SPEED)}, speed for all of these, "
        f"{', '.join(_OTHERS)}. Default: all; with --quick: without accuracy and scaling",
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
    option(
        "--out",
        type=Path,
        help="Folder for the JSON file. Default: that of this kind of machine, from which the "
        "documents are generated; with --quick or --only: benchmarks/.build/results",
    )
    option(
        "--tokenizer-from",
        type=Path,
        help="Path to a checkpoint folder with the tokenizer for base",
    )
    option(
        "--quick",
        action="store_true",
        help="Small sizes, three rounds, and the batch sizes that an earlier run chose",
    )
    options = parser.parse_args(arguments)
    reject_forced_set()
    choose_parts(options)
    return options


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
    """Return the engines of --engines that compute in a precision whose speed is measured."""
    turns = choose_turns(options)
    if options.engines:
        specs = [find_engine(name) for name in options.engines.split(",")]
    else:
        left_out = _REFERENCE_ENGINES if options.quick else ()
        specs = [spec for spec in ENGINES if spec.name not in left_out]
    chosen = [spec for spec in specs if spec.precision in turns]
    if turns and not chosen:
        raise BenchmarkError(
            f"--engines: none computes in {', '.join(turns)}. Change --engines or --precisions"
        )
    return chosen


def choose_parts(options: argparse.Namespace) -> list[str]:
    """Return the parts that --only names, or all."""
    if options.only is None:
        return list(_QUICK_PARTS if options.quick else (*_SPEED, *_OTHERS))
    parts: list[str] = options.only.split(",")
    _reject_unknown("part", parts, ("speed", *_SPEED, *_OTHERS))
    return [*(part for part in parts if part != "speed"), *(_SPEED if "speed" in parts else ())]


def choose_turns(options: argparse.Namespace) -> dict[Precision, list[Turn]]:
    """Return what is timed in each precision, out of the parts and --precisions."""
    parts, precisions = choose_parts(options), choose_precisions(options)
    turns: dict[Precision, list[Turn]] = {}
    for part, (precision, turn) in _SPEED.items():
        if part in parts and precision in precisions:
            turns.setdefault(precision, []).append(turn)
    return turns


def result_folder(options: argparse.Namespace) -> Path:
    """Return where the result is written: only a complete run replaces what the documents show."""
    partial = options.quick or options.only or options.engines or options.precisions != _ALL
    default = BUILD / "results" if partial else ENGINES_RESULTS
    return Path(options.out or default)


def _reject_unknown(what: str, chosen: list[str], known: Sequence[str]) -> None:
    for name in chosen:
        if name not in known:
            raise BenchmarkError(f"unknown {what} {name!r}. Available: {', '.join(known)}")


def choose_checkpoints(options: argparse.Namespace) -> list[Checkpoint]:
    """Return the checkpoints that --checkpoint names; write the random one if it is missing."""
    name = options.checkpoint or ("base" if options.quick or options.only else "all")
    chosen = ["base", "bundled"] if name == "all" else [name]
    return [_checkpoint(name, options.tokenizer_from) for name in chosen]


def _checkpoint(name: str, tokenizer_from: Path | None) -> Checkpoint:
    if name == "base":
        return random_base_checkpoint(BUILD, tokenizer_from or _bundled_folder())
    if name == "bundled":
        return bundled_checkpoint()
    folder = Path(name)
    return folder_checkpoint(f"folder-{folder.name}", folder.name, folder)


def base_checkpoint(options: argparse.Namespace) -> Checkpoint:
    """Return the random DistilBERT-base, written if it is missing."""
    return _checkpoint("base", options.tokenizer_from)


def bundled_checkpoint() -> Checkpoint:
    """Return the model that Isobatch includes."""
    return folder_checkpoint("bundled", "the bundled model", _bundled_folder())


def _bundled_folder() -> Path:
    from isobatch.checkpoint import bundled_folder

    return bundled_folder()

"""`python -m benchmarks.audit.claims`: measure every architecture, print a table and the verdicts.

It measures nothing itself. `--json FILE` keeps the numbers; NaN is null there. Exit status: 0 the
experiment was made, whatever it found.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers

from benchmarks.audit.architectures import (
    ARCHITECTURES,
    Architecture,
    find_architecture,
    write_architecture,
)
from benchmarks.audit.decoders import measure_decoder
from benchmarks.audit.measurements import Measured, measure
from benchmarks.audit.precision import Lowered
from benchmarks.audit.rows import Probed
from benchmarks.audit.verdicts import Claim, Evidence, judge
from benchmarks.audit.warnings import where_it_looks

COLUMNS = (
    "architecture",
    "pad content",
    "other side",
    "mask dropped",
    "+1",
    "+7",
    "+64",
    "+7 other side",
    "neighbours",
    "padded neighbour",
    "company",
    "long: +7",
    "long: history",
    "warns",
    "pad id inside",
    "float16: +7 / masked row",
    "bfloat16: +7 / masked row",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to keep the numbers")
    options = parser.parse_args(arguments)
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        evidence = gather(Path(folder))
    claims = judge(evidence)
    print(render(evidence, claims))
    if options.json:
        options.json.write_text(json.dumps(as_json(evidence, claims), indent=1), encoding="utf-8")
    return 0


def gather(folder: Path) -> Evidence:
    """Measure everything, each architecture in a folder of its own."""
    yoso = find_architecture("yoso")
    with_convolution = replace(yoso, words={**yoso.words, "conv_window": 9})
    probes = {each.name: _probed(each, folder / each.name) for each in ARCHITECTURES}
    decoders = [each.name for each in ARCHITECTURES if each.decoder]
    return Evidence(
        measured={name: measure(probed) for name, probed in probes.items()},
        decoders={name: measure_decoder(probes[name]) for name in decoders},
        yoso_with_convolution=measure(_probed(with_convolution, folder / "convolution")),
        heard=where_it_looks(probes["roformer"]),
    )


def _probed(architecture: Architecture, folder: Path) -> Probed:
    return Probed(write_architecture(architecture, folder))


def render(evidence: Evidence, claims: Sequence[Claim]) -> str:
    """Two Markdown tables: the numbers, and the claims."""
    rows = [_cells(name, one) for name, one in evidence.measured.items()]
    rows.append(_cells("yoso, conv_window 9", evidence.yoso_with_convolution))
    verdicts = [[one.text, _verdict(one), one.evidence] for one in claims]
    tables = (_table(COLUMNS, rows), _table(("claim", "verdict", "measured"), verdicts))
    return (
        f"transformers {transformers.__version__}, torch {torch.__version__}, CPU, 1 thread\n\n"
        + ("\n\n".join(tables))
    )


def as_json(evidence: Evidence, claims: Sequence[Claim]) -> dict[str, Any]:
    """The numbers and the verdicts."""
    numbers: dict[str, Any] = _finite(asdict(evidence))
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    verdicts = [asdict(one) | {"verdict": _verdict(one)} for one in claims]
    return {"versions": versions, **numbers, "claims": verdicts}


def _cells(name: str, one: Measured) -> list[str]:
    moves = (
        one.content,
        one.content_other_side,
        one.mask_dropped,
        *one.pads.values(),
        one.other_side,
        one.neighbours,
        max(one.shorter, one.long_text.shorter),
        one.company,
        one.long_text.pads,
        one.long_text.history,
    )
    return [
        name,
        *map(_number, moves),
        f"{one.warnings}, then {one.warnings_again}",
        "—" if one.positions_shift is None else _number(one.positions_shift),
        *map(_half, one.lowered.values()),
    ]


def _half(one: Lowered) -> str:
    if one.pads is None or one.neighbour is None:
        return one.error
    row = "NaN" if one.masked_row_is_nan else "finite"
    return f"{_number(one.pads)} / {row}, neighbour {_number(one.neighbour)}"


def _number(move: float) -> str:
    return "0" if move == 0.0 else f"{move:.1e}"


def _verdict(claim: Claim) -> str:
    return "confirmed" if claim.holds else "refuted"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and value != value else value


if __name__ == "__main__":
    raise SystemExit(main())

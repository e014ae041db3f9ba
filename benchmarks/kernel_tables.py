"""Tables about the instruction sets: the roof, equal bits between them, and cold start."""

import statistics
from collections.abc import Iterator

from benchmarks.acceptance import BLOCK_SHARE, PRODUCT_SHARE, judge_bits, judge_cold_start
from benchmarks.cold_start import seconds_over_import
from benchmarks.peak_share import PRODUCTS, block_share, product_shares
from benchmarks.schema import ColdStart, EqualBits, InstructionSetBits, KernelRates, Rates
from benchmarks.table_rows import row, verdict, with_criteria

_EXPLANATION = (
    "**Roof**: the peak of the instructions by themselves, and the share of it that one product "
    f"(target: at least {PRODUCT_SHARE:.0%}) and a whole block (at least {BLOCK_SHARE:.0%}) reach"
)


def roof_table(kernels: KernelRates) -> str:
    """Render peak and shares for each instruction set, precision and number of threads."""
    head = [
        row(
            "instruction set",
            "precision",
            "instructions",
            "threads",
            "peak, 10⁹ operations/s",
            *(f"product {shape}" for shape in PRODUCTS),
            "block",
        ),
        "|---|---|---|---:|---:|" + "---:|" * (len(PRODUCTS) + 1),
    ]
    rows = [
        row(name, precision, f"`{one['instructions']}`", threads, *_shares(rates))
        for name, of in kernels["sets"].items()
        for precision, one in of.items()
        for threads, rates in one["threads"].items()
    ]
    title = f"{_EXPLANATION}: {kernels['block']}"
    return "\n".join([title, "", *head, *rows, *_left_out(kernels["left_out"])])


def _shares(rates: Rates) -> Iterator[str]:
    yield f"{rates['peak']:.1f}"
    products = product_shares(rates)
    for shape in PRODUCTS:
        yield _share(products[shape], PRODUCT_SHARE) if shape in products else "–"
    yield _share(block_share(rates), BLOCK_SHARE)


def _share(share: float, target: float) -> str:
    return f"{share:.1%} {verdict(share >= target)}"


def bits_table(bits: InstructionSetBits) -> str:
    """Render the rows with other bits for each instruction set and precision."""
    precisions = sorted({precision for of in bits["sets"].values() for precision in of})
    rows = [
        row(name, *(_changed(of.get(precision)) for precision in precisions))
        for name, of in bits["sets"].items()
    ]
    title = (
        "**Bits between instruction sets**: texts whose logits have other bits than with the first "
        f"set of the same arithmetic, {bits['passes']}; the bundled model"
    )
    head = [row("instruction set", *precisions), "|---|" + "---:|" * len(precisions)]
    table = "\n".join([title, "", *head, *rows, *_left_out(bits["left_out"])])
    return with_criteria(table, [judge_bits(bits)])


def _changed(each: EqualBits | None) -> str:
    return "–" if each is None else f"{each['changed']} of {each['rows']} ({each['arithmetic']})"


def _left_out(reasons: dict[str, str]) -> list[str]:
    if not reasons:
        return []
    return ["", "Left out: " + "; ".join(f"{name}: {why}" for name, why in reasons.items()) + "."]


def cold_start_table(result: ColdStart) -> str:
    """Render the seconds of both commands, and their difference."""
    medians = [statistics.median(result["classify"]), statistics.median(result["import_torch"])]
    seconds = seconds_over_import(result)
    table = "\n".join(
        [
            f"**Cold start**: a new process, medians of {len(result['classify'])}",
            "",
            row(f"`{result['command']}`, s", "`import torch`, s", "difference, s"),
            "|---:|---:|---:|",
            row(*(f"{each:.2f}" for each in (*medians, seconds))),
        ]
    )
    return with_criteria(table, [judge_cold_start(seconds)])

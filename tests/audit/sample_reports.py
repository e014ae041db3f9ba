"""Reports made by hand, one of each verdict, with something in every place that a report has."""

import math
from typing import Any

from isobatch.audit.report_data import AuditReport, Finding, Movement, ProbeResult, Reproduction

HOSTILE = "<script>alert(1)</script>\x00\x1b\ud800 $x_1$ & 好 ‮"

LEFT_OUT = Movement(64, 52, 3, 1.021, 0.4312, (0.0,) * 12 + tuple(1.021 / n for n in range(1, 53)))
ROUNDING = Movement(
    64, 9, 0, 9.6e-7, 1.2e-8, (0.0,) * 55 + tuple(9.6e-7 / n for n in (1, 2, 2, 3, 4, 4, 6, 8, 8))
)
STILL = Movement(64, 0, 0, 0.0, 0.0, (0.0,) * 64)
BROKEN = Movement(8, 2, 0, 0.0, 0.0, (0.0,) * 6 + (math.inf,) * 2, broken_rows=2)


def probe(name: str, status: Any, movement: Movement | None = None, **values: Any) -> ProbeResult:
    summaries = {
        "bug": "52 of 64 results moved, 3 labels flipped",
        "drift": "9 of 64 results moved in their last digits",
        "exact": "all 64 results kept every bit",
        "note": "the tokenizer lets 1,024 tokens through, the model reads 512",
        "not tested": "the system takes only texts: its pads and mask are not visible",
    }
    given = {
        "changes": "the other texts of the batch",
        "proves": "whether a text's result depends on its batch",
        "summary": summaries[status],
        "seconds": 0.5,
    }
    return ProbeResult(name, status=status, movement=movement, **(given | values))


MASK_DROPPED = Finding(
    "bug",
    "mask-dropped",
    "The attention mask is not used",
    "A text answers differently as soon as a longer one is beside it. The pads that fill its row "
    "up are attended to as if they were words: the model is called without `attention_mask`.",
    "Pass everything that the tokenizer gives: `model(**inputs)`, not `model(inputs.input_ids)`.",
    ("neighbours", "pad-content"),
    LEFT_OUT,
    Reproduction(
        "Today is a nice day!",
        "But what about tomorrow? Im not sure.",
        ("alone", "in a batch with the other text"),
        (-4.323216438293457, 4.690557956695557),
        (-4.195716857910156, 4.567482948303223),
    ),
)
NAN = Finding(
    "bug",
    "fully-masked-nan",
    "A row without any token breaks the answers of the batch",
    "Softmax over nothing is no number.",
    "Leave empty rows out, or give them one token.",
    ("empty-row",),
    BROKEN,
    Reproduction("Dull.", "", ("alone", "with an empty row"), (1.5, -1.5), (math.nan, math.nan)),
)
KERNELS = Finding(
    "drift",
    "kernel-by-shape",
    "The last digits depend on the size of the batch",
    "The library takes another kernel for another number of rows, and sums in another order.",
    "Where bits must repeat, compute with fixed shapes, or with Isobatch: `isobatch run`.",
    ("batch-size",),
    ROUNDING,
    Reproduction(
        "Too loud.",
        "Worth every minute.",
        ("alone", "in a batch with the other text"),
        (2.3841858, -1.1920929),
        (2.3841860, -1.1920929),
    ),
)


def report(*findings: Finding, **values: Any) -> AuditReport:
    """A report of a system with these findings; `values` replace others of its fields."""
    severities = {each.severity for each in findings}
    probes = (
        probe("neighbours", "bug" if "bug" in severities else "exact", LEFT_OUT)
        if "bug" in severities
        else probe("neighbours", "exact", STILL),
        *((probe("pad-content", "bug", LEFT_OUT),) if MASK_DROPPED in findings else ()),
        *((probe("empty-row", "bug", BROKEN),) if NAN in findings else ()),
        probe("batch-size", "drift", ROUNDING)
        if severities
        else probe("batch-size", "exact", STILL),
        probe("order", "exact", STILL),
        probe("repeat", "exact", STILL),
        probe("length-limit", "note", changes="the length of the text"),
        probe("in-flight", "not tested", summary="the system is no server"),
    )
    given: dict[str, Any] = {
        "target": "transformers:distilbert-base-uncased-finetuned-sst-2-english",
        "kind": "transformers",
        "facts": {"family": "distilbert", "device": "cpu, 2 threads", "padding side": "right"},
        "num_texts": 24,
        "probes": probes,
        "findings": findings,
        "seconds": 12.34,
        "versions": {"isobatch": "0.1.0", "torch": "2.13.0", "transformers": "5.20.0"},
        "labels": ("NEGATIVE", "POSITIVE"),
    }
    return AuditReport(**(given | values))


def buggy() -> AuditReport:
    return report(MASK_DROPPED, NAN, KERNELS)


def drifting() -> AuditReport:
    return report(KERNELS)


def exact() -> AuditReport:
    return report()


def hostile() -> AuditReport:
    """Text from outside in every place that takes one."""
    reproduction = Reproduction(HOSTILE, HOSTILE, (HOSTILE, HOSTILE), (1.0, 2.0), (1.5, 2.0))
    finding = Finding(
        "bug", HOSTILE, HOSTILE, HOSTILE, f"`{HOSTILE}`", (HOSTILE,), LEFT_OUT, reproduction
    )
    result = ProbeResult(HOSTILE, HOSTILE, HOSTILE, "bug", HOSTILE, LEFT_OUT)
    return report(
        finding,
        target=HOSTILE,
        kind=HOSTILE,
        facts={HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        probes=(result,),
        labels=(HOSTILE, HOSTILE),
    )

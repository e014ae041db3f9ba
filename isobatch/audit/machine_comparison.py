"""The answers of one audit next to those of another: two machines, or two versions of a system.

Each text's answer alone is compared bit for bit, and each probe's result. Invariant: a difference
is explained only by a recorded fact that differs; where the arithmetic is ARITHMETIC on both, only
by one that changes weights or token ids.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from isobatch.audit.movement import largest_gaps
from isobatch.audit.output_rows import from_rows
from isobatch.audit.report_data import AuditReport, Movement, ProbeResult
from isobatch.audit.session import AuditSession, describe
from isobatch.drawing.display_text import counted
from isobatch.errors import AuditError

ANSWERS_FORMAT = 1

OF_THE_SYSTEM = (
    "checkpoint",
    "model",
    "model type",
    "precision",
    "dtype",
    "tokenizers",
    "server version",
)
"""Facts that can change an answer on one machine; the first that differs is the explanation."""

OF_THE_IDS = ("tokenizers", "server version")
"""Those that change token ids or nothing, where the arithmetic is ARITHMETIC."""

NOT_CAUSES = ("server", "function")
"""Facts that differ without changing an answer."""

SAME_ARITHMETIC = (
    "not explained: the arithmetic is {} on both, which has the same bits on every machine with "
    "that name. Check that both read the same checkpoint, and report it as a bug of Isobatch"
)
OTHER_ARITHMETIC = (
    "explained by the arithmetic: {} there, {} here. Bits are the same only if it is; "
    "`isobatch info` says why a kernel is not compiled"
)
SAME_IDS = (
    "not explained: the arithmetic is {} on both, and {} the same token ids, so the {} ({} there, "
    "{} here) cannot be the cause. Report it as a bug of Isobatch"
)
OTHER_IDS = (
    "explained by the {}: {} there, {} here; each text with different bits has different token ids"
)
UNKNOWN_IDS = (
    "explained by the {}, {} there, {} here, if they produce different token ids, which are not "
    "visible: with the same ids it is a bug of Isobatch, because the arithmetic is {} on both"
)
NO_FACT = (
    "not explained: no recorded fact differs. See the probe repeated-runs: does the system repeat "
    "its own answers?"
)


@dataclass(frozen=True, slots=True)
class SavedAnswers:
    """The answers of an audit, as `--save` writes them: for each text alone, and each probe.

    outputs: [texts, labels], exact. probes: name → status, summary and movement. token_ids: a
    digest for each text; empty where ids are not visible.
    """

    target: str
    kind: str
    facts: Mapping[str, str]
    labels: tuple[str, ...] | None
    gives_scores: bool
    texts: tuple[str, ...]
    outputs: tuple[tuple[float, ...], ...]
    probes: Mapping[str, Mapping[str, Any]]
    token_ids: tuple[str, ...] = ()
    token_size: int = 0

    @classmethod
    def of(cls, report: AuditReport) -> "SavedAnswers":
        """Take the answers of a report that is complete."""
        return cls(
            target=report.target,
            kind=report.kind,
            facts={**report.versions, **report.facts},
            labels=report.labels,
            gives_scores=report.gives_scores,
            texts=report.texts,
            outputs=report.answers,
            probes={each.probe: _probe(each) for each in report.probes},
            token_ids=report.token_ids,
            token_size=report.token_size,
        )

    def to_json(self) -> str:
        """Return the text of a file. Numbers are written by repr; NaN and infinities as strings."""
        plain = asdict(self) | {
            "answers": ANSWERS_FORMAT,
            "outputs": [[_number(value) for value in row] for row in self.outputs],
        }
        return json.dumps(plain, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, content: str | bytes, place: str) -> "SavedAnswers":
        """Read what `to_json` returned; AuditError for other content."""
        try:
            given = json.loads(content)
            if given["answers"] != ANSWERS_FORMAT:
                raise AuditError(
                    f"{place}: has answers of format {given['answers']!r}, this version reads "
                    f"{ANSWERS_FORMAT}. Save them again with this version"
                )
            outputs = tuple(tuple(float(value) for value in row) for row in given["outputs"])
            read = cls(
                target=str(given["target"]),
                kind=str(given["kind"]),
                facts={str(name): str(fact) for name, fact in given["facts"].items()},
                labels=None if given["labels"] is None else tuple(map(str, given["labels"])),
                gives_scores=bool(given["gives_scores"]),
                texts=tuple(given["texts"]),
                outputs=outputs,
                probes={name: dict(probe) for name, probe in given["probes"].items()},
                token_ids=tuple(map(str, given.get("token_ids", ()))),
                token_size=int(given.get("token_size", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _not_answers(place, f"{type(error).__name__}: {error}") from error
        texts_are_read = all(isinstance(text, str) for text in read.texts)
        sizes = {len({*read.texts}), len(read.texts), len(read.token_ids) or len(outputs)}
        if not texts_are_read or sizes != {len(outputs)} or len(outputs) < 2:
            raise _not_answers(place, "texts and answers do not match")
        if not read.token_size and (len({len(row) for row in outputs}) != 1 or not outputs[0]):
            raise _not_answers(place, "its answers have different lengths")
        return read


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A text whose answer has other bits, with the answers there and here, and the largest change.

    here: empty if the system has no answer to the text here.
    """

    text: str
    there: tuple[float, ...]
    here: tuple[float, ...]
    largest: float


@dataclass(frozen=True, slots=True)
class ChangedProbe:
    """A probe with another result: (there, here) for its status and its summary."""

    probe: str
    status: tuple[str, str]
    summary: tuple[str, str]


@dataclass(frozen=True, slots=True)
class ChangedFact:
    """A recorded fact, as a version or the processor, that differs."""

    name: str
    there: str
    here: str


@dataclass(frozen=True, slots=True)
class MachineComparison:
    """The answers of an audit compared with saved ones.

    status: "exact" for the same bits; "drift" for other bits that rounding and a fact explain;
    "bug" beyond rounding, or without an explanation. texts, probes: those that differ, the texts
    with the largest change first. facts: those that differ, whether or not answers do.
    """

    target: str
    status: Literal["bug", "drift", "exact"]
    summary: str
    explanation: str
    num_texts: int
    texts: tuple[ChangedAnswer, ...]
    probes: tuple[ChangedProbe, ...]
    facts: tuple[ChangedFact, ...]
    movement: Movement

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON, which has no NaN and no infinity."""
        texts = [
            asdict(each)
            | {name: list(map(_number, getattr(each, name))) for name in ("there", "here")}
            | {"largest": _number(each.largest)}
            for each in self.texts
        ]
        return asdict(self) | {"texts": texts, "movement": self.movement.as_dict()}


def check_comparable(saved: SavedAnswers, session: AuditSession) -> None:
    """Raise an AuditError if the answers of `session` are of another kind, or to other texts."""
    subject = session.subject
    if not {*saved.texts} & {*session.texts}:
        raise AuditError(
            "none of the texts is in the saved answers. Leave out --texts, and the saved texts "
            "are sent"
        )
    width = session.alone.shape[1]
    if saved.token_size != subject.token_size:
        sizes = [
            f"{counted(size, 'number')} for each token" if size else "one output for each text"
            for size in (saved.token_size, subject.token_size)
        ]
        raise AuditError(
            f"the saved answers, of {saved.target}, have {sizes[0]}, those of {subject.name} have "
            f"{sizes[1]}. Compare audits of the same model"
        )
    if saved.token_size:
        return
    if width != len(saved.outputs[0]) or subject.gives_scores != saved.gives_scores:
        kind = {True: "scores", False: "logits"}
        raise AuditError(
            f"the saved answers, of {saved.target}, are {len(saved.outputs[0])} "
            f"{kind[saved.gives_scores]}, those of {subject.name} are {width} "
            f"{kind[subject.gives_scores]}. Compare audits of the same model"
        )


def compare_machines(
    saved: SavedAnswers, session: AuditSession, report: AuditReport
) -> MachineComparison:
    """Compare the answers of a complete `report` with the saved ones."""
    here = dict(zip(report.texts, report.answers, strict=True))
    there = dict(zip(saved.texts, saved.outputs, strict=True))
    common = [text for text in there if text in here]
    before, after = (from_rows([side[text] for text in common]) for side in (there, here))
    movement = session.compare(before, after)
    lost = [text for text in there if text not in here and text in report.texts_sent]
    changed = [
        ChangedAnswer(text, there[text], here[text], gap)
        for text, gap in zip(common, largest_gaps(before, after).tolist(), strict=True)
        if gap
    ]
    changed.sort(key=lambda each: -each.largest)
    changed += [ChangedAnswer(text, there[text], (), math.inf) for text in lost]
    facts = tuple(_changed_facts(saved, report))
    explanation, is_explained = _explain(changed, facts, saved, report)
    status = "bug" if lost or not is_explained else session.tolerance.judge(movement)
    assert status in ("bug", "drift", "exact"), "a movement is never judged otherwise"
    summary = describe(movement, "between the two audits")
    if lost:
        summary += f"; {counted(len(lost), 'text has', 'texts have')} no answer here"
    if left_out := len(there) - len(common) - len(lost):
        summary += f"; {left_out} of {len(there)} saved texts were not sent"
    return MachineComparison(
        target=saved.target,
        status=status,
        summary=summary,
        explanation=explanation,
        num_texts=len(common) + len(lost),
        texts=tuple(changed),
        probes=tuple(_changed_probes(saved.probes, report.probes)),
        facts=facts,
        movement=movement,
    )


def _explain(
    changed: Sequence[ChangedAnswer],
    facts: Sequence[ChangedFact],
    saved: SavedAnswers,
    report: AuditReport,
) -> tuple[str, bool]:
    """Return the explanation, and whether it is one."""
    from isobatch.kernels import ARITHMETIC  # imports torch, for which a server need not wait

    named = {fact.name: fact for fact in facts}
    if not changed:
        others = ", ".join(name for name in named if name not in NOT_CAUSES)
        return (f"the same bits, although these differ: {others}" if others else ""), True
    if "arithmetic" not in named and report.facts.get("arithmetic") == ARITHMETIC:
        return _explain_same_arithmetic(changed, named, saved, report)
    if cause := _cause(OF_THE_SYSTEM, named):
        return f"explained by the {cause.name}: {cause.there} there, {cause.here} here", True
    if arithmetic := named.get("arithmetic"):
        return OTHER_ARITHMETIC.format(arithmetic.there, arithmetic.here), True
    causes = [fact for fact in facts if fact.name not in NOT_CAUSES]
    if not causes:
        return NO_FACT, False
    listed = "; ".join(f"{fact.name}: {fact.there} there, {fact.here} here" for fact in causes)
    return f"explained by what differs: {listed}", True


def _explain_same_arithmetic(
    changed: Sequence[ChangedAnswer],
    named: Mapping[str, ChangedFact],
    saved: SavedAnswers,
    report: AuditReport,
) -> tuple[str, bool]:
    """Explain other bits by other weights or token ids: this arithmetic has no other cause."""
    arithmetic = report.facts["arithmetic"]
    has_digest = "checkpoint" in report.facts and "checkpoint" in saved.facts
    weights = ("checkpoint", "precision", *(() if has_digest else ("model",)))
    if cause := _cause(weights, named):
        return f"explained by the {cause.name}: {cause.there} there, {cause.here} here", True
    cause = _cause(OF_THE_IDS, named)
    if cause is None:
        return SAME_ARITHMETIC.format(arithmetic), False
    was_now = cause.there, cause.here
    if not saved.token_ids or not report.token_ids:
        return UNKNOWN_IDS.format(cause.name, *was_now, arithmetic), True
    there = dict(zip(saved.texts, saved.token_ids, strict=True))
    here = dict(zip(report.texts, report.token_ids, strict=True))
    if same := sum(there[each.text] == here.get(each.text) for each in changed):
        texts = counted(same, "text with different bits has", "texts with different bits have")
        return SAME_IDS.format(arithmetic, texts, cause.name, *was_now), False
    return OTHER_IDS.format(cause.name, *was_now), True


def _cause(names: Sequence[str], named: Mapping[str, ChangedFact]) -> ChangedFact | None:
    """Return the first fact that differs; the reason for a precision is none."""
    for fact in (named[name] for name in names if name in named):
        there, here = (each.partition(" (")[0] for each in (fact.there, fact.here))
        if fact.name != "precision" or there != here:
            return fact
    return None


def _changed_facts(saved: SavedAnswers, report: AuditReport) -> Iterator[ChangedFact]:
    # The processor, and the versions here, are not those of a server.
    left_out = {"date", *(("processor", *report.versions) if report.kind == "http" else ())}
    there, here = saved.facts, {**report.versions, **report.facts}
    for name in (each for each in {**there, **here} if each not in left_out):
        was, now = there.get(name, "not recorded"), here.get(name, "not recorded")
        if was != now:
            yield ChangedFact(name, was, now)


def _changed_probes(
    there: Mapping[str, Mapping[str, Any]], here: Sequence[ProbeResult]
) -> Iterator[ChangedProbe]:
    for result in here:
        was, now = there.get(result.probe), _probe(result)
        if was is not None and was != now:
            status = str(was.get("status")), str(now["status"])
            yield ChangedProbe(result.probe, status, (str(was.get("summary")), result.summary))


def _probe(result: ProbeResult) -> dict[str, Any]:
    movement = result.movement and result.movement.as_dict()
    described = {"status": result.status, "summary": result.summary, "movement": movement}
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _not_answers(place: str, reason: str) -> AuditError:
    return AuditError(
        f"{place}: has no saved answers ({reason}). Make the file with isobatch audit --save"
    )

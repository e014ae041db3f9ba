"""What an audit finds: movements of answers, results of probes, findings, and the report of all.

Plain values that know no model. Invariant: a report says of every probe what came of it, and one
that could not be asked is never counted as passed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

Verdict = Literal["bug", "drift", "exact"]
Status = Literal["bug", "drift", "exact", "note", "not tested"]
"""note: worth knowing, but no fault of the system as it is used; never changes the verdict."""


@dataclass(frozen=True, slots=True)
class Movement:
    """How far answers moved between two ways of asking, over `rows` rows.

    max_logit and max_score are the largest changes of one number, before and after softmax (or
    sigmoid); where the system gives scores only, max_logit is None. points: each row's largest
    change, in order, for pictures. broken_rows: those with NaN or infinity, or an error, in one of
    the two. Flips count rows whose highest label changed.
    """

    rows: int
    moved_rows: int
    flips: int
    max_logit: float | None
    max_score: float
    points: tuple[float, ...]
    broken_rows: int = 0

    @property
    def share_moved(self) -> float:
        """Share of the rows of which any bit changed."""
        return self.moved_rows / self.rows if self.rows else 0.0

    @property
    def flips_per_10000(self) -> float:
        """Label flips, as of 10,000 rows."""
        return 10_000 * self.flips / self.rows if self.rows else 0.0

    def as_dict(self) -> dict[str, object]:
        """The movement as plain values, for JSON; NaN never occurs, infinity is None."""
        shares = {"share_moved": self.share_moved, "flips_per_10000": self.flips_per_10000}
        return _finite(asdict(self) | shares)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The smallest pair of texts that was found to show it, and the answers of the first.

    company: the other text of the batch; empty where none is needed. before and after: the answer
    to `text` in the two ways that `how` names, e.g. ("alone", "in a batch with the other text").
    """

    text: str
    company: str
    how: tuple[str, str]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What came of one probe: its status, a sentence that says it, and its numbers if any."""

    probe: str
    changes: str
    proves: str
    status: Status
    summary: str
    movement: Movement | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, by its name: what shows it, the likely cause, and the cure.

    severity: "bug" or "drift". name: short and fixed, e.g. "mask-dropped"; docs/audit.md lists all.
    """

    severity: Literal["bug", "drift"]
    name: str
    title: str
    cause: str
    cure: str
    probes: tuple[str, ...]
    movement: Movement | None = None
    reproduction: Reproduction | None = None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything that an audit found; `findings` are sorted, the worst first.

    labels: names of the numbers of an answer, where the system has names for them.
    """

    target: str
    kind: str
    facts: Mapping[str, str]
    num_texts: int
    probes: tuple[ProbeResult, ...]
    findings: tuple[Finding, ...]
    seconds: float
    versions: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings; "exact" without any."""
        severities = {finding.severity for finding in self.findings}
        return "bug" if "bug" in severities else "drift" if severities else "exact"

    def with_status(self, status: Status) -> tuple[ProbeResult, ...]:
        """The probes of which this came."""
        return tuple(result for result in self.probes if result.status == status)

    def as_dict(self) -> dict[str, object]:
        """The report as plain values, for JSON."""
        return {
            "target": self.target,
            "kind": self.kind,
            "verdict": self.verdict,
            "facts": dict(self.facts),
            "num_texts": self.num_texts,
            "findings": [_with_movement(each) for each in self.findings],
            "probes": [_with_movement(each) for each in self.probes],
            "seconds": self.seconds,
            "versions": dict(self.versions),
            "labels": self.labels,
        }


def _with_movement(part: Finding | ProbeResult) -> dict[str, object]:
    movement = part.movement.as_dict() if part.movement else None
    return _finite(asdict(part)) | {"movement": movement}


def _finite(value: dict[str, object]) -> dict[str, object]:
    """JSON has no infinity and no NaN."""
    return {key: _plain(each) for key, each in value.items()}


def _plain(value: object) -> object:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return _finite(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value

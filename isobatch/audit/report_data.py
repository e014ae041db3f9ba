"""The report of an audit as plain values, and as JSON: movements, probe results, findings.

Invariant: a report has a result for every probe, and one that could not run never counts as passed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from isobatch.audit.machine_comparison import MachineComparison

Severity = Literal["bug", "configuration", "drift"]
AuditVerdict = Literal["error", "bug", "configuration", "drift", "exact"]
Status = Literal["error", "bug", "configuration", "drift", "exact", "note", "not tested"]
"""error: the audit ended early. configuration: a text fails alone as well, or a setting is wrong.

note: worth knowing, but not a fault of the system as it is used; never changes the verdict.
"""

SEVERITIES: tuple[Severity, ...] = ("bug", "configuration", "drift")
"""The worst first."""

_JSON_KEYS = {"fix": "cure", "other_text": "company"}
"""Keys of the JSON report, a fixed format, that differ from the names of their fields."""


@dataclass(frozen=True, slots=True)
class Movement:
    """How far outputs moved between two ways of asking for them, over `rows` rows.

    max_logit and max_score are the largest changes of one number, before and after softmax (or
    sigmoid); where the system returns scores only, max_logit is None. points: each row's largest
    change, in order, for pictures. broken_rows: those with NaN or infinity in one of the two. Flips
    count rows whose highest label changed, of the text or of one of its tokens. has_labels: whether
    there are labels; without them max_score is the largest change of a number. resized_rows: those
    with more or fewer numbers; shifted_rows: those whose tokens, or characters, have moved.
    """

    rows: int
    moved_rows: int
    flips: int
    max_logit: float | None
    max_score: float
    points: tuple[float, ...]
    broken_rows: int = 0
    has_labels: bool = True
    resized_rows: int = 0
    shifted_rows: int = 0

    @property
    def share_moved(self) -> float:
        """Share of the rows in which any bit changed."""
        return self.moved_rows / self.rows if self.rows else 0.0

    @property
    def flips_per_10000(self) -> float:
        """Label flips, scaled to 10,000 rows."""
        return 10_000 * self.flips / self.rows if self.rows else 0.0

    @property
    def largest(self) -> float:
        """The largest change: of logits where the system returns them, else of scores."""
        return self.max_score if self.max_logit is None else self.max_logit

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON, which has no NaN and no infinity."""
        shares = {"share_moved": self.share_moved, "flips_per_10000": self.flips_per_10000}
        return {name: _plain(value) for name, value in (asdict(self) | shares).items()}


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The smallest pair of texts that was found to show a fault, and the outputs for the first.

    other_text: the other text of the batch; empty where none is needed. before and after: the
    outputs for `text` in the two ways that `how` names, e.g. ("alone", "in a batch with the other
    text").
    """

    text: str
    other_text: str
    how: tuple[str, str]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of one probe: its status, a one-sentence summary, and its numbers if any."""

    probe: str
    changes: str
    proves: str
    status: Status
    summary: str
    movement: Movement | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault by its name, e.g. "mask-dropped", with the probes that show it, its cause and fix.

    docs/audit.md lists all names; they never change.
    """

    severity: Severity
    name: str
    title: str
    cause: str
    fix: str
    probes: tuple[str, ...]
    movement: Movement | None = None
    reproduction: Reproduction | None = None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything that an audit found; `findings` are sorted, the worst first.

    labels: names of the numbers of an output row, where the system has names for them. error: why
    the audit ended before its last probe; "" if it did not. texts, answers: the texts that have an
    answer alone, and the exact numbers of each; token_ids: a digest of what the tokenizer makes of
    each, where that can be seen; texts_sent: with those that have none. comparison:
    with the answers of another audit, if there was one; the verdict does not depend on it.
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
    error: str = ""
    texts: tuple[str, ...] = ()
    texts_sent: tuple[str, ...] = ()
    answers: tuple[tuple[float, ...], ...] = ()
    token_ids: tuple[str, ...] = ()
    gives_scores: bool = False
    token_size: int = 0
    comparison: "MachineComparison | None" = None

    @property
    def verdict(self) -> AuditVerdict:
        """The worst severity of the findings; "exact" without any; "error" if it ended early."""
        if self.error:
            return "error"
        severities = {finding.severity for finding in self.findings}
        return next((each for each in SEVERITIES if each in severities), "exact")

    def with_status(self, status: Status) -> tuple[ProbeResult, ...]:
        """Return the probe results with this status."""
        return tuple(result for result in self.probes if result.status == status)

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        names = "target kind verdict error facts num_texts findings probes seconds versions labels"
        plain = {name: _plain(getattr(self, name)) for name in names.split()}
        return plain | ({"comparison": self.comparison.as_dict()} if self.comparison else {})


def _plain(value: object) -> object:
    """Convert to the values of JSON, which has no NaN and no infinity."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Movement):
        return value.as_dict()
    if isinstance(value, Finding | ProbeResult | Reproduction):
        names = (each.name for each in fields(value))
        return {_JSON_KEYS.get(name, name): _plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value

"""A running audit on the command line: its progress, and a report of one that ends early."""

import re
from typing import TYPE_CHECKING

from isobatch.cli.display import Display
from isobatch.cli.stop_signals import Stopped
from isobatch.drawing.display_text import counted

if TYPE_CHECKING:
    from isobatch.audit.auditor import AuditProgress
    from isobatch.audit.report_data import AuditReport

_CREDENTIALS = re.compile(r"(?<=//)[^/@]*@")


class AuditWatch:
    """Shows the progress of an audit, and keeps the last one."""

    def __init__(self) -> None:
        self.display = Display()
        self.last: AuditProgress | None = None

    def show(self, progress: "AuditProgress") -> None:
        """Show how many probes are done, and which runs now."""
        self.last = progress
        place = f"{progress.done} of {counted(progress.total, 'probe')}"
        words = f"{place} · {progress.probe}" if progress.probe else f"{place} · diagnosing"
        self.display.draw(progress.done, progress.total, words)

    def failed_report(self, target: str | None, error: BaseException) -> "AuditReport":
        """Return the report of an audit that `error` has ended, with the probes before it."""
        from isobatch.audit.report_data import AuditReport
        from isobatch.errors import IsobatchError

        if isinstance(error, Stopped):
            reason = error.description
        elif isinstance(error, IsobatchError):
            reason = str(error)
        else:
            reason = f"{type(error).__name__}: {error}"
        if self.last and self.last.probe:
            reason += f" (in the probe {self.last.probe})"
        return AuditReport(
            target=_CREDENTIALS.sub("", target or "bundled model"),
            kind="not opened" if self.last is None else "opened",
            facts={},
            num_texts=0,
            probes=self.last.results if self.last else (),
            findings=(),
            seconds=0.0,
            error=reason,
        )

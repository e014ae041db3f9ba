"""How far jobs are that other processes work on, told by their ledgers.

It only looks: nothing here locks, writes or raises. Invariant: a look reads what was added since
the last one, so that a thousand finished jobs cost a thousand calls of stat.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

from isobatch.jobs.folder import JobFolder
from isobatch.jobs.summary import Counts


class LedgerWatch:
    """The ledgers of some outputs, and what they said at the last look."""

    def __init__(self, outputs: Iterable[Path]) -> None:
        self._ledgers = [_Ledger(output) for output in outputs]

    def look(self) -> Counts:
        """What is done of all outputs together."""
        return reduce(add, (ledger.look() for ledger in self._ledgers), Counts())


@dataclass(slots=True)
class _Ledger:
    """One output's; `size` bytes of its ledger were read, and say `counts`."""

    output: Path
    size: int = 0
    counts: Counts = field(default_factory=Counts)

    def look(self) -> Counts:
        folder = JobFolder(self.output)
        try:
            size = folder.ledger.stat().st_size
            if size < self.size:
                self._read_from_start()
            if size > self.size:
                self._read_on(folder.ledger)
        except FileNotFoundError:
            self._read_from_start()
        except (OSError, ValueError, LookupError, TypeError):
            pass  # whoever writes it will say what is wrong; until then, the last look stands
        # A job whose output is gone begins anew: what its ledger says is not kept.
        gone = not self.output.exists() and folder.finished.exists()
        return Counts() if gone else self.counts

    def _read_from_start(self) -> None:
        self.size, self.counts = 0, Counts()

    def _read_on(self, ledger: Path) -> None:
        with ledger.open("rb") as file:
            file.seek(self.size)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        counts = (Counts(**json.loads(line)["counts"]) for line in whole.splitlines())
        self.counts = reduce(add, counts, self.counts)
        self.size += len(whole)

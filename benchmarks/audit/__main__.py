"""`make bench-audit`: audit every architecture, try the claims about them, and keep the result."""

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

from benchmarks.audit.audits import audit_architectures
from benchmarks.audit.claims import gather
from benchmarks.audit.render import render_audits, render_claims
from benchmarks.audit.verdicts import judge
from benchmarks.machine import describe_machine, installed_version
from benchmarks.writing import say, write_result

RESULTS = Path(__file__).parents[1] / "results/audit"


def main() -> None:
    """Both, in one thread: tiny models are slower in two."""
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        audits = list(audit_architectures(Path(folder) / "audits"))
        claims = judge(gather(Path(folder)))
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": {
            each: installed_version(each) for each in ("isobatch", "torch", "transformers")
        },
        "audits": audits,
        "claims": [asdict(each) for each in claims],
    }
    path = write_result(result, RESULTS)
    print(f"{render_audits(result)}\n\n{render_claims(result)}")
    say(f"written to {path.name}")


if __name__ == "__main__":
    main()

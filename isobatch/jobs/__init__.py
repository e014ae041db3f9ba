"""File jobs: score the rows of files into output files, with progress saved chunk by chunk.

`job` plans jobs, `prepare` scans their inputs, `runner` runs them in this process and `ray_engine`
on a Ray cluster. `folder` saves the finished chunks (`durable` writes them), `manifest` records
what the output depends on. `verification` computes the rows of a finished output again.
"""

from isobatch.jobs.job import FileJob, ModelOptions, plan_jobs, plan_stream
from isobatch.jobs.output_digest import check_digest, refuse_other_digest
from isobatch.jobs.ray_engine import RayOptions, run_on_ray
from isobatch.jobs.runner import JobReport, run_files, run_stream
from isobatch.jobs.saved_job import outputs_with_jobs
from isobatch.jobs.verification import Verification, Verifier, VerifyOptions
from isobatch.scoring import ScoringOptions, TaskOptions

__all__ = [
    "FileJob",
    "JobReport",
    "ModelOptions",
    "RayOptions",
    "ScoringOptions",
    "TaskOptions",
    "Verification",
    "Verifier",
    "VerifyOptions",
    "check_digest",
    "outputs_with_jobs",
    "plan_jobs",
    "plan_stream",
    "refuse_other_digest",
    "run_files",
    "run_on_ray",
    "run_stream",
]

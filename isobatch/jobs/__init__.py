"""File jobs: score the rows of files into output files, with progress saved chunk by chunk.

`job` plans jobs, `prepare` scans their inputs, `runner` runs them in this process and `ray_engine`
on a Ray cluster. `folder` saves the finished chunks (`durable` writes them), `manifest` records
what the output depends on.
"""

from isobatch.jobs.job import FileJob, ModelOptions, plan_jobs, plan_stream
from isobatch.jobs.ray_engine import RayOptions, run_on_ray
from isobatch.jobs.runner import JobReport, run_files, run_stream
from isobatch.scoring import ScoringOptions

__all__ = [
    "FileJob",
    "JobReport",
    "ModelOptions",
    "RayOptions",
    "ScoringOptions",
    "plan_jobs",
    "plan_stream",
    "run_files",
    "run_on_ray",
    "run_stream",
]

"""File jobs: rows in, the same rows with answers out, in chunks that survive whatever happens.

`options` says what is wanted, `layout` which columns are read and written, `chunks` cuts the rows,
`answers` asks the classifier; `shards` makes jobs of what the user names, `prepare` settles a job,
`run` runs it, `folder` keeps what is done (`durable` writes it, `manifest` says what it is of);
`cluster` does the same on Ray (`joining`, `shard_dataset`, `shard_workers`, `ledgers` to look on).
Knows neither terminals nor servers.
"""

from isobatch.jobs.answers import Answer, answer_rows, count_answers, read_texts
from isobatch.jobs.chunks import cut_chunks
from isobatch.jobs.cluster import RayOptions, run_on_ray
from isobatch.jobs.layout import ReadColumns, choose_columns
from isobatch.jobs.options import AnswerOptions, ModelOptions
from isobatch.jobs.prepare import FileJob
from isobatch.jobs.run import OnProgress, Outcome, run_files, run_stream
from isobatch.jobs.shards import plan_jobs, plan_stream
from isobatch.jobs.summary import Counts, Progress

__all__ = [
    "Answer",
    "AnswerOptions",
    "Counts",
    "FileJob",
    "ModelOptions",
    "OnProgress",
    "Outcome",
    "Progress",
    "RayOptions",
    "ReadColumns",
    "answer_rows",
    "choose_columns",
    "count_answers",
    "cut_chunks",
    "plan_jobs",
    "plan_stream",
    "read_texts",
    "run_files",
    "run_on_ray",
    "run_stream",
]

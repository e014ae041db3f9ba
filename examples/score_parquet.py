"""Scores a Parquet file, row n in, row n out; an interrupted job resumes and gives the same bytes.

Run: `pip install "isobatch[files]"`, then `python score_parquet.py FOLDER`, which it writes into.
"""

import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet

from isobatch.jobs import FileJob, ModelOptions, ScoringOptions, plan_jobs, run_files
from isobatch.scoring import ScoringProgress
from isobatch.tables import TableFile

MODEL = ModelOptions()  # the bundled model; ModelOptions("FOLDER_OR_HUB_ID", precision="int8")


def main(folder: Path) -> None:
    reviews = write_reviews(folder / "reviews.parquet")
    scored = folder / "scored.parquet"
    job = job_of(reviews, scored)
    try:
        run_files([job], MODEL, on_progress=interrupt_after_a_chunk)
    except KeyboardInterrupt:
        print(f"interrupted: {scored.name} exists: {scored.exists()}")

    report = run_files([job], MODEL)  # the same call resumes
    rows = report.progress.total.rows
    print(f"resumed: {report.progress.saved.rows} of {rows} rows were saved")

    again = run_files([job_of(reviews, folder / "again.parquet")], MODEL)
    print(f"the same bytes as without an interruption: {again.digest == report.digest}")

    table = pyarrow.parquet.read_table(scored, columns=["id", "label", "score"])
    print(*table.slice(0, 3).to_pylist(), sep="\n")


def job_of(reviews: Path, scored: Path) -> FileJob:
    """One input, one output; the text is found by the name of its column."""
    [job] = plan_jobs([TableFile(reviews, "parquet", "none")], str(scored), ScoringOptions())
    return job


def interrupt_after_a_chunk(progress: ScoringProgress) -> None:
    """Do what Ctrl-C does, or a machine that fails."""
    if progress.done.rows:
        raise KeyboardInterrupt


def write_reviews(path: Path) -> Path:
    """Write 300 different reviews: more than one chunk."""
    verdicts = ["a fine film", "a dull one", "not bad at all", "it could have been better"]
    texts = [f"Seat {row}: {verdicts[row % 4]}, {row} minutes long." for row in range(300)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"id": range(300), "text": texts}), path)
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "scores"))

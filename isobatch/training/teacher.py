"""The logits of a teacher for the texts of a training, computed once by a file job and kept.

Invariant: they are the bits that `isobatch run --logits` writes; a text's logits do not depend on
its batch, so that a student's training is as reproducible as one without a teacher. The name of a
kept file has everything that its bytes depend on, so that what is found under it can be used.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from isobatch.ambient import default_float_environment
from isobatch.checkpoint import checkpoint_digest, locate_checkpoint, read_config
from isobatch.checkpoint.weight_files import list_names
from isobatch.errors import OptionError
from isobatch.jobs import ModelOptions, ScoringOptions, plan_jobs
from isobatch.jobs.durable import write_atomically, write_errors
from isobatch.jobs.exclusive_lock import exclusive_lock
from isobatch.jobs.manifest import describe_provenance
from isobatch.jobs.prepare import prepare_job
from isobatch.jobs.runner import run_job
from isobatch.scoring import ProgressCallback
from isobatch.tables import TableFile
from isobatch.training.data.label_scheme import LabelScheme
from isobatch.training.initial_model import ACTIVATIONS
from isobatch.training.steps.examples import Floats
from isobatch.types import TextInput

_TEXT, _PAIR = "text", "text_pair"


def check_teacher(teacher: str | Path, scheme: LabelScheme) -> list[int]:
    """Return the column of the teacher's logits for each label.

    Raises OptionError for a teacher of another task or with other labels.
    """
    head = read_config(locate_checkpoint(teacher)).head
    if head.score_activation != ACTIVATIONS[scheme.task]:
        raise OptionError(
            f"teacher {teacher}: is for another task than {scheme.task!r}. Choose a teacher that "
            "was trained for the same one"
        )
    if scheme.task == "regression" and head.num_labels == len(scheme.labels) == 1:
        return [0]  # the name of a single number means nothing
    if {*head.labels} != {*scheme.labels}:
        raise OptionError(
            f"teacher {teacher}: predicts {list_names(head.labels)}, but the labels of the texts "
            f"are {list_names(scheme.labels)}. Choose a teacher with the same labels, or rename "
            "them in its config.json"
        )
    return [head.labels.index(label) for label in scheme.labels]


def teacher_logits(
    teacher: str | Path,
    texts: Sequence[TextInput],
    scheme: LabelScheme,
    place: Path,
    *,
    restart: bool = False,
    on_note: Callable[[str], object] = lambda note: None,
    on_progress: ProgressCallback = lambda progress: None,
) -> Floats:
    """Return the logits of the teacher, float32 [texts, labels], in the order of the labels.

    place: the folder where they are kept, and taken from if they are there already; where another
    training computes them there, its end is awaited. restart: compute them again. Raises as
    `check_teacher` and `isobatch run` do.
    """
    columns = check_teacher(teacher, scheme)
    digest = checkpoint_digest(locate_checkpoint(teacher))
    content = b"".join(_line(text) for text in texts)
    name = hashlib.sha256(digest.encode() + content).hexdigest()[:16]
    source = place / f"teacher-{name}.texts.jsonl"

    def say_waiting() -> None:
        on_note(f"{source}: another training computes the logits of these texts; waiting for it")

    with exclusive_lock(place / ".isobatch" / source.name, source, "training", say_waiting):
        with write_errors(source):
            is_written = source.exists() and source.read_bytes() == content
        if not is_written:
            write_atomically(source, content)
        pair = None if isinstance(texts[0], str) else _PAIR
        options = ScoringOptions(_TEXT, pair, columns=(), logits=True, on_error="stop")
        output = _run(source, options, teacher, restart=restart, on_progress=on_progress)
        with output.open("rb") as file:
            logits = np.array([json.loads(line)["logits"] for line in file], np.float32)
    return logits[:, columns]


@default_float_environment()  # also for the threads that are started here
def _run(
    source: Path,
    options: ScoringOptions,
    teacher: str | Path,
    *,
    restart: bool,
    on_progress: ProgressCallback,
) -> Path:
    """Run the job of the texts in `source`, and return its output, named by its manifest."""
    scorer = ModelOptions(str(teacher)).load()
    unnamed = str(source.with_name("teacher.jsonl"))
    (job,) = plan_jobs([TableFile(source, "jsonl", "none")], unnamed, options)
    provenance = describe_provenance(scorer, str(teacher))
    prepared = prepare_job(job, scorer.row_format, provenance)
    manifest = json.dumps(prepared.manifest, sort_keys=True).encode()
    output = source.with_name(f"teacher-{hashlib.sha256(manifest).hexdigest()[:16]}.jsonl")
    named = replace(prepared.job, output=replace(job.output, path=output))
    run_job(replace(prepared, job=named), scorer, restart=restart, on_progress=on_progress)
    return output


def _line(text: TextInput) -> bytes:
    parts = (text,) if isinstance(text, str) else text
    row = dict(zip((_TEXT, _PAIR), parts, strict=False))
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"

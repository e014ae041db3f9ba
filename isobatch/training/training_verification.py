"""Verification of a finished training: it is trained again from its own record, and compared.

Invariant: a folder counts as reproduced only if model.safetensors is unchanged since the training
was finished, and if training again from the same files, base and options gives the same bytes.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from isobatch.checkpoint import checkpoint_digest, locate_checkpoint
from isobatch.errors import CheckpointError, JobError, NotVerifiableError
from isobatch.jobs.durable import digest_file
from isobatch.scoring import ProgressCallback
from isobatch.training.data.labelled_source import LabelledSource, find_sources
from isobatch.training.fine_tuning import TrainedFolder, TrainingRequest, train
from isobatch.training.steps.events import EventCallback
from isobatch.training.train_record import TrainRecord, environment, read_record

MODEL_NAME = "model.safetensors"


@dataclass(frozen=True, slots=True)
class TrainingVerification:
    """The result for one folder.

    recorded, computed: SHA-256 of model.safetensors, as it was recorded and as it is trained again.
    problems: reasons why the folder is not reproduced. notes: differences to the recorded
    environment.
    """

    folder: str
    recorded: str
    computed: str
    steps: int
    seconds: float
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_reproduced(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        verdict = "reproduced" if self.is_reproduced else "not reproduced"
        return {"verdict": verdict, **asdict(self)}


def verify_training(
    folder: Path,
    *,
    moved: Sequence[Path] = (),
    base: str | Path | None = None,
    teacher: str | Path | None = None,
    threads: int | None = None,
    blocks_in_flight: int | None = None,
    on_event: EventCallback = lambda event: None,
    on_note: Callable[[str], None] = lambda note: None,
    on_teacher: ProgressCallback = lambda progress: None,
) -> TrainingVerification:
    """Train again what is in `folder`, in a temporary folder, and compare the weights.

    moved: where the files are, as `find_sources` takes them. base, teacher: where these are; None
    for the recorded places. NotVerifiableError if files, base, teacher or record are missing or
    changed, or if the weights differ in another environment than the recorded one.
    """
    record = read_record(folder)
    problems = _changed_model(folder, record)
    sources = find_sources(_recorded_files(record), folder, moved)
    revision = None if base else record.revision  # of the recorded base alone
    base, teacher = base or record.base, teacher or record.teacher
    _check_checkpoint(folder, "base", base, record.base_sha256, revision)
    if record.teacher_sha256 is not None:
        _check_checkpoint(folder, "teacher", teacher, record.teacher_sha256)
    notes = _other_environment(record)
    for note in notes:
        on_note(note)
    with tempfile.TemporaryDirectory(prefix="isobatch-") as place:
        request = replace(
            _request(record, sources, Path(place) / "model"),
            base=base,
            revision=revision,
            teacher=teacher,
            threads=threads,
            blocks_in_flight=blocks_in_flight,
        )
        trained = train(request, on_event=on_event, on_note=on_note, on_teacher=on_teacher)
    if trained.digest != record.model_sha256:
        problems.append(_difference(folder, record, trained, notes))
    return TrainingVerification(
        folder=str(folder),
        recorded=record.model_sha256,
        computed=trained.digest,
        steps=trained.steps,
        seconds=trained.seconds,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _changed_model(folder: Path, record: TrainRecord) -> list[str]:
    path = folder / MODEL_NAME
    try:
        found = digest_file(path).sha256
    except JobError as error:
        raise NotVerifiableError(str(error)) from error
    if found == record.model_sha256:
        return []
    return [
        f"{MODEL_NAME} has changed since the training was finished: SHA-256 was "
        f"{record.model_sha256}, is {found}"
    ]


def _recorded_files(record: TrainRecord) -> Sequence[dict[str, object]]:
    if not record.files:
        raise NotVerifiableError(
            f"{record.folder}: was trained from Python, with `fit`, so its record names no files. "
            "Call fit again with the same texts, and compare the SHA-256 of "
            f"{MODEL_NAME} with {record.model_sha256}"
        )
    return [dict(each) for each in record.files]


def _check_checkpoint(
    folder: Path,
    kind: str,
    place: str | Path | None,
    recorded: str,
    revision: str | None = None,
) -> None:
    try:
        found = checkpoint_digest(locate_checkpoint(place, revision))
    except CheckpointError as error:
        raise NotVerifiableError(
            f"{folder}: its {kind} cannot be read: {error}. If it was moved, specify it "
            f"with --{kind}"
        ) from error
    if found != recorded:
        raise NotVerifiableError(
            f"{folder}: its {kind} {place or '(the bundled model)'} has changed: SHA-256 was "
            f"{recorded}, is {found}. Restore it, or specify it with --{kind}"
        )


def _other_environment(record: TrainRecord) -> list[str]:
    """Describe what the bits may depend on and is not as recorded; not the processor's name."""
    now = environment()
    names = [name for name in now if name != "processor"]
    return [
        f"{name} was {record.environment.get(name, 'unknown')}, is {now[name]}"
        for name in names
        if record.environment.get(name) != now[name]
    ]


def _request(record: TrainRecord, sources: Sequence[LabelledSource], out: Path) -> TrainingRequest:
    texts = {source.part: source.read() for source in sources}
    share = record.options["validation_share"]
    return TrainingRequest(
        base=record.base,
        out=out,
        texts=texts["training"],
        validation=texts.get("validation"),
        **({} if share is None else {"validation_share": share}),
        task=record.options["task"],
        class_weights=record.options["class_weights"],
        options=record.recipe_options,
        teacher=record.teacher,
        unlabelled=texts.get("unlabelled"),
        layers=record.options["layers"],
    )


def _difference(
    folder: Path, record: TrainRecord, trained: TrainedFolder, notes: Sequence[str]
) -> str:
    """Describe other weights; NotVerifiableError where another environment may explain them."""
    found = f"trained again, SHA-256 is {trained.digest}; recorded is {record.model_sha256}"
    if notes:
        raise NotVerifiableError(
            f"{folder}: {found}, but the environment differs: {'; '.join(notes)}. Only the same "
            "environment guarantees the same bits: verify it there"
        )
    return found

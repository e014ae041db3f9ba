"""`fit`: trains a classifier on texts and labels from Python."""

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from isobatch.tasks import Classifier
from isobatch.training.data.dataset import labelled_texts, unlabelled_texts
from isobatch.training.fine_tuning import DEFAULT_SHARE, TrainingRequest, train
from isobatch.training.recipe import RecipeOptions, TrainingTask
from isobatch.training.steps.events import EventCallback
from isobatch.types import TextInput

DEFAULTS = RecipeOptions()


def fit(
    base: str | Path | None,
    texts: Sequence[TextInput],
    labels: Sequence[Any],
    *,
    weights: Sequence[float] | None = None,
    validation: tuple[Sequence[TextInput], Sequence[Any]] | None = None,
    validation_share: float = DEFAULT_SHARE,
    out: str | Path | None = None,
    task: TrainingTask | Literal["auto"] = "auto",
    class_weights: Literal["none", "balanced"] | Mapping[str, float] = "none",
    threads: int | None = None,
    blocks_in_flight: int | None = None,
    restart: bool = False,
    teacher: str | Path | None = None,
    unlabelled: Sequence[TextInput] | None = None,
    layers: int | None = None,
    callback: EventCallback | None = None,
    **options: Any,
) -> Classifier:
    """Train a classifier, and load it.

    base: a folder or hub id of a classifier or an encoder, or None for the bundled model. labels: a
    text, number or boolean for each text; or a list of labels for each; or numbers, [texts,
    outputs]. weights: of the texts in the loss. validation: (texts, labels) to choose the best
    weights by; None holds out `validation_share` of the texts. out: the folder to write; with
    the same arguments it is resumed, or loaded if it is finished. None for a temporary one, which
    is deleted with the classifier. Others are as `TrainingRequest` takes them; the weights do not
    depend on threads and blocks_in_flight. callback: called with every StepDone and Evaluated.
    options: the fields of RecipeOptions, such as epochs, batch_size, learning_rate and seed.

    Raises OptionError for an unknown or invalid option, InputError and TrainingError for texts or
    labels that cannot be learned, CheckpointError for the base, and JobError for the folder.
    """
    with ExitStack() as cleanup:
        request = TrainingRequest(
            base=base,
            out=_temporary_folder(cleanup) if out is None else Path(out),
            texts=labelled_texts(texts, labels, weights),
            validation=None if validation is None else labelled_texts(*validation),
            validation_share=validation_share,
            task=task,
            class_weights=class_weights,
            options=RecipeOptions.from_dict(options),
            threads=threads,
            blocks_in_flight=blocks_in_flight,
            restart=restart,
            teacher=teacher,
            unlabelled=None if unlabelled is None else unlabelled_texts(unlabelled),
            layers=layers,
            report=out is not None,
            stated=_stated(options, validation_share),
        )
        trained = train(request, on_event=callback or (lambda event: None))
        classifier = Classifier.from_pretrained(trained.folder)
        weakref.finalize(classifier, cleanup.pop_all().close)
    return classifier


def _temporary_folder(cleanup: ExitStack) -> Path:
    return Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="isobatch-")), "model")


def _stated(options: Mapping[str, Any], validation_share: float) -> set[str]:
    """Return the names of the values that are not the default."""
    names = {name for name, value in options.items() if value != getattr(DEFAULTS, name, value)}
    return names if validation_share == DEFAULT_SHARE else {*names, "validation_share"}

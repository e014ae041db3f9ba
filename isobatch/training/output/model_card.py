"""The model card of a trained model: README.md, with its metrics as a `model-index`.

Written by huggingface_hub's own classes, without a network. Invariant: it states only what is known
here. The texts that chose the weights are called validation, and a licence that the checkpoint
itself does not state is left out.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from isobatch.drawing.display_text import counted, one_line
from isobatch.training.output.metric_words import format_metric, spoken_metric
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.output.training_report import data_lines, recipe_lines
from isobatch.training.recipe import TrainingTask

MAX_LABELS = 50
"""Rows of the table of labels."""

_HUB_METRICS: dict[str, tuple[str, dict[str, str] | None]] = {
    "macro_f1": ("f1", {"average": "macro"}),
    "multi_macro_f1": ("f1", {"average": "macro"}),
    "micro_f1": ("f1", {"average": "micro"}),
    "pearson": ("pearsonr", None),
    "spearman": ("spearmanr", None),
}
"""The ids of metrics on the hub, with their arguments, where they are not ours."""

_TASKS: dict[TrainingTask, str] = {
    "single": "gives each text one of {labels}",
    "multi": "gives each text any number of {labels}",
    "regression": "gives each text {numbers}",
}
_LICENCE_KEYS = ("license", "license_name", "license_link")


def render_model_card(trained: TrainedModel, name: str) -> str:
    """Return the card of a model with this name, as Markdown with its metadata in YAML."""
    licence, unreadable = _stated_licence(trained.start.folder)
    data = ModelCardData(
        license=licence.get("license"),
        license_name=licence.get("license_name"),
        license_link=licence.get("license_link"),
        base_model=trained.start.hub[0] if trained.start.hub else None,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["isobatch"],
        model_name=name,
        eval_results=_eval_results(trained),
    )
    text = "\n\n".join(
        [
            f"# {_line(name)}",
            _introduction(trained) + unreadable,
            "## Use",
            _usage(name),
            "## Validation",
            _validation(trained),
            "## Labels",
            _labels(trained),
            "## Training",
            _table(("", ""), [*data_lines(trained), *recipe_lines(trained)]),
            "`train.json` has the same values with versions and digests; `isobatch train --verify` "
            "trains again from it, and compares the weights.",
        ]
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n"))


def _stated_licence(folder: Path) -> tuple[dict[str, str], str]:
    """Return what the checkpoint's own card states as its licence, and a note if it is unreadable.

    A training that is done is not lost for the sake of a README.
    """
    path = folder / "README.md"
    if not path.is_file():
        return {}, ""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if not text.lstrip().startswith("---"):
        return {}, ""
    try:
        data = ModelCard(text, ignore_metadata_errors=True).data
    except Exception:  # noqa: BLE001 - of the YAML library, which is not a dependency of ours
        note = " The metadata of its card could not be read; if it states a licence, that applies."
        return {}, note
    found = {key: data.get(key) for key in _LICENCE_KEYS}
    return {key: value for key, value in found.items() if isinstance(value, str)}, ""


def _eval_results(trained: TrainedModel) -> list[EvalResult]:
    facts = trained.facts
    files = facts.validation_files or facts.files
    found = []
    for name, value in trained.metrics.items():
        kind, arguments = _HUB_METRICS.get(name, (name.removeprefix("binary_"), None))
        if math.isfinite(value):
            found.append(
                EvalResult(
                    task_type="text-classification",
                    task_name="Text Classification",
                    dataset_type=_slug(trained.name_of_data),
                    dataset_name=trained.name_of_data,
                    dataset_split="validation",
                    dataset_revision=files[0]["sha256"] if len(files) == 1 else None,
                    metric_type=kind,
                    metric_name=spoken_metric(name),
                    metric_value=round(value, 6),
                    metric_args=arguments,
                )
            )
    return found


def _introduction(trained: TrainedModel) -> str:
    labels = trained.scheme.labels
    kind = _TASKS[trained.recipe.task].format(
        labels=counted(len(labels), "label"), numbers=counted(len(labels), "number")
    )
    start, family = trained.start, trained.calibrated.model.config.family
    link = f"[{start.hub[0]}](https://huggingface.co/{start.hub[0]})" if start.hub else ""
    return (
        f"A text classifier that {kind}. It was trained with Isobatch on "
        f"{counted(trained.facts.num_train, 'text')}, starting from the checkpoint "
        f"{link or _line(start.name)} of the family {family.class_prefix}; {_line(start.reason)}."
        + (f" It also learned the logits of {_line(trained.teacher)}." if trained.teacher else "")
    )


def _usage(name: str) -> str:
    return (
        "```python\n"
        "from transformers import pipeline\n\n"
        f'classify = pipeline("text-classification", {json.dumps(name)})\n'
        "```\n\n"
        "or, with scores that do not depend on the batch,\n\n"
        "```python\n"
        "from isobatch import Classifier\n\n"
        f"classify = Classifier.from_pretrained({json.dumps(name)})\n"
        "```"
    )


def _validation(trained: TrainedModel) -> str:
    facts, temperature = trained.facts, trained.calibrated.temperature
    rows = [(spoken_metric(n), format_metric(n, value)) for n, value in trained.metrics.items()]
    what = "which weights and which temperature" if temperature.value != 1.0 else "which weights"
    parts = [
        f"On {counted(facts.num_validation, 'validation text')} of {_line(trained.name_of_data)}. "
        f"They were not trained on, but decided {what} to keep: on other texts expect a little "
        "less.",
        _table(("metric", "value"), rows),
    ]
    if temperature.value != 1.0:
        parts.append(
            f"The temperature {temperature.value}, {temperature.reason}, is part of the weights of "
            "the last layer: scores are calibrated without another step."
        )
    return "\n\n".join(parts)


def _labels(trained: TrainedModel) -> str:
    facts, labels = trained.facts, trained.scheme.labels
    if trained.recipe.task == "regression":
        return f"Numbers, in the order of the outputs: {', '.join(map(_line, labels))}."
    rows = [
        (label, f"{facts.train_labels[label]:,}", f"{facts.validation_labels[label]:,}")
        for label in labels[:MAX_LABELS]
    ]
    table = _table(("label", "training texts", "validation texts"), rows)
    left = len(labels) - MAX_LABELS
    return table if left <= 0 else f"{table}\n\nand {counted(left, 'other label')}."


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *([_line(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(text: str) -> str:
    """Fit a text of any kind into a line of Markdown, where its own marks have no effect."""
    return re.sub(r"([\\`*_{}<>|#])", r"\\\1", one_line(text, 300))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "texts"

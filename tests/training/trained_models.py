"""Trained models for tests of what is written about them: none of them was really trained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizer_folders import SENTENCES

from isobatch.batching.plan import plan_batches
from isobatch.model import EncoderModel
from isobatch.training.data.dataset import LabelledTexts
from isobatch.training.data.prepared_data import TargetedTexts, prepare_data
from isobatch.training.initial_model import read_initial_model
from isobatch.training.output.temperature import calibrate
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.recipe import Recipe, RecipeOptions, TrainingTask, complete_recipe
from isobatch.training.steps.events import Evaluated, StepDone, event_fields
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.validation import validate
from isobatch.training.steps.validation_metrics import compute_metrics

FILE = {"name": "news.csv", "path": "data/news.csv", "rows": 9, "bytes": 90, "sha256": "ab" * 32}


def labelled_texts(
    task: TrainingTask, number: int, labels: Sequence[str] = ("bad", "good")
) -> LabelledTexts:
    """Different texts; the label is that of the sentence that a text begins with, nearly always."""
    texts, values = [], []
    for index in range(number):
        sentence = index % len(SENTENCES)
        texts.append(f"{SENTENCES[sentence]} {index} {'so ' * (index % 4)}")
        odd = sentence + (index % 11 == 7)  # these are wrong
        names = [label for place, label in enumerate(labels) if (odd + place) % 2]
        values.append(names if task == "multi" else names[0] if task == "single" else odd / 4)
    places = [f"news.csv: line {index + 2}" for index in range(number)]
    return LabelledTexts(texts, values, None, places, ("label",), (FILE,))


def make_trained(
    base: Path,
    task: TrainingTask = "single",
    number: int = 240,
    held_out: int = 210,
    *,
    texts: LabelledTexts | None = None,
    num_steps: int = 40,
) -> TrainedModel:
    texts = texts or labelled_texts(task, number)
    size = len(texts)
    data = prepare_data(
        _rows(texts, 0, size - held_out), _rows(texts, size - held_out, size), task=task
    )
    start = read_initial_model(base, task, data.scheme.labels, seed=0)

    def examples(part: TargetedTexts) -> Examples:
        encodings = start.encode(part.texts, part.places)
        return Examples(encodings, part.targets, part.weights, part.places)

    training, validation = examples(data.train), examples(data.validation)
    _fit_head(start.model, training, task)
    options = RecipeOptions(epochs=2, batch_size=8)
    config = start.model.config
    recipe = complete_recipe(options, task, config, len(training))
    return TrainedModel(
        start,
        calibrate(start.model, validation, task),
        data.scheme,
        recipe,
        training,
        validation,
        data.validation.texts,
        data.facts,
        make_events(recipe, validation, num_steps),
        {"versions": {"isobatch": "0.1.0"}},
    )


def _fit_head(model: EncoderModel, examples: Examples, task: TrainingTask) -> None:
    """Fit the last layer by least squares, so that predictions mean something."""
    features: list[torch.Tensor] = []
    hook = model.head.output.register_forward_hook(lambda *each: features.append(each[1][0]))
    validate(model, examples, task, max_batch_tokens=1)  # one text at a time: shortest last
    hook.remove()
    order = [row for batch in plan_batches(examples.lengths, 1) for row in batch]
    inputs = np.concatenate([each.numpy() for each in features]).astype(np.float64)
    wanted = examples.targets[order].astype(np.float64)
    wanted = wanted if task == "regression" else 3.0 * wanted - 1.5
    mean, level = inputs.mean(axis=0), wanted.mean(axis=0)
    centred = inputs - mean
    gram = centred.T @ centred + 0.1 * np.eye(inputs.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (wanted - level)).T
    with torch.no_grad():
        model.head.output.weight.copy_(torch.from_numpy(weight))
        if model.head.output.bias is not None:
            model.head.output.bias.copy_(torch.from_numpy(level - weight @ mean))


def make_events(
    recipe: Recipe, validation: Examples, num_steps: int, seconds: float = 0.25
) -> list[dict[str, object]]:
    """Events of a run that learned until shortly before its end."""
    events = []
    for step in range(1, num_steps + 1):
        epoch = 1 + (step - 1) // 20
        loss = 0.7 * 0.95**step + 0.02 * (step % 3)
        done = StepDone(step, num_steps, epoch, loss, 1.5, 1e-4, 8, 90, step * seconds)
        events.append(event_fields(done))
        if step % 10 == 0:
            quality = min(step, 30)
            noise = np.random.default_rng(step).normal(size=validation.targets.shape)
            logits = validation.targets * quality / 10 + noise
            metrics, others = (
                compute_metrics(recipe.task, validation.targets, each)
                for each in (logits, logits / 2)
            )
            value = metrics[recipe.metric]
            evaluated = Evaluated(
                step, num_steps, epoch, "average", recipe.metric, value, metrics, others, loss,
                step <= 30, max(step - 30, 0) // 10, f"{step:064x}", step * seconds,
            )  # fmt: skip
            events.append(event_fields(evaluated))
    return events


def _rows(texts: LabelledTexts, first: int, stop: int) -> LabelledTexts:
    part = slice(first, stop)
    return LabelledTexts(
        texts.texts[part], texts.values[part], None, texts.places[part], texts.label_columns,
        texts.files,
    )  # fmt: skip

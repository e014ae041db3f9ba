"""The audit finds the fault of transformers' Trainer, and passes the gradients of Isobatch."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from planted_steps import token_ids
from tiny_checkpoints import Tiny, TinyFolder

from isobatch import assert_gradient_invariant
from isobatch.audit import audit_training_step
from isobatch.checkpoint import read_config
from isobatch.model import read_model, select_kernels
from isobatch.training.recipe import RecipeOptions, complete_recipe
from isobatch.training.steps.block_gradients import WORDS, BlockGradients, TrainedWeights
from isobatch.training.steps.examples import Examples
from isobatch.training.steps.gradient_engine import LocalEngine, single_threads
from isobatch.types import Encoding

TEXTS = ("dull", "a fine film", "we laughed until it hurt", "no end")
LABELS = (0, 1, 1, 0)

pytest.importorskip("accelerate")


class GradientRecorder(transformers.TrainerCallback):
    """Keeps the gradients that the optimizer is about to apply, and changes no weight."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        named = given["model"].named_parameters()
        self.gradients = {name: each.grad.clone() for name, each in named if each.grad is not None}


class TrainerStep:
    """One step of transformers' Trainer on all texts; splits are its gradient accumulation."""

    def __init__(self, folder: Path, output: Path, accepts_loss_kwargs: bool | None = None) -> None:
        self.folder, self.output, self.accepts = folder, output, accepts_loss_kwargs

    def __call__(self, texts: list[str], labels: list[int], micro_batch_size: int) -> Any:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(self.folder)
        if self.accepts is not None:
            model.accepts_loss_kwargs = self.accepts
        arguments = transformers.TrainingArguments(
            output_dir=str(self.output),
            per_device_train_batch_size=micro_batch_size,
            gradient_accumulation_steps=-(-len(texts) // micro_batch_size),
            train_sampling_strategy="sequential",
            max_steps=1,
            max_grad_norm=0.0,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        rows = zip(map(token_ids, texts), labels, strict=True)
        recorder = GradientRecorder()
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=[{"input_ids": ids, "label": label} for ids, label in rows],
            data_collator=padded,
            callbacks=[recorder],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train()
        return recorder.gradients


def padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    labels = [row["label"] for row in rows]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


@pytest.fixture
def folder(tiny_folder: TinyFolder) -> Path:
    return tiny_folder(Tiny("bert", num_layers=1, dropout=0.0))


def test_the_fault_of_transformers_trainer_is_found(folder: Path, tmp_path: Path) -> None:
    """huggingface/transformers issue 47688."""
    with pytest.raises(AssertionError, match=r"\(gradient-multiplied\)") as seen:
        assert_gradient_invariant(TrainerStep(folder, tmp_path), TEXTS, LABELS)
    message = str(seen.value)
    assert "multiplied by the number of micro-batches" in message
    assert "in micro-batches of 1 + 1" in message
    row = next(line for line in message.splitlines() if "1 + 1 + 1 + 1" in line).split()
    assert float(row[-2]) == pytest.approx(4 * float(row[-1]), rel=1e-3)


def test_trainer_without_loss_kwargs_takes_the_mean_of_means(folder: Path, tmp_path: Path) -> None:
    step = TrainerStep(folder, tmp_path, accepts_loss_kwargs=False)
    report = audit_training_step(step, TEXTS, LABELS)
    assert [each.name for each in report.findings] == ["mean-of-means"]


def test_trainer_without_accumulation_passes(folder: Path, tmp_path: Path) -> None:
    step = TrainerStep(folder, tmp_path)
    assert_gradient_invariant(
        lambda *pair: step(*pair, micro_batch_size=len(pair[0])), TEXTS, LABELS
    )


class IsobatchStep:
    """A step of `isobatch train`: each micro-batch is a gradient block; keyed dropout is on."""

    def __init__(self, folder: Path, tiny: Tiny, **options: Any) -> None:
        self.tiny = tiny
        self.options = options
        self.config = read_config(folder)
        self.model = read_model(folder)
        select_kernels(self.model)

    def __call__(self, micro_batches: list[tuple[list[str], list[int]]]) -> Any:
        texts = [text for part, _ in micro_batches for text in part]
        labels = [label for _, part in micro_batches for label in part]
        examples = Examples(
            [Encoding(token_ids(text), [0] * len(token_ids(text))) for text in texts],
            np.eye(self.tiny.num_labels, dtype=np.float32)[labels],
            np.ones(len(texts), np.float32),
            texts,
        )
        recipe = complete_recipe(RecipeOptions(**self.options), "single", self.config, len(texts))
        weights = TrainedWeights(self.model.train(), examples, freeze=0)
        gradients = self.gradients(weights, examples, recipe)
        ends = np.cumsum([len(part) for part, _ in micro_batches]).tolist()
        blocks = [tuple(range(a, b)) for a, b in zip([0, *ends], ends, strict=False)]
        with single_threads(2) as threads:
            step = LocalEngine(gradients, threads).compute(blocks, epoch=0)
        found = dict(zip(weights.names, step.parameters, strict=True))
        table = torch.zeros(self.model.embeddings.word.weight.shape)
        for rows, words in step.words:
            table.index_add_(0, weights.used_words[rows], words)
        return {name: each / len(texts) for name, each in {**found, WORDS: table}.items()}

    def gradients(self, *given: Any) -> BlockGradients:
        return BlockGradients(*given)


class GlobalDropoutStep(IsobatchStep):
    """The same with masks that are keyed by the place in the block, and not by the text."""

    def gradients(self, *given: Any) -> BlockGradients:
        gradients = super().gradients(*given)
        gradients._keys = list(range(len(gradients._keys)))
        return gradients


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_the_gradient_of_isobatch_passes_with_dropout_on(
    tiny_folder: TinyFolder, family: str
) -> None:
    tiny = Tiny(family, num_labels=3)
    step = IsobatchStep(tiny_folder(tiny), tiny, block_tokens=16)
    assert_gradient_invariant(step, TEXTS, (0, 2, 1, 0), rtol=1e-5)


def test_dropout_that_is_keyed_by_the_place_is_found(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert")
    step = GlobalDropoutStep(tiny_folder(tiny), tiny)
    report = audit_training_step(step, TEXTS, LABELS)
    assert [each.name for each in report.findings] == ["dropout-by-place"]

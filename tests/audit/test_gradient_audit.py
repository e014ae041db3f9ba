"""assert_gradient_invariant passes sound training steps, and names each fault of one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from planted_steps import LoopStep, SmallModel, token_ids, whole

from isobatch import assert_gradient_invariant
from isobatch.audit import GRADIENT_PROBES, audit_training_step
from isobatch.audit.gradients.gradient_faults import GRADIENT_FAULTS, explained_gradient_faults
from isobatch.errors import AuditError, InputError, OptionError

Step = Callable[..., Any]


def seeded(step: LoopStep) -> Step:
    """Dropout with a fixed seed: repeatable, and yet masks depend on the place in the batch."""

    def train(texts: list[str], labels: list[int]) -> Any:
        torch.manual_seed(7)
        return step([(texts, labels)])

    return train


def sorted_without_labels(texts: list[str], labels: list[int]) -> Any:
    return LoopStep()([(sorted(texts, key=len), labels)])


def seeded_by_micro_batch(micro_batches: Any) -> Any:
    """Dropout is off in the first micro-batch only: something is carried to the next one."""
    step = LoopStep()
    parts = []
    for number, (texts, labels) in enumerate(micro_batches):
        found = step([(texts, labels)])
        parts.append({name: len(texts) * each.clone() for name, each in found.items()})
        with torch.no_grad():
            step.model.hidden.weight.add_(0.05 * (number + 1))
    number = sum(len(texts) for texts, _ in micro_batches)
    return {name: sum(part[name] for part in parts) / number for name in parts[0]}


def changing_weights() -> Step:
    step = LoopStep()

    def train(texts: list[str], labels: list[int]) -> Any:
        gradient = {name: each.clone() for name, each in step([(texts, labels)]).items()}
        with torch.no_grad():
            for parameter in step.model.parameters():
                parameter -= 0.1 * parameter.grad
        return gradient

    return train


def one_text_or_equal_lengths(texts: list[str], labels: list[int]) -> Any:
    torch.tensor([token_ids(text) for text in texts])
    return LoopStep()([(texts, labels)])


FAULTS: dict[str, Callable[[], Step]] = {
    "gradients-kept": lambda: LoopStep("kept"),
    "step-not-repeatable": lambda: LoopStep(model=SmallModel(dropout=0.3)),
    "step-not-repeatable (weights)": changing_weights,
    "step-fails": lambda: one_text_or_equal_lengths,
    "gradient-summed": lambda: LoopStep("summed"),
    "gradient-summed (whole)": lambda: whole(LoopStep("summed")),
    "gradient-multiplied": lambda: LoopStep("multiplied"),
    "mean-of-means": lambda: LoopStep("mean-of-means"),
    "gradient-divided-twice": lambda: LoopStep("divided-twice"),
    "micro-batches-lost": lambda: LoopStep("lost"),
    "dropout-by-place": lambda: seeded(LoopStep(model=SmallModel(dropout=0.3))),
    "order-counts": lambda: sorted_without_labels,
    "gradient-padding-counts": lambda: LoopStep(model=SmallModel(masked=False)),
    "split-counts": lambda: seeded_by_micro_batch,
}


@pytest.mark.parametrize("given", FAULTS)
def test_a_fault_is_named_with_its_fix(given: str) -> None:
    name = given.partition(" ")[0]
    fault = GRADIENT_FAULTS[name]
    report = audit_training_step(FAULTS[given]())
    assert [each.name for each in report.findings] == [name]
    assert report.verdict == "bug"
    with pytest.raises(AssertionError) as seen:
        assert_gradient_invariant(FAULTS[given]())
    message = str(seen.value)
    assert message.startswith(f"the gradient depends on the batch: {fault.title} ({name})")
    assert fault.cause in message
    assert fault.fix in message


def test_sound_steps_pass() -> None:
    assert_gradient_invariant(LoopStep())
    assert_gradient_invariant(whole(LoopStep()))
    assert_gradient_invariant(LoopStep().__call__, ["a b", "c", "d e f"], [1, 1, 0])
    report = audit_training_step(LoopStep())
    assert report.verdict == "drift"
    assert [each.name for each in report.findings] == ["gradient-rounding"]
    assert not report.with_status("not tested")

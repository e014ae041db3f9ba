"""assert_gradient_invariant passes sound training steps, and names each fault of one."""

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_steps import LoopStep, SmallModel, token_ids, whole

import isobatch.audit.gradients
from isobatch import assert_gradient_invariant
from isobatch.audit import audit_training_step
from isobatch.audit.gradients.gradient import GradientScale
from isobatch.audit.gradients.gradient_faults import GRADIENT_FAULTS, explained_gradient_faults
from isobatch.audit.report_junit import junit_xml
from isobatch.audit.report_page import render_page
from isobatch.audit.report_view import headline
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


def test_a_gradient_may_have_any_form() -> None:
    """The sum over its texts is found in each form, and the mean passes."""
    texts = ["a b c", "d e", "f g h i", "c a", "b d"]

    def features(text: str, label: int) -> np.ndarray[Any, Any]:
        counts = np.bincount([i for i in token_ids(text) if i < 40], minlength=40)
        drawn = np.random.default_rng(len(text)).normal(size=40)
        return np.asarray((drawn + counts) * (label - 0.3))

    forms: list[Callable[[np.ndarray[Any, Any]], Any]] = [
        lambda g: g,
        lambda g: torch.from_numpy(g),
        lambda g: torch.from_numpy(g).bfloat16().float(),
        lambda g: [g[:10], None, torch.from_numpy(g[10:].reshape(3, 10))],
        lambda g: {"weight": g.astype(np.float32), "frozen": None},
        lambda g: g.tolist(),
        lambda g: torch.from_numpy(g).to_sparse(),
    ]
    for number, form in enumerate(forms):
        for total in (False, True):

            def step(texts: list[str], labels: list[int], form: Any = form, n: Any = total) -> Any:
                rows = [features(*pair) for pair in zip(texts, labels, strict=True)]
                return form(np.sum(rows, axis=0) if n else np.mean(rows, axis=0))

            report = audit_training_step(step, texts, rtol=0.05 if number == 2 else 1e-4)
            expected = ["gradient-summed"] if total else ["gradient-rounding"]
            assert [each.name for each in report.findings] in (
                expected,
                [] if not total else expected,
            )


def test_gaps_are_relative_to_single_gradients_and_nothing_counts_as_zeros() -> None:
    a, b = np.array([3.0, 4.0]), np.array([[1e-9]])
    scale = GradientScale([{"a": a, "b": b}, {"a": -a, "b": b}])
    gap = scale.gap({"a": a, "b": b}, {"a": a + np.array([0.0, 0.5]), "b": b})
    assert (gap.size, gap.parameter) == (pytest.approx(0.1), "a")
    assert scale.gap({"a": a}, {"a": a, "b": b}).size < 1e-6, "rounding, next to the whole"
    assert scale.gap({"b": b}, {"a": a, "b": b}).size == pytest.approx(1.0)
    assert scale.gap({"a": a * np.nan}, {"a": a}).size == float("inf")
    assert scale.gap({"a": a * np.nan}, {"a": a * np.nan}).size == 0.0
    with pytest.raises(AuditError, match=r"the gradient of a has the shape \[2\], before \[1, 1\]"):
        scale.gap({"a": a}, {"a": b})


def test_a_module_is_read_by_its_gradients() -> None:
    step = LoopStep()

    def train(texts: list[str], labels: list[int]) -> Any:
        step([(texts, labels)])
        return step.model

    assert_gradient_invariant(train)


class TokenStep(LoopStep):
    """The mean over the tokens of a batch, as in language models: long texts count more."""

    def __call__(self, micro_batches: Any) -> Any:
        self.lengths = [len(token_ids(text)) for texts, _ in micro_batches for text in texts]
        return super().__call__(micro_batches)

    def loss(self, losses: torch.Tensor, number: int, parts: int) -> torch.Tensor:
        lengths = torch.tensor(self.lengths)
        return (losses * lengths).sum() / lengths.sum()


def test_a_mean_over_tokens_weighs_texts_unequally() -> None:
    report = audit_training_step(whole(TokenStep()))
    assert [each.name for each in report.findings] == ["texts-weigh-unequally"]


class CentredModel(SmallModel):
    """A model that subtracts the mean of a batch, as batch norm does."""

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        logits = super().forward(texts)
        return logits - 0.5 * logits.mean(dim=0)


def test_a_norm_over_the_rows_is_found() -> None:
    report = audit_training_step(LoopStep(model=CentredModel()))
    assert [each.name for each in report.findings] == ["neighbours-count"]
    with pytest.raises(AuditError, match=r"no gradient alone.*more than 1 value per channel"):
        audit_training_step(LoopStep(model=SmallModel(batch_norm=True)))


def constant(texts: list[str], labels: list[int]) -> Any:
    return np.ones(9)


NOT_COMPARABLE: dict[str, Step] = {
    "have the same norm, 0.001, as if they were clipped": LoopStep("clipped"),
    "every text has the same gradient": constant,
    "the gradient of every text is zero": lambda texts, labels: np.zeros(4),
    "alone is not finite": lambda texts, labels: [np.full(3, float(len(texts) == 1) * np.nan)],
    "is a parameter, not its gradient": lambda texts, labels: [torch.nn.Linear(2, 2).weight],
    "returned no gradient": lambda texts, labels: [None],
    "cannot be read as an array": lambda texts, labels: [[1.0], [[2.0], [3.0, 4.0]]],
    "is not an array of numbers": lambda texts, labels: ["a"],
    "KeyError: 'x'": lambda texts, labels: {}["x"],
}


@pytest.mark.parametrize("reason", NOT_COMPARABLE)
def test_gradients_that_cannot_be_compared_are_an_error_and_never_pass(reason: str) -> None:
    with pytest.raises(AuditError, match=reason):
        assert_gradient_invariant(NOT_COMPARABLE[reason])


def test_a_gradient_that_is_not_finite_in_a_batch_is_a_bug() -> None:
    def step(texts: list[str], labels: list[int]) -> Any:
        gradient = LoopStep()([(texts, labels)])
        return {n: g * (float("inf") if len(texts) == 2 else 1.0) for n, g in gradient.items()}

    assert audit_training_step(step).verdict == "bug"


def test_arguments_that_are_none_are_refused() -> None:
    bad: list[Any] = ["one text", [], ["one", "two"]]
    for texts in bad:
        with pytest.raises(InputError, match="a training step is audited"):
            assert_gradient_invariant(LoopStep(), texts)
    with pytest.raises(InputError, match="a label for each of 3 texts, got 2"):
        assert_gradient_invariant(LoopStep(), ["a", "b", "c"], [0, 1])
    for rtol in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="rtol"):
            assert_gradient_invariant(LoopStep(), rtol=rtol)
    with pytest.raises(OptionError, match="cannot be called with texts and labels"):
        assert_gradient_invariant(None)  # type: ignore[arg-type]


def test_the_message_has_the_norms_and_the_smallest_batch() -> None:
    with pytest.raises(AssertionError) as seen:
        assert_gradient_invariant(LoopStep("multiplied"))
    lines = str(seen.value).splitlines()
    norms = {line.split("  ")[1]: line.split()[-2:] for line in lines if " 1.866" in line}
    assert norms["4 + 4"] == ["3.732", "1.866"]
    assert "0.01 % is allowed" in lines[1]
    assert "  text      'Dull.'" in lines
    assert lines[-1] == "  norm 1.964: gradient in micro-batches of 1 + 1"


def test_pads_are_shown_with_a_pair_of_short_texts() -> None:
    report = audit_training_step(LoopStep(model=SmallModel(masked=False)))
    shown = report.findings[0].reproduction
    assert shown
    assert len(shown.other_text.split()) < 4
    assert shown.before != shown.after


def test_a_step_without_a_split_says_that_splits_were_not_tested() -> None:
    report = audit_training_step(whole(LoopStep()), quick=True)
    assert [each.probe for each in report.with_status("not tested")] == ["micro-batches"]
    assert report.num_texts == 4


@pytest.mark.parametrize("fault", GRADIENT_FAULTS.values(), ids=lambda fault: fault.name)
def test_the_catalogue_is_named_by_the_code_and_explains_faults_that_exist(fault: Any) -> None:
    room = Path(isobatch.audit.gradients.__file__).parent
    named = {
        each.value
        for path in room.glob("*.py")
        if path.stem != "gradient_faults"
        for each in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(each, ast.Constant)
    }
    assert fault.name in named
    assert explained_gradient_faults(fault.name) <= GRADIENT_FAULTS.keys() - {fault.name}
    assert all((fault.title, fault.cause, fault.fix))


def test_every_verdict_has_words() -> None:
    report = audit_training_step(LoopStep())
    assert headline(report) == "Only the last digits of the gradient move"
    assert "training step" in render_page(report)
    assert "micro-batches" in junit_xml(report)

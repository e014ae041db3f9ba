"""`isobatch info`: kernel selection and the scope of batch invariance on this machine."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from isobatch.cli import options
from isobatch.drawing.display_text import counted

if TYPE_CHECKING:
    from isobatch.kernels.compiled.variants import VariantStatus
    from isobatch.scope import Scope


SCORES = {
    "softmax": "softmax of the logits, which add up to 1",
    "sigmoid": "sigmoid of each logit",
    "none": "the logits themselves",
}
"""How scores are computed, by the name of the activation."""


def info(
    model: options.ModelArgument = None,
    revision: options.RevisionOption = None,
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show a model's kernels with the reason for each, and the scope of the guarantee."""
    from isobatch.kernels import instruction_set
    from isobatch.kernels.compiled import statuses
    from isobatch.scope import describe_scope
    from isobatch.tasks import Classifier

    classifier = Classifier.from_pretrained(
        model, precision=precision, device=device, threads=threads, revision=revision
    )
    scope = describe_scope(classifier, model or "the bundled model")
    used = instruction_set(classifier.precision)
    if as_json:
        variants = [each._asdict() | {"used": each.name == used} for each in statuses()]
        report = asdict(scope) | {"variants": variants}
        sys.stdout.write(json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    else:
        print_scope(scope, statuses(), used)


def print_scope(scope: "Scope", variants: "Sequence[VariantStatus]", used: str) -> None:
    """Print the model and machine, the kernel selection, the variants, and the guarantee."""
    from rich.console import Console
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    for name, value in {
        "checkpoint": scope.checkpoint,
        "family": scope.family,
        "labels": ", ".join(scope.labels),
        "scores": SCORES[scope.score_activation],
        "maximum length": f"{scope.max_tokens} tokens",
        "precision": f"{scope.precision} ({scope.precision_reason})",
        "device": f"{scope.device}, {counted(scope.threads, 'thread')}",
        "processor": f"{scope.processor}, {scope.instruction_set}",
        "versions": ", ".join(f"{name} {number}" for name, number in scope.versions.items()),
    }.items():
        facts.add_row(name, value)
    choices = Table("operation", "kernel", "reason")
    for choice in scope.choices:
        choices.add_row(choice.operation, choice.kernel, choice.reason)
    built = Table("instruction set", "compiled kernels")
    for variant in variants:
        built.add_row(variant.name, "used" if variant.name == used else variant.problem or "usable")
    console = Console(markup=False, highlight=False)
    for part in (facts, choices, built, scope.promise):
        console.print(part)
        console.print()

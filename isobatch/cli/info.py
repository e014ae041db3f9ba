"""`isobatch info`: kernel selection and the scope of batch invariance on this machine."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from isobatch.cli import options
from isobatch.drawing.display_text import counted

if TYPE_CHECKING:
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
    from isobatch.scope import describe_scope
    from isobatch.tasks import Classifier

    classifier = Classifier.from_pretrained(
        model, precision=precision, device=device, threads=threads, revision=revision
    )
    scope = describe_scope(classifier, model or "the bundled model")
    if as_json:
        sys.stdout.write(json.dumps(asdict(scope), ensure_ascii=False, indent=2) + "\n")
    else:
        print_scope(scope)


def print_scope(scope: "Scope") -> None:
    """Print the model and machine, the kernel selection, and the guarantee."""
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
        "processor": scope.processor,
        "arithmetic": scope.arithmetic,
        "instruction set": scope.instruction_set,
        "versions": ", ".join(f"{name} {number}" for name, number in scope.versions.items()),
    }.items():
        facts.add_row(name, value)
    choices = Table("operation", "kernel", "reason")
    for choice in scope.choices:
        choices.add_row(choice.operation, choice.kernel, choice.reason)
    variants = Table("instruction set", "built", "runs here")
    for variant in scope.variants:
        used = "used" if variant.name == scope.instruction_set else "yes"
        variants.add_row(variant.name, "yes" if variant.built else "no", variant.problem or used)
    console = Console(markup=False, highlight=False)
    for part in (facts, variants, choices, scope.promise):
        console.print(part)
        console.print()

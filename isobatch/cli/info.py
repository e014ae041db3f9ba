"""`isobatch info`: kernel selection and the scope of batch invariance on this machine."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from isobatch.cli import options, options_of_tasks
from isobatch.cli.terminal_layout import facts_table, fitted_table, open_console
from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError

if TYPE_CHECKING:
    from isobatch.scope import Scope
    from isobatch.tasks.pipeline_loading import PipelineTask


SCORES = {
    "softmax": "softmax of the logits; scores add up to 1",
    "sigmoid": "sigmoid of each logit",
    "none": "the logits themselves",
}
"""How scores are computed, by the name of the activation."""


def info(
    model: options.ModelArgument = None,
    revision: options.RevisionOption = None,
    precision: options.PrecisionOption = None,
    pooling: options_of_tasks.Pooling = None,
    template: options_of_tasks.RankingTemplate = None,
    template_file: options_of_tasks.TemplateFile = None,
    true_token: options_of_tasks.TrueToken = None,
    false_token: options_of_tasks.FalseToken = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    model_engine: options.ModelEngineOption = "native",
    group_equal_lengths: options.GroupEqualLengthsOption = False,
    as_json: options.OnlyJsonOption = False,
) -> None:
    """Show a model's kernels with the reason for each, and the scope of the guarantee."""
    from isobatch.scope import describe_scope
    from isobatch.tasks import load_pipeline

    loading: dict[str, Any] = {"precision": precision, "device": device, "threads": threads}
    loading |= {"engine": model_engine, "group_equal_lengths": group_equal_lengths}
    answers = options_of_tasks.answer_options(template, template_file, true_token, false_token)
    if pooling is not None and answers:
        raise OptionError(
            f"--pooling is for vectors, --{min(answers).replace('_', '-')} for rankings. "
            "Leave one out"
        )
    task: PipelineTask | None = "text-ranking" if answers else None
    if pooling is not None:
        task, answers = "feature-extraction", {"pooling": pooling}
    pipeline = load_pipeline(model, task, revision=revision, **loading, **answers)
    scope = describe_scope(pipeline, model or "the bundled model")
    if as_json:
        sys.stdout.write(json.dumps(asdict(scope), ensure_ascii=False, indent=2) + "\n")
    else:
        print_scope(scope)


def print_scope(scope: "Scope") -> None:
    """Print the model and machine, the kernel selection, and the guarantee."""
    outputs: dict[str, str] = {}
    if scope.score_activation is not None:
        scores = f"{SCORES[scope.score_activation]} ({scope.score_rule})"
        outputs = {"labels": ", ".join(scope.labels), "scores": scores}
    if scope.template is not None:
        outputs["template"] = repr(scope.template)
    if scope.answers is not None:
        outputs["answers"] = scope.answers
    if scope.vectors is not None:
        prompts = (f"{name} ({text!r})" for name, text in scope.vectors.prompts.items())
        outputs = {
            "similarity": scope.vectors.similarity,
            "prompts": ", ".join(prompts) or "none",
            "default prompt": scope.vectors.default_prompt or "none",
        }
    facts = {
        "checkpoint": scope.checkpoint,
        "family": scope.family,
        "task": scope.task,
        "head": scope.head,
        **outputs,
        "maximum length": f"{scope.max_tokens} tokens",
        "precision": f"{scope.precision} ({scope.precision_reason})",
        "device": f"{scope.device}, {counted(scope.threads, 'thread')}",
        "processor": scope.processor,
        "arithmetic": scope.arithmetic,
        "instruction set": scope.instruction_set,
        "versions": ", ".join(f"{name} {number}" for name, number in scope.versions.items()),
    }
    choices = [(each.operation, each.kernel, each.reason) for each in scope.choices]
    variants = [
        (
            each.name,
            "yes" if each.built else "no",
            each.problem or ("used" if each.name == scope.instruction_set else "yes"),
        )
        for each in scope.variants
    ]
    console = open_console()
    for part in (
        facts_table(facts.items(), console.width),
        fitted_table(("instruction set", "built", "runs here"), variants, console.width),
        fitted_table(("operation", "kernel", "reason"), choices, console.width),
        scope.promise,
    ):
        console.print(part)
        console.print()

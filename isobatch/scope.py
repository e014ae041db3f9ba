"""The scope of the promise: the arithmetic, and what computes it on this machine.

Two reports with the same arithmetic, checkpoint, precision and version of the tokenizers guarantee
bit-identical logits and scores for equal texts.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from isobatch import __version__
from isobatch.ambient import torch_instruction_set
from isobatch.kernels import (
    ARITHMETIC,
    KernelChoice,
    VariantStatus,
    instruction_set,
    variant_statuses,
)
from isobatch.specification import HeadSpec, LibraryStep, LinearStep, Pool
from isobatch.tasks import Pipeline
from isobatch.tasks.embedding import Embedder
from isobatch.tasks.reranking import Reranker
from isobatch.types import Task

_POOLS: dict[Pool, str] = {
    "first": "first token",
    "last": "last token",
    "mean": "mean of all tokens",
    "max": "maximum of all tokens",
}

_OUTPUTS: dict[Task, str] = {
    "text-classification": "logits and scores",
    "token-classification": "logits and scores of its tokens",
    "feature-extraction": "vector",
}

_IN_ANY_BATCH = (
    "A text's {outputs} are bit-identical alone and in every batch: with any neighbours, "
    "order, batch size, padding and number of threads. "
)
_ANY_MACHINE = (
    "They are also the same on every machine whose arithmetic is {arithmetic}: every x86-64 "
    "processor with AVX2 and every ARM64 processor, under Linux with the compiled kernels. They "
    "depend on the checkpoint, the precision and the tokenizer alone."
)
_THIS_ARITHMETIC = (
    "This holds for one checkpoint, precision and arithmetic, which is {arithmetic} here: on other "
    "machines and with other versions of torch the last digits may differ."
)

_NOT_BUILT = (
    " No compiled kernel was built, and torch's own are slower: install a C++ compiler and repeat "
    "the installation with --force-reinstall --no-deps, or install a wheel that `make wheel` built."
)
_DRIFT = (
    "A text's {outputs} may change in the last digits (drift) with the texts of equal length that "
    "are computed with it, as --group-equal-lengths allows. Without it they are bit-identical "
    "alone and in every batch."
)

_LIBRARIES = ("torch", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, slots=True)
class VectorUse:
    """How the vectors of a checkpoint are used: the prompts before texts, and how they compare.

    default_prompt: the name of the prompt that a text gets if none is named.
    """

    similarity: str
    prompts: dict[str, str]
    default_prompt: str | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything that the bits of a prediction may depend on, besides the text.

    labels: none for vectors, which have no scores either. score_rule: the setting, or the default,
    that says which activation the scores have. vectors: None for other tasks. template: of a
    reranker that has one. answers: the tokens of a language model that ranks texts by them.
    """

    checkpoint: str
    family: str
    task: Task
    head: str
    labels: tuple[str, ...]
    score_activation: str | None
    score_rule: str | None
    vectors: VectorUse | None
    template: str | None
    answers: str | None
    max_tokens: int
    precision: str
    precision_reason: str
    device: str
    threads: int
    processor: str
    instruction_set: str
    arithmetic: str
    variants: tuple[VariantStatus, ...]
    versions: dict[str, str]
    choices: tuple[KernelChoice, ...]
    promise: str


def describe_scope(pipeline: Pipeline[Any], checkpoint: str) -> Scope:
    """Describe `pipeline` and this machine; `checkpoint` is the name that the user gave."""
    own = {"isobatch": __version__, "python": platform.python_version()}
    config = pipeline.config
    rule = config.head.score_rule if config.head.labels else None
    variants = variant_statuses()
    is_unbuilt = pipeline.engine == "native" and not any(each.built for each in variants)
    return Scope(
        checkpoint=checkpoint,
        family=config.family.model_type,
        task=config.task,
        head=describe_head(config.head.spec),
        labels=config.head.labels,
        score_activation=rule.activation if rule else None,
        score_rule=rule.source if rule else None,
        vectors=_vector_use(pipeline),
        template=pipeline.template if isinstance(pipeline, Reranker) else None,
        answers=pipeline.answers if isinstance(pipeline, Reranker) else None,
        max_tokens=pipeline.max_tokens,
        precision=pipeline.precision,
        precision_reason=pipeline.precision_reason,
        device=_device_name(pipeline.device),
        threads=torch.get_num_threads(),
        processor=processor_name(),
        instruction_set=instruction_set(pipeline.precision)
        if pipeline.engine == "native"
        else torch_instruction_set(),
        arithmetic=pipeline.arithmetic,
        variants=variants,
        versions=own | {name: version(name) for name in _LIBRARIES},
        choices=pipeline.choices,
        promise=promise(pipeline.arithmetic, config.task) + (_NOT_BUILT if is_unbuilt else ""),
    )


def _vector_use(pipeline: Pipeline[Any]) -> VectorUse | None:
    if not isinstance(pipeline, Embedder):
        return None
    return VectorUse(
        pipeline.similarity_function, dict(pipeline.prompts), pipeline.default_prompt_name
    )


def describe_head(spec: HeadSpec) -> str:
    """Name the tokens that a head reads, and its steps in their order."""
    own = [step.name for step in spec.steps if isinstance(step, LibraryStep)]
    if own:
        return f"{own[0]} of transformers"
    parts = [" and ".join(_POOLS[pool] for pool in spec.pools) or "each token"]
    for step in spec.steps:
        if isinstance(step, LinearStep):
            activation = "" if step.activation == "linear" else f" {step.activation}"
            parts.append(f"{step.name} {step.in_features}→{step.out_features}{activation}")
        else:
            parts.append(step.name)
    return ", ".join(parts)


def promise(arithmetic: str, task: Task = "text-classification") -> str:
    """State what is guaranteed where answers have this arithmetic."""
    if " drift " in arithmetic:
        return _DRIFT.format(outputs=_OUTPUTS[task])
    where = _ANY_MACHINE if arithmetic == ARITHMETIC else _THIS_ARITHMETIC
    return _IN_ANY_BATCH.format(outputs=_OUTPUTS[task]) + where.format(arithmetic=arithmetic)


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def processor_name() -> str:
    """Return the processor's name: from /proc on Linux, else from `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

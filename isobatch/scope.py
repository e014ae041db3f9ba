"""The scope of the promise: the arithmetic, and what computes it on this machine.

Two reports with the same arithmetic, checkpoint, precision and version of the tokenizers guarantee
bit-identical logits and scores for equal texts.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from isobatch import __version__
from isobatch.kernels import (
    ARITHMETIC,
    KernelChoice,
    VariantStatus,
    instruction_set,
    variant_statuses,
)
from isobatch.tasks import Classifier

_IN_ANY_BATCH = (
    "A text's logits and scores are bit-identical alone and in every batch: with any neighbours, "
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

_LIBRARIES = ("torch", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything that the bits of a prediction may depend on, besides the text."""

    checkpoint: str
    family: str
    labels: tuple[str, ...]
    score_activation: str
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


def describe_scope(classifier: Classifier, checkpoint: str) -> Scope:
    """Describe `classifier` and this machine; `checkpoint` is the name that the user gave."""
    own = {"isobatch": __version__, "python": platform.python_version()}
    return Scope(
        checkpoint=checkpoint,
        family=classifier.config.family.model_type,
        labels=classifier.labels,
        score_activation=classifier.score_activation,
        max_tokens=classifier.max_tokens,
        precision=classifier.precision,
        precision_reason=classifier.precision_reason,
        device=_device_name(classifier.device),
        threads=torch.get_num_threads(),
        processor=processor_name(),
        instruction_set=instruction_set(classifier.precision),
        arithmetic=classifier.arithmetic,
        variants=variant_statuses(),
        versions=own | {name: version(name) for name in _LIBRARIES},
        choices=classifier.choices,
        promise=promise(classifier.arithmetic),
    )


def promise(arithmetic: str) -> str:
    """State what is guaranteed where answers have this arithmetic."""
    where = _ANY_MACHINE if arithmetic == ARITHMETIC else _THIS_ARITHMETIC
    return _IN_ANY_BATCH + where.format(arithmetic=arithmetic)


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

"""The scope of batch invariance on this machine: versions, instruction set, selected kernels.

Two equal reports guarantee bit-identical logits for equal texts.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from isobatch import __version__
from isobatch.kernels import KernelChoice
from isobatch.tasks import Classifier

PROMISE = (
    "A text's logits are bit-identical alone and in every batch: with any neighbours, order, batch "
    "size, padding and number of threads. This holds for one checkpoint, precision, set of library "
    "versions, instruction set and kernel selection; on a machine with another instruction set, or "
    "without the compiled kernels, the last digits may differ."
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
    versions: dict[str, str]
    choices: tuple[KernelChoice, ...]
    promise: str = PROMISE


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
        instruction_set=torch.backends.cpu.get_cpu_capability(),
        versions=own | {name: version(name) for name in _LIBRARIES},
        choices=classifier.choices,
    )


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

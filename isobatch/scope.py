"""The scope of the promise on this machine: versions, instruction set, threads, and the choices.

Gathers facts and prints nothing. Invariant: two reports that are equal promise equal bits for equal
texts; where they differ, the last digits may.
"""

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from isobatch import __version__
from isobatch.kernels import KernelChoice
from isobatch.tasks import Classifier

PROMISE = (
    "A text's logits are the same bits alone and in every batch: any neighbours, order, batch "
    "size, padding or number of threads. This holds for one checkpoint, precision, set of library "
    "versions, instruction set and choice of kernels; on a machine with another instruction set, "
    "or without the compiled kernels, the last digits may differ."
)

_LIBRARIES = ("torch", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, slots=True)
class Scope:
    """All that the bits of an answer may depend on, besides the text."""

    checkpoint: str
    family: str
    labels: tuple[str, ...]
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

    def as_dict(self) -> dict[str, object]:
        """The report as plain values, for JSON."""
        return asdict(self)


def describe_scope(classifier: Classifier, checkpoint: str) -> Scope:
    """Describe `classifier`, loaded from what the user called `checkpoint`, and this machine."""
    return Scope(
        checkpoint=checkpoint,
        family=classifier.config.family.model_type,
        labels=classifier.labels,
        max_tokens=classifier.max_tokens,
        precision=classifier.precision,
        precision_reason=classifier.precision_reason,
        device=_device_name(classifier.device),
        threads=torch.get_num_threads(),
        processor=processor_name(),
        instruction_set=torch.backends.cpu.get_cpu_capability(),
        versions=_versions(),
        choices=classifier.choices,
    )


def _versions() -> dict[str, str]:
    own = {"isobatch": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in _LIBRARIES}


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def processor_name() -> str:
    """The processor's name; Linux keeps it in /proc, elsewhere the platform knows what it knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

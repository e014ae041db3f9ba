"""The options of a pipeline that are about this machine: they never change a bit."""

import torch

from isobatch.errors import DeviceError, OptionError

DEVICES = ("cpu", "cuda")


def check_machine_options(device: str, threads: int | None, max_batch_tokens: int) -> None:
    """Raise OptionError for an invalid value, DeviceError for a device that is not there."""
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise OptionError(f"device {device!r} is not supported. Use {' or '.join(DEVICES)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: torch finds no CUDA device. Use device='cpu'")
    if threads is not None and threads < 1:
        raise OptionError(f"threads must be at least 1, got {threads}")
    if max_batch_tokens < 1:
        raise OptionError(f"max_batch_tokens must be at least 1, got {max_batch_tokens}")

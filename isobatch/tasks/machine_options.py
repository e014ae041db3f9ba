"""The options of a pipeline that are about this machine: they never change a bit."""

import torch

from isobatch.errors import DeviceError, OptionError

DEVICES = ("cpu", "cuda")


def check_machine_options(device: object, threads: int | None, max_batch_tokens: int) -> None:
    """Raise OptionError for an invalid value, DeviceError for a device that is not there."""
    kind = device.partition(":")[0] if isinstance(device, str) else None
    if kind not in DEVICES:
        names = " or ".join(map(repr, DEVICES))
        raise OptionError(f"device {device!r} is not supported. Use {names}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: torch finds no CUDA device. Use device='cpu'")
    counts = {"max_batch_tokens": max_batch_tokens}
    if threads is not None:
        counts["threads"] = threads
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise OptionError(f"{name} must be a whole number of at least 1, got {value!r}")

"""The scale of a regression's targets: it is trained on numbers with mean 0 and deviation 1.

A new head starts near 0, and a step of the optimizer moves it by its learning rate, also where the
targets are large. Invariant: mean and deviation are folded into the head's last layer at the end,
and the finished model gives the numbers of the targets.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from isobatch.model import EncoderModel
from isobatch.training.steps.examples import Floats


@dataclass(frozen=True, slots=True)
class TargetScale:
    """Mean and standard deviation of each output over the training texts.

    The mean is 0 for a head without a bias, which could not take it up.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, targets: Floats, *, has_bias: bool = True) -> "TargetScale":
        """Measure targets, [texts, outputs]; an output without deviation keeps its size."""
        wide = targets.astype(np.float64)
        mean = wide.mean(axis=0) if has_bias else np.zeros(wide.shape[1])
        deviation = np.sqrt(((wide - mean) ** 2).mean(axis=0))
        deviation[~(deviation > 0) | ~np.isfinite(deviation)] = 1.0
        return cls(tuple(mean.tolist()), tuple(deviation.tolist()))

    def standardized(self, numbers: Floats) -> Floats:
        """Return (numbers - mean) ÷ deviation, float32."""
        standard = (numbers.astype(np.float64) - self.mean) / self.deviation
        return standard.astype(np.float32)

    def restored(self, standard: Floats) -> Floats:
        """Return standard · deviation + mean, float32."""
        numbers = standard.astype(np.float64) * self.deviation + self.mean
        return numbers.astype(np.float32)

    @torch.no_grad()
    def fold_into(self, model: EncoderModel) -> None:
        """Let a head that gives standardized numbers give those of the targets."""
        weight, bias, mean, deviation = self._parts(model)
        weight.copy_(weight.double() * deviation[:, None])
        if bias is not None:
            bias.copy_(bias.double() * deviation + mean)

    @torch.no_grad()
    def take_out_of(self, model: EncoderModel) -> None:
        """Let a head that gives the numbers of the targets give standardized ones."""
        weight, bias, mean, deviation = self._parts(model)
        weight.copy_(weight.double() / deviation[:, None])
        if bias is not None:
            bias.copy_((bias.double() - mean) / deviation)

    def _parts(self, model: EncoderModel) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        layer = model.head.output
        mean = torch.tensor(self.mean, dtype=torch.float64)
        return layer.weight, layer.bias, mean, torch.tensor(self.deviation, dtype=torch.float64)

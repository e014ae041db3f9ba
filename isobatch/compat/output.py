"""SequenceClassifierOutput: what the drop-in model returns, as transformers names it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from torch import Tensor


@dataclass
class SequenceClassifierOutput:
    """loss (scalar, only with labels) and logits [rows, num_labels].

    Also reads as a mapping and as a tuple of what is there: `out["logits"]`, `out[0]`.
    """

    loss: Tensor | None
    logits: Tensor

    def keys(self) -> list[str]:
        return [item.name for item in fields(self) if getattr(self, item.name) is not None]

    def values(self) -> list[Tensor]:
        return [getattr(self, key) for key in self.keys()]

    def items(self) -> list[tuple[str, Tensor]]:
        return list(zip(self.keys(), self.values(), strict=True))

    def to_tuple(self) -> tuple[Tensor, ...]:
        return tuple(self.values())

    def __getitem__(self, key: str | int | slice) -> Tensor | tuple[Tensor, ...]:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self.keys():
            raise KeyError(f"{key!r}; there are {self.keys()}")
        return getattr(self, key)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

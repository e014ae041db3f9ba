"""The outputs of the drop-in models, as transformers names them."""

from typing import Any, ClassVar

from torch import Tensor


class ModelOutput(dict[str, Any]):
    """A dict of the outputs that are present, which also reads as attributes and as a tuple.

    `out["logits"]`, `out.logits` and `out[0]`; an output that is not present is None as an
    attribute.
    """

    names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **outputs: Any) -> None:
        super().__init__({name: outputs[name] for name in self.names if outputs[name] is not None})

    def __getattr__(self, name: str) -> Any:
        if name in self.names:
            return self.get(name)
        raise AttributeError(f"no {name!r} in {type(self).__name__}; there are {list(self)}")

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self:
            raise KeyError(f"{key!r}; there are {list(self)}")
        return super().__getitem__(key)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the outputs that are present, in order."""
        return tuple(self.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), dict(self))


class SequenceClassifierOutput(ModelOutput):
    """loss (scalar, only with labels) and logits [rows, num_labels].

    hidden_states: one [rows, columns, hidden] before each block and one after the last.
    attentions: one [rows, heads, columns, columns] for each block.
    """

    names = ("loss", "logits", "hidden_states", "attentions")

    def __init__(
        self,
        loss: Tensor | None = None,
        logits: Tensor | None = None,
        hidden_states: tuple[Tensor, ...] | None = None,
        attentions: tuple[Tensor, ...] | None = None,
    ) -> None:
        super().__init__(
            loss=loss, logits=logits, hidden_states=hidden_states, attentions=attentions
        )


class TokenClassifierOutput(SequenceClassifierOutput):
    """As SequenceClassifierOutput, with logits [rows, columns, num_labels]: zero for padding."""


class EncoderOutput(ModelOutput):
    """last_hidden_state [rows, columns, hidden], and pooler_output [rows, hidden] if there is one.

    hidden_states and attentions as in SequenceClassifierOutput.
    """

    names = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")

    def __init__(
        self,
        last_hidden_state: Tensor | None = None,
        pooler_output: Tensor | None = None,
        hidden_states: tuple[Tensor, ...] | None = None,
        attentions: tuple[Tensor, ...] | None = None,
    ) -> None:
        super().__init__(
            last_hidden_state=last_hidden_state,
            pooler_output=pooler_output,
            hidden_states=hidden_states,
            attentions=attentions,
        )


def _restored(kind: type[ModelOutput], outputs: dict[str, Any]) -> ModelOutput:
    return kind(**outputs)

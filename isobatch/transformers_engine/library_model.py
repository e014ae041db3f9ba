"""LibraryModel: a model of transformers with the forward of ours: a PackedBatch in, outputs out.

Each sequence is a call of its own, of shape [1, length], computed by one thread: with more, torch's
products had other bits at some lengths (gpt2, bart and llama at 15, 17 or 31 tokens, not at 3 and
33), so that no sample of lengths can show that the number of threads does not matter. Invariant:
unless it groups, the output of a sequence depends on its own ids and types alone.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from isobatch.ambient import check_attention_settings
from isobatch.batching.packed import PackedBatch
from isobatch.errors import CheckpointError, OptionError
from isobatch.model.head import Head
from isobatch.specification import HeadSpec
from isobatch.transformers_engine.library_config import LibraryConfig
from isobatch.types import Segment


class LibraryModel(nn.Module):
    """Computes logits by the model's own head, or vectors of its last hidden states by `head`.

    typed: the tokenizer passes token types to it. groups: sequences of one length that are adjacent
    in a batch are one call; then the bits of a sequence may depend on the others, as they do in
    transformers itself.
    """

    def __init__(
        self,
        library_model: nn.Module,
        config: LibraryConfig,
        head: Head | None,
        *,
        typed: bool,
        groups: bool,
    ) -> None:
        super().__init__()
        self.config = config
        self.library_model = library_model
        self.head = head
        self.groups = groups
        taken = inspect.signature(library_model.forward).parameters
        self._takes_mask = "attention_mask" in taken
        self._takes_types = typed and "token_type_ids" in taken

    def forward(self, batch: PackedBatch) -> Tensor:
        """Compute [sequences, outputs], or [tokens, outputs] without a pool; float32."""
        _check_modes()
        with _one_thread(batch.input_ids.device):
            rows = torch.cat([self._call(batch, part) for part in self._parts(batch)])
        if self.head is None:
            return rows
        spec = self.config.head.spec
        return self.head(batch.select(rows, spec.rows), batch)  # type: ignore[no-any-return]

    def _parts(self, batch: PackedBatch) -> Iterator[Segment]:
        for segment in batch.segments:
            yield from (segment,) if self.groups else segment.split()

    def _call(self, batch: PackedBatch, part: Segment) -> Tensor:
        """Call the model; returns logits of sequences or of tokens, or hidden states of tokens."""
        shape = part.num_sequences, part.length
        ids = batch.input_ids[part.tokens].view(shape)
        inputs: dict[str, Any] = {"input_ids": ids}
        if self._takes_types:
            inputs["token_type_ids"] = batch.token_type_ids[part.tokens].view(shape)
        if self._takes_mask:
            inputs["attention_mask"] = torch.ones_like(ids)
        output = self.library_model(**inputs, return_dict=True)
        found = output.logits if self.head is None else output.last_hidden_state
        _check_shape(found, self._expected(shape))
        return found if found.dim() == 2 else found.flatten(0, 1)  # type: ignore[no-any-return]

    def _expected(self, shape: tuple[int, int]) -> tuple[int, ...]:
        spec: HeadSpec = self.config.head.spec
        if self.head is not None:
            return (*shape, self.config.encoder.hidden_size)
        num_labels = len(self.config.head.labels)
        return (*shape, num_labels) if not spec.pools else (shape[0], num_labels)

    def position_rows(self) -> int | None:
        """Return the rows of the table of positions that a text can use; None without a table.

        A table with a padding_idx is RoBERTa's: the rows up to it are for no text.
        """
        for name, module in self.library_model.named_modules():
            if name.endswith("position_embeddings") and hasattr(module, "padding_idx"):
                padding_idx: int | None = module.padding_idx
                rows = int(module.weight.shape[0])
                return rows if padding_idx is None else rows - padding_idx - 1
        return None


def _check_shape(found: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(found.shape) != expected:
        raise CheckpointError(
            f"config.json: the model's output has the shape {list(found.shape)}, and a task of "
            f"this kind needs {list(expected)}. Use a checkpoint of another architecture"
        )


def _check_modes() -> None:
    """Raise OptionError for settings of the process that classes of transformers depend on."""
    if torch.get_default_dtype() != torch.float32:
        raise OptionError(
            f"torch's default dtype is {torch.get_default_dtype()}, in which parts of a model of "
            "transformers would be computed. Undo it: torch.set_default_dtype(torch.float32)"
        )
    check_attention_settings()
    mkldnn: Any = torch.backends.mkldnn
    if not mkldnn.enabled:
        raise OptionError(
            "torch.backends.mkldnn.enabled is False, which changes results of models of "
            "transformers. Undo it: torch.backends.mkldnn.enabled = True"
        )


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread of torch and of its library for products."""
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # also where it is 1: MKL has a number of its own
    try:
        yield
    finally:
        if before != 1:
            torch.set_num_threads(before)

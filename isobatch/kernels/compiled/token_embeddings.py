"""The compiled kernel of embeddings: rows of three tables, added and normalized, for each token."""

import ctypes

import torch
from torch import Tensor

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint.quantized import QuantizedTensor
from isobatch.kernels.compiled.packed_weights import NormArguments
from isobatch.kernels.compiled.structures import (
    EmbeddingsStructure,
    IdsStructure,
    NormStructure,
    checked,
)
from isobatch.kernels.compiled.variants import kernels
from isobatch.kernels.embedding_formula import EmbeddingWeights
from isobatch.kernels.gradients import with_reference_gradient


def embed(weights: EmbeddingWeights, batch: PackedBatch, words: Tensor | None = None) -> Tensor:
    """Compute the normalized embeddings in fp32 from the tables as they are now, differentiable.

    Raises IndexError for an id that has no row.
    """

    def kernel(*_tensors: Tensor | None) -> Tensor:
        return _embed(weights, batch, words)

    def reference(
        word: Tensor | None,
        position: Tensor | None,
        token_type: Tensor | None,
        words: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        norm = weights.norm
        if norm is not None:
            assert weight is not None
            norm = norm._replace(weight=weight, bias=bias)
        present = weights._replace(position=position, token_type=token_type, norm=norm)
        return (present if word is None else present._replace(word=word))(batch, words)

    # With `words` the table is not used: autograd would miss it in the reference's graph.
    word = weights.word if words is None and isinstance(weights.word, Tensor) else None
    tables = word, weights.position, weights.token_type, words
    norm = (None, None) if weights.norm is None else weights.norm[:2]
    return with_reference_gradient(kernel, reference, *tables, *norm)


class _Tables:
    """The tensors of the tables, referenced so that their addresses stay valid."""

    def __init__(self, weights: EmbeddingWeights, words: Tensor | None, num_tokens: int) -> None:
        size = weights.size
        word, self.scale = weights.word, None
        if words is not None:
            self.word = checked(words.detach(), num_tokens, size)
        elif isinstance(word, QuantizedTensor):
            self.word = checked(word.values, len(word.values), size, dtype=torch.int8)
            self.scale = checked(word.scale, len(word.values))
        else:
            self.word = checked(word.detach(), len(word), size)
        positions = weights.position
        self.position = (
            None if positions is None else checked(positions.detach(), len(positions), size)
        )
        types = weights.token_type
        self.token_type = None if types is None else checked(types.detach(), len(types), size)
        self.norm = None if weights.norm is None else NormArguments(weights.norm)
        self.size, self.factor = size, weights.word_scale

    @property
    def structure(self) -> EmbeddingsStructure:
        tables = (self.word, self.scale, self.position, self.token_type)
        rows = (self.word, self.position, self.token_type)
        return EmbeddingsStructure(
            *(None if table is None else table.data_ptr() for table in tables),
            NormStructure() if self.norm is None else self.norm.structure,
            *(0 if table is None else len(table) for table in rows),
            self.size,
            self.factor,
        )


def _embed(weights: EmbeddingWeights, batch: PackedBatch, words: Tensor | None) -> Tensor:
    num_tokens = len(batch.input_ids)
    tables = _Tables(weights, words, num_tokens)
    given = (batch.input_ids, batch.position_ids, batch.token_type_ids)
    ids = [checked(each, num_tokens, dtype=torch.int64) for each in given]
    word, position, token_type = (each.data_ptr() for each in ids)
    structure = tables.structure
    read = IdsStructure(None if words is not None else word, position, token_type)
    y = torch.empty(num_tokens, tables.size, dtype=torch.float32, device="cpu")
    missing = kernels("fp32").module.embed_tokens(
        ctypes.addressof(structure),
        ctypes.addressof(read),
        y.data_ptr(),
        num_tokens,
        torch.get_num_threads(),
    )
    if missing >= 0:
        found = ", ".join(str(int(each[missing])) for each in ids)
        raise IndexError(
            f"token {missing}: word, position and token type are {found}; a table has no such row"
        )
    return y

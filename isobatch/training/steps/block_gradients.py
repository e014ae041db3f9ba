"""The gradient of one block of texts: forward and backward, on the thread that calls.

Invariant: the result is a function of the weights, the texts of the block, the seed and the epoch.
Other blocks, the number of threads and the order in which blocks are computed have no part in it,
as long as torch has one thread here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isobatch.batching.packed import pack
from isobatch.kernels import KeyedDropout
from isobatch.model import EncoderModel
from isobatch.training.recipe import Recipe
from isobatch.training.steps.examples import Examples, text_key
from isobatch.training.steps.losses import text_losses
from isobatch.training.steps.order import GradientBlock

WORDS = "embeddings.word.weight"

EMBEDDINGS = ("embeddings.", "relative_positions.")
"""Prefixes of the parameters that all layers read: DeBERTa and MPNet have tables of distances."""


@dataclass(slots=True)
class BlockGradient:
    """Sums over the texts of a block, not yet divided by anything.

    parameters: a gradient for each of `TrainedWeights.parameters`. words: [tokens, embedding_size],
    and word_rows: [tokens], the row of the table of used words that each belongs to; None if they
    are frozen. losses: of each text, in the order of the block, without its weight.
    """

    parameters: list[Tensor]
    words: Tensor | None
    word_rows: Tensor
    losses: NDArray[np.float64]


class TrainedWeights:
    """The weights that training changes.

    Of the word table those are the rows of words that occur in the training texts, `words`: the
    others get no gradient, and decay does not apply to tables, so that they keep their values.
    """

    def __init__(self, model: EncoderModel, examples: Examples, freeze: int) -> None:
        self.model = model
        table = model.embeddings.word
        assert isinstance(table, nn.Embedding)
        self.used_words = torch.from_numpy(
            np.unique(np.concatenate([np.asarray(e.input_ids) for e in examples.encodings]))
        )
        self.row_of_word = torch.zeros(table.num_embeddings, dtype=torch.int64)
        self.row_of_word[self.used_words] = torch.arange(len(self.used_words))
        frozen = tuple(f"blocks.{index}." for index in range(freeze))
        frozen += EMBEDDINGS if freeze else ()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name != WORDS and not name.startswith(frozen or ("\0",)))
        self.names = [name for name, each in model.named_parameters() if each.requires_grad]
        self.parameters = [each for each in model.parameters() if each.requires_grad]
        self.words: Tensor | None = None
        if not freeze:
            self.words = table.weight.detach()[self.used_words]

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters and the used words, in a fixed order."""
        return [*self.parameters, *([] if self.words is None else [self.words])]

    def lookup(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the table of used words for `input_ids`, and the word vectors."""
        rows = self.row_of_word[input_ids]
        if self.words is None:
            table = self.model.embeddings.word
            assert isinstance(table, nn.Embedding)
            return rows, table.weight.detach()[input_ids]
        return rows, self.words[rows].requires_grad_()

    @torch.no_grad()
    def write_words(self) -> None:
        """Write the used words into the table of the model, for a forward that looks words up."""
        table = self.model.embeddings.word
        assert isinstance(table, nn.Embedding)
        if self.words is not None:
            table.weight[self.used_words] = self.words


class BlockGradients:
    """Computes the gradients of blocks; may be called by several threads at once."""

    def __init__(self, weights: TrainedWeights, examples: Examples, recipe: Recipe) -> None:
        self._weights = weights
        self._examples = examples
        self._recipe = recipe
        self._keys = [text_key(encoding) for encoding in examples.encodings]

    def compute(self, block: GradientBlock, epoch: int) -> BlockGradient:
        """Compute the gradient of the texts with these indices. torch must have one thread here."""
        model, examples = self._weights.model, self._examples
        encodings = [examples.encodings[index] for index in block]
        batch = pack(encodings, model.config.encoder.positions)
        dropout = KeyedDropout(
            self._recipe.seed,
            epoch,
            [self._keys[index] for index in block],
            [len(encoding) for encoding in encodings],
        )
        with torch.enable_grad():
            rows, words = self._weights.lookup(batch.input_ids)
            with torch.autocast(
                "cpu",
                torch.bfloat16,
                enabled=self._recipe.precision == "bf16",
                cache_enabled=False,  # it is shared by all threads
            ):
                logits = model(batch, words, dropout).float()
            losses = text_losses(self._recipe, logits, *self._targets(block))
            weighted = losses * torch.from_numpy(examples.weights[list(block)])
            inputs = [*self._weights.parameters, *([words] if words.requires_grad else [])]
            gradients = list(torch.autograd.grad(weighted.sum(), inputs))
        return BlockGradient(
            gradients[: len(self._weights.parameters)],
            gradients[-1] if words.requires_grad else None,
            rows,
            losses.detach().double().numpy(),
        )

    def _targets(self, block: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        rows, teacher = list(block), self._examples.teacher_logits
        targets = torch.from_numpy(self._examples.targets[rows])
        return targets, None if teacher is None else torch.from_numpy(teacher[rows])

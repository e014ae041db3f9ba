"""EncoderModel: embeddings, blocks, head: the one forward of inference and training.

PackedBatch in; logits or vectors out. Invariant: module names are the left sides of the tables of
names in `isobatch.checkpoint.families`.
"""

from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch
from isobatch.checkpoint import ModelConfig
from isobatch.kernels import Dropout, Norm
from isobatch.model.block import TORCH_DROPOUT, Block
from isobatch.model.decoder import Decoder
from isobatch.model.embeddings import Embeddings
from isobatch.model.head import Head
from isobatch.model.relative_positions import RelativePositions
from isobatch.types import Rows


class EncoderModel(nn.Module):
    """An encoder with a head; packed batch → [sequences, outputs], or [tokens, outputs].

    The last block computes only the rows that the head reads: of 12 parts of a layer's products 10
    are not needed for one row of each sequence.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        encoder, dropout = config.encoder, config.dropout
        self.embeddings = Embeddings(encoder, dropout.embeddings)
        self.relative_positions = (
            None
            if encoder.distances is None
            else RelativePositions(encoder.distances, encoder.max_tokens)
        )
        self.blocks = nn.ModuleList(Block(spec, dropout) for spec in encoder.blocks)
        self.decoder = Decoder(encoder, dropout) if encoder.decoder_layers else None
        self.final_norm = (
            None if encoder.final_norm is None else Norm(encoder.hidden_size, encoder.final_norm)
        )
        self.head = Head(config.head.spec, dropout)

    @property
    def layers(self) -> list[nn.Module]:
        """The block that computes each layer; several layers may share one."""
        shared = self.config.encoder.weights_of
        return [self.blocks[index] for index in shared] if shared else list(self.blocks)

    def forward(
        self,
        batch: PackedBatch,
        words: Tensor | None = None,
        dropout: Dropout = TORCH_DROPOUT,
    ) -> Tensor:
        """Compute the outputs; `words` as in Embeddings, `dropout` for training only."""
        hidden = self.embeddings(batch, words, dropout)
        rows = self.head.spec.rows
        layers, context = self.layers, self.context(batch)
        last = len(layers) - 1
        for index, block in enumerate(layers):
            wanted = rows if index == last and self.decoder is None else Rows.ALL
            training = {"dropout": dropout, "layer": index} if self.training else {}
            hidden = block(hidden, batch, wanted, context, **training)
        if self.decoder is not None:
            hidden = self.decoder(hidden, batch, words, self.embeddings, rows, dropout)
        if self.final_norm is not None:
            hidden = self.final_norm(hidden)
        return self.head(hidden, batch, dropout)  # type: ignore[no-any-return]

    def context(self, batch: PackedBatch) -> Tensor | None:
        """Compute what every block reads next to its rows; None where these are all."""
        return None if self.relative_positions is None else self.relative_positions(batch)

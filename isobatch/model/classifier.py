"""SequenceClassifier: embeddings, blocks, head: the one forward of inference and training.

PackedBatch in, logits out. It knows neither text nor files. Invariant: module names are the left
sides of the tables in `isobatch.checkpoint.families`.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isobatch.checkpoint import ModelConfig, read_config, read_tensors
from isobatch.model.block import Block
from isobatch.model.embeddings import Embeddings
from isobatch.numerics import Linear, activation_named
from isobatch.packed import PackedBatch


class Head(nn.Module):
    """First rows [sequences, hidden] → logits [sequences, num_labels]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.encoder.hidden_size
        self.dense = Linear(size, size, activation_named(config.head.activation))
        self.output = Linear(size, config.head.num_labels)
        self.dropout = config.dropout.classifier

    def forward(self, first: Tensor) -> Tensor:
        features = F.dropout(self.dense(first), self.dropout, self.training)
        return self.output(features)  # type: ignore[no-any-return]


class SequenceClassifier(nn.Module):
    """An encoder classifier over packed sequences; batch → logits [sequences, num_labels]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        encoder, dropout = config.encoder, config.dropout
        self.embeddings = Embeddings(encoder, dropout.hidden)
        self.blocks = nn.ModuleList(
            Block(encoder, dropout, first_only=index == encoder.num_layers - 1)
            for index in range(encoder.num_layers)
        )
        self.head = Head(config)

    def forward(self, batch: PackedBatch) -> Tensor:
        hidden = self.embeddings(batch)
        for block in self.blocks:
            hidden = block(hidden, batch)
        return self.head(hidden)  # type: ignore[no-any-return]

    def prepack(self) -> None:
        """Make every linear ready for inference only; needs `settle_kernels` first."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.prepack()
        self.requires_grad_(False)


def load_model(config: ModelConfig, tensors: dict[str, Tensor]) -> SequenceClassifier:
    """Build the model around `tensors` (our names, as `read_tensors` gives them), in eval mode.

    The tensors become the parameters themselves: nothing is initialised or copied.
    """
    model = empty_model(config)
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def read_model(folder: Path) -> SequenceClassifier:
    """Read the checkpoint in `folder`; errors as in `read_config` and `read_tensors`."""
    config = read_config(folder)
    shapes = {name: tensor.shape for name, tensor in empty_model(config).named_parameters()}
    return load_model(config, read_tensors(folder, config, shapes))


def empty_model(config: ModelConfig) -> SequenceClassifier:
    """The model without memory behind its parameters: their names and shapes."""
    with torch.device("meta"):
        return SequenceClassifier(config)

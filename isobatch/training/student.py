"""A shallower model to train: some of the blocks of a checkpoint, evenly spaced."""

from dataclasses import replace

from torch import nn

from isobatch.errors import OptionError
from isobatch.model.block import Block
from isobatch.training.initial_model import InitialModel


def keep_blocks(start: InitialModel, number: int) -> InitialModel:
    """Keep `number` of the blocks, the first and the last among them, and drop the others.

    Embeddings and head stay (Sanh et al. 2019, "DistilBERT", begin with every second block). Raises
    OptionError if there are fewer.
    """
    model, config = start.model, start.model.config
    blocks = list(model.blocks)
    if not 1 <= number <= len(blocks):
        raise OptionError(
            f"layers must be from 1 to {len(blocks)}, those of the base; got {number}"
        )
    kept = [round(place * (len(blocks) - 1) / max(number - 1, 1)) for place in range(number)]
    model.blocks = nn.ModuleList(blocks[index] for index in kept)
    for index, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        block.index = index
    model.config = replace(config, encoder=replace(config.encoder, num_layers=number))
    key, _ = config.family.config_keys["num_layers"]
    reason = f"{start.reason}; of {len(blocks)} blocks {number} are kept: {_numbers(kept)}"
    return replace(start, raw_config={**start.raw_config, key: number}, reason=reason)


def _numbers(kept: list[int]) -> str:
    return ", ".join(str(index + 1) for index in kept)

"""A shallower model to train: some of the blocks of a checkpoint, evenly spaced."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from isobatch.checkpoint import EncoderConfig, parse_config
from isobatch.errors import OptionError
from isobatch.training.initial_model import InitialModel


def keep_blocks(start: InitialModel, number: int) -> InitialModel:
    """Keep `number` of the blocks, the first and the last among them, and drop the others.

    Embeddings and head stay (Sanh et al. 2019, "DistilBERT", begin with every second block). Raises
    OptionError if there are fewer.
    """
    model, config = start.model, start.model.config
    depth = config.encoder.num_layers
    if not 1 <= number <= depth:
        raise OptionError(f"layers must be from 1 to {depth}, those of the base; got {number}")
    kept = [round(place * (depth - 1) / max(number - 1, 1)) for place in range(number)]
    if not config.encoder.weights_of:
        model.blocks = nn.ModuleList(model.blocks[index] for index in kept)
    model.config = replace(config, encoder=_keep_layers(config.encoder, kept))
    values = config.family.values(start.raw_config)
    raw = {**start.raw_config, **config.family.change_depth(values, kept)}
    if parse_config(raw).encoder != model.config.encoder:
        raise OptionError(
            f"layers={number}: config.json cannot describe a {config.family.class_prefix} of these "
            "layers alone. Keep all of them"
        )
    reason = f"{start.reason}; of {depth} layers {number} are kept: {_numbers(kept)}"
    return replace(start, raw_config=raw, reason=reason)


def _keep_layers(encoder: EncoderConfig, kept: Sequence[int]) -> EncoderConfig:
    layers = tuple(encoder.layers[index] for index in kept)
    shared = tuple(encoder.weights_of[index] for index in kept) if encoder.weights_of else ()
    return replace(encoder, layers=layers, weights_of=shared)


def _numbers(kept: list[int]) -> str:
    return ", ".join(str(index + 1) for index in kept)

"""Tiny random checkpoint folders of real sequence classifiers, with tokenizers that work offline.

The weights are drawn from wider normal distributions than an untrained model has, so that logits of
different texts differ in the first digit. Invariant: an architecture written twice gives the same
bits.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from benchmarks.audit import family_tokenizers

SEED = 0
NUM_LABELS = 3


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family: its name in transformers, tiny sizes under its own keys, and its tokenizer."""

    name: str
    tokenizer: Callable[[], Any]
    sizes: Mapping[str, Any] = field(default_factory=dict)


_SIZES: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
}
_FROM_PAD = {**_SIZES, "max_position_embeddings": 514}
"""Sizes of families that count positions from the padding id + 1."""

_ENCODER_DECODER = {"d_model": 32, "decoder_start_token_id": 0}
_BART = {
    **_ENCODER_DECODER,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 512,
    "decoder_start_token_id": 2,
}
_T5 = {**_ENCODER_DECODER, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_DISTILBERT = {
    "dim": 32,
    "n_heads": 4,
    "n_layers": 2,
    "hidden_dim": 48,
    "max_position_embeddings": 512,
}
_DISENTANGLED = {
    **_SIZES,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["c2p", "p2c"],
    "max_relative_positions": 512,
}
_ESM = {
    **_FROM_PAD,
    "position_embedding_type": "absolute",
    "emb_layer_norm_before": True,
    "token_dropout": True,
}
_MODERNBERT = {**_SIZES, "local_attention": 16, "global_attn_every_n_layers": 2}
_XLNET = {"d_model": 32, "n_head": 4, "d_inner": 48, "n_layer": 2}
_FUNNEL = {
    "block_sizes": [1, 1],
    "num_decoder_layers": 1,
    "d_model": 32,
    "n_head": 4,
    "d_head": 8,
    "d_inner": 48,
}
_CANINE = {
    **_SIZES,
    "num_hash_buckets": 1024,
    "max_position_embeddings": 2048,
    "local_transformer_stride": 32,
}
_NYSTROM = {**_SIZES, "num_landmarks": 8, "segment_means_seq_len": 8, "conv_kernel_size": 9}

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("bert", family_tokenizers.bert, _SIZES),
    Architecture("distilbert", family_tokenizers.bert, _DISTILBERT),
    Architecture("electra", family_tokenizers.bert, {**_SIZES, "embedding_size": 24}),
    Architecture("roberta", family_tokenizers.roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("xlm-roberta", family_tokenizers.xlm_roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("data2vec-text", family_tokenizers.roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("ibert", family_tokenizers.roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("albert", family_tokenizers.albert, {**_SIZES, "embedding_size": 24}),
    Architecture("mpnet", family_tokenizers.mpnet, _FROM_PAD),
    Architecture("deberta", family_tokenizers.deberta, _DISENTANGLED),
    Architecture(
        "deberta-v2", family_tokenizers.deberta_v2, {**_DISENTANGLED, "position_buckets": 32}
    ),
    Architecture("modernbert", family_tokenizers.modernbert, _MODERNBERT),
    Architecture("roformer", family_tokenizers.roformer, _SIZES),
    Architecture("esm", family_tokenizers.esm, _ESM),
    Architecture("longformer", family_tokenizers.roberta, {**_FROM_PAD, "attention_window": 16}),
    Architecture("big_bird", family_tokenizers.big_bird, {**_SIZES, "block_size": 8}),
    Architecture("funnel", family_tokenizers.funnel, _FUNNEL),
    Architecture("fnet", family_tokenizers.fnet, _SIZES),
    Architecture("convbert", family_tokenizers.bert, {**_SIZES, "embedding_size": 32}),
    Architecture("nystromformer", family_tokenizers.albert, _NYSTROM),
    Architecture("yoso", family_tokenizers.albert, _SIZES),
    Architecture("canine", family_tokenizers.canine, _CANINE),
    Architecture("xlnet", family_tokenizers.xlnet, _XLNET),
    Architecture("t5", family_tokenizers.t5, _T5),
    Architecture("bart", family_tokenizers.roberta, _BART),
    Architecture(
        "gpt2",
        family_tokenizers.gpt2,
        {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 512},
    ),
    Architecture("llama", family_tokenizers.llama, {**_SIZES, "num_key_value_heads": 2}),
)


def write_architecture(architecture: Architecture, folder: Path) -> Path:
    """Write config.json, model.safetensors and the tokenizer's files; return the folder."""
    tokenizer = architecture.tokenizer()
    config = tiny_config(architecture, tokenizer)
    auto: Any = transformers.AutoModelForSequenceClassification
    fill_randomly(auto.from_config(config), SEED).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_config(architecture: Architecture, tokenizer: Any) -> Any:
    """Build the family's configuration with the ids of this tokenizer's special tokens."""
    names = ("pad", "bos", "eos", "sep", "mask")
    special = {f"{name}_token_id": _id_of(tokenizer, name) for name in names}
    # CANINE's ids are code points, hashed into its tables: there is no vocabulary size to set.
    vocabulary = {} if architecture.name == "canine" else {"vocab_size": len(tokenizer)}
    return transformers.AutoConfig.for_model(
        architecture.name, num_labels=NUM_LABELS, **vocabulary, **special, **architecture.sizes
    )


def _id_of(tokenizer: Any, name: str) -> int | None:
    named = getattr(tokenizer, f"{name}_token", None)
    return None if named is None else int(tokenizer.convert_tokens_to_ids(named))


def fill_randomly(model: Any, seed: int = SEED) -> Any:
    """Redraw every parameter: matrices N(0, 1.7 / √inputs), tables N(0, 1), norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                mean, deviation = _distribution(module, name, parameter)
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(mean + deviation * drawn)
    return model


def _distribution(module: nn.Module, name: str, parameter: nn.Parameter) -> tuple[float, float]:
    kind = type(module).__name__
    if kind.endswith("Embedding"):
        return 0.0, 1.0
    if "Norm" in kind and name == "weight":
        return 1.0, 0.2
    if parameter.dim() < 2 or "bias" in name:
        return 0.0, 0.2
    return 0.0, 1.7 / math.sqrt(_num_inputs(module, parameter))


def _num_inputs(module: nn.Module, parameter: nn.Parameter) -> int:
    """Count a matrix's inputs: the last axes in torch, the first in GPT-2, XLNet and Funnel."""
    outputs_first = type(module).__name__.endswith(("Linear", "Conv1d", "Conv2d"))
    return parameter[0].numel() if outputs_first else parameter.shape[0]

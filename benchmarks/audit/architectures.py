"""Tiny random checkpoint folders of real sequence classifiers, with tokenizers that work offline.

They know transformers' configurations and no audit. The weights are drawn from wider normal
distributions than an untrained model has, so that logits of different texts differ in the first
digit. Invariant: an architecture written twice gives the same bits.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from benchmarks.audit import tokenizers

SEED = 0
NUM_LABELS = 3


@dataclass(frozen=True, slots=True)
class Architecture:
    """One family: its name in transformers, its configuration, and what makes its tokenizer.

    words: the family's own configuration keys, tiny. decoder: the answer is read at the last token.
    """

    name: str
    tokenizer: Callable[[], Any]
    words: Mapping[str, Any] = field(default_factory=dict)
    decoder: bool = False


_SIZES: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
}
_FROM_PAD = {**_SIZES, "max_position_embeddings": 514}
"""Of families that count positions from the pad's id + 1."""

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
    Architecture("bert", tokenizers.bert, _SIZES),
    Architecture("distilbert", tokenizers.bert, _DISTILBERT),
    Architecture("electra", tokenizers.bert, {**_SIZES, "embedding_size": 24}),
    Architecture("roberta", tokenizers.roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("xlm-roberta", tokenizers.xlm_roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("data2vec-text", tokenizers.roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("ibert", tokenizers.roberta, {**_FROM_PAD, "type_vocab_size": 1}),
    Architecture("albert", tokenizers.albert, {**_SIZES, "embedding_size": 24}),
    Architecture("mpnet", tokenizers.mpnet, _FROM_PAD),
    Architecture("deberta", tokenizers.deberta, _DISENTANGLED),
    Architecture("deberta-v2", tokenizers.deberta_v2, {**_DISENTANGLED, "position_buckets": 32}),
    Architecture("modernbert", tokenizers.modernbert, _MODERNBERT),
    Architecture("roformer", tokenizers.roformer, _SIZES),
    Architecture("esm", tokenizers.esm, _ESM),
    Architecture("longformer", tokenizers.roberta, {**_FROM_PAD, "attention_window": 16}),
    Architecture("big_bird", tokenizers.big_bird, {**_SIZES, "block_size": 8}),
    Architecture("funnel", tokenizers.funnel, _FUNNEL),
    Architecture("fnet", tokenizers.fnet, _SIZES),
    Architecture("convbert", tokenizers.bert, {**_SIZES, "embedding_size": 32}),
    Architecture("nystromformer", tokenizers.albert, _NYSTROM),
    Architecture("yoso", tokenizers.albert, _SIZES),
    Architecture("canine", tokenizers.canine, _CANINE),
    Architecture("xlnet", tokenizers.xlnet, _XLNET),
    Architecture("t5", tokenizers.t5, _T5),
    Architecture("bart", tokenizers.roberta, _BART),
    Architecture(
        "gpt2",
        tokenizers.gpt2,
        {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 512},
        decoder=True,
    ),
    Architecture("llama", tokenizers.llama, {**_SIZES, "num_key_value_heads": 2}, decoder=True),
)


def find_architecture(name: str) -> Architecture:
    """The architecture of that name."""
    return next(each for each in ARCHITECTURES if each.name == name)


def write_architecture(architecture: Architecture, folder: Path) -> Path:
    """Write config.json, model.safetensors and the tokenizer's files; return the folder."""
    tokenizer = architecture.tokenizer()
    config = tiny_config(architecture, tokenizer)
    auto: Any = transformers.AutoModelForSequenceClassification
    fill_randomly(auto.from_config(config), SEED).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_config(architecture: Architecture, tokenizer: Any) -> Any:
    """The family's configuration, with the ids of this tokenizer's special tokens."""
    names = ("pad", "bos", "eos", "sep", "mask")
    special = {f"{name}_token_id": _id_of(tokenizer, name) for name in names}
    # CANINE's ids are code points and its tables hashes of them: it has no vocabulary to size.
    sizes = {} if architecture.name == "canine" else {"vocab_size": len(tokenizer)}
    return transformers.AutoConfig.for_model(
        architecture.name, num_labels=NUM_LABELS, **sizes, **special, **architecture.words
    )


def _id_of(tokenizer: Any, name: str) -> int | None:
    named = getattr(tokenizer, f"{name}_token", None)
    return None if named is None else int(tokenizer.convert_tokens_to_ids(named))


def fill_randomly(model: Any, seed: int = SEED) -> Any:
    """Draw every parameter anew: matrices N(0, 1.7 / √inputs), tables N(0, 1), norms near 1."""
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
    """torch's layers have them behind the outputs; GPT-2's Conv1D, XLNet and Funnel in front."""
    outputs_first = type(module).__name__.endswith(("Linear", "Conv1d", "Conv2d"))
    return parameter[0].numel() if outputs_first else parameter.shape[0]

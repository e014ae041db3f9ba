"""Tiny random checkpoint folders of every family, written by transformers, the reference.

A folder holds config.json and safetensors, no tokenizer: tests of texts add one. The weights
are drawn from wider normal distributions than an untrained model has, so that logits of different
texts differ in the first digit and a fault in any one tensor shows in them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import transformers
from torch import Tensor, nn

from isobatch.specification import PositionRule

BERT_FAMILIES = (
    *("distilbert", "bert", "roberta", "xlm-roberta", "camembert", "electra"),
    "albert",
)
"""Families whose layers are BERT's."""

ROTARY_FAMILIES = ("modernbert", "gte", "nomic_bert")
"""Encoders with rotary positions and gated feed-forwards."""

DECODERS = ("qwen3", "qwen2", "llama")
"""Families that read a text by its last token; their layers are alike."""

FAMILIES = (*BERT_FAMILIES, *ROTARY_FAMILIES, "mpnet", "deberta-v2", "qwen3")
COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Families that count positions from pad_token_id + 1 on."""
WITH_DISTANCES = (*ROTARY_FAMILIES, "mpnet", "deberta-v2", "qwen3")
"""Families whose attention depends on the distance of two tokens."""

MAX_TOKENS = 512
VOCAB_SIZE = 500


@dataclass(frozen=True, slots=True)
class Tiny:
    """The configuration of a tiny checkpoint; equal ones give the same bits."""

    model_type: str
    num_heads: int = 4
    head_dim: int = 8
    num_layers: int = 2
    intermediate_size: int = 48
    embedding_size: int = 24
    hidden_act: str = "gelu"
    local_attention: int = 16
    num_labels: int = 2
    problem_type: str | None = None
    dropout: float = 0.1
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    max_shard_size: str = "5GB"
    vocab_size: int = VOCAB_SIZE
    seed: int = 0

    @property
    def hidden_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def pad_token_id(self) -> int:
        return 1 if self.model_type in (*COUNTED_FROM_PADDING, "gte") else 0

    @property
    def positions(self) -> PositionRule:
        return PositionRule(self.padding_idx)

    @property
    def padding_idx(self) -> int | None:
        """As `isobatch.batching.packed` takes it."""
        return self.pad_token_id if self.model_type in COUNTED_FROM_PADDING else None

    @property
    def depth(self) -> int:
        """Layers, of which two may share their weights."""
        return self.num_layers + (self.model_type == "albert" and self.num_layers > 1)

    @property
    def has_token_types(self) -> bool:
        """Whether the family marks the texts of a pair by type."""
        return self.model_type in ("bert", "electra", "albert", "nomic_bert")


TinyFolder = Callable[[Tiny], Path]
"""Where the checkpoint of a Tiny is; a fixture has this type."""


def write_checkpoint(folder: Path, tiny: Tiny) -> Path:
    """Write the checkpoint of `tiny` into `folder` and return the folder."""
    model = random_model(tiny).to(getattr(torch, tiny.dtype))
    model.save_pretrained(folder, max_shard_size=tiny.max_shard_size)
    return folder


def random_model(tiny: Tiny) -> transformers.PreTrainedModel:
    """transformers' own model with the weights of `tiny`, in eval mode."""
    model = transformers.AutoModelForSequenceClassification.from_config(tiny_config(tiny))
    return fill_randomly(model, tiny.seed).eval()


def tiny_config(tiny: Tiny) -> transformers.PreTrainedConfig:
    """transformers' configuration of the family."""
    head = {"num_labels": tiny.num_labels, "problem_type": tiny.problem_type}
    shared = {"vocab_size": tiny.vocab_size, "pad_token_id": tiny.pad_token_id, **head}
    settings = _SETTINGS.get(tiny.model_type, _bert_settings)(tiny)
    return transformers.AutoConfig.for_model(tiny.model_type, **shared, **settings)


def _distilbert_settings(tiny: Tiny) -> dict[str, object]:
    return {
        "dim": tiny.hidden_size,
        "n_heads": tiny.num_heads,
        "n_layers": tiny.num_layers,
        "hidden_dim": tiny.intermediate_size,
        "activation": tiny.hidden_act,
        "max_position_embeddings": MAX_TOKENS,
        "dropout": tiny.dropout,
        "attention_dropout": tiny.dropout,
        "seq_classif_dropout": tiny.dropout,
    }


def _bert_settings(tiny: Tiny) -> dict[str, object]:
    beyond = 0 if tiny.padding_idx is None else tiny.padding_idx + 1
    settings: dict[str, object] = {
        "hidden_size": tiny.hidden_size,
        "num_attention_heads": tiny.num_heads,
        "num_hidden_layers": tiny.num_layers,
        "intermediate_size": tiny.intermediate_size,
        "hidden_act": tiny.hidden_act,
        "max_position_embeddings": MAX_TOKENS + beyond,
        "type_vocab_size": 2 if tiny.has_token_types else 1,
        "hidden_dropout_prob": tiny.dropout,
        "attention_probs_dropout_prob": tiny.dropout,
        # 1e-5 for the families that have it so; not one that a config without the key would give.
        "layer_norm_eps": 1e-12 if tiny.has_token_types else 1e-5,
    }
    if tiny.model_type in ("electra", "albert"):
        settings["embedding_size"] = tiny.embedding_size
    return settings


def _albert_settings(tiny: Tiny) -> dict[str, object]:
    """Layers of two groups, the first with one more where they cannot be shared evenly."""
    groups = min(2, tiny.num_layers)
    return _bert_settings(tiny) | {
        "num_hidden_groups": groups,
        "num_hidden_layers": tiny.depth,
        "classifier_dropout_prob": tiny.dropout,
    }


def _decoder_settings(tiny: Tiny) -> dict[str, object]:
    """Settings that are not transformers' defaults; a head has as even a size as rotation needs."""
    return {
        "hidden_size": tiny.hidden_size,
        "num_attention_heads": tiny.num_heads,
        "num_key_value_heads": tiny.num_heads // 2 if tiny.num_heads % 2 == 0 else 1,
        "head_dim": tiny.head_dim + tiny.head_dim % 2 + 2,
        "num_hidden_layers": tiny.num_layers,
        "intermediate_size": tiny.intermediate_size,
        "hidden_act": "silu" if tiny.hidden_act == "gelu" else tiny.hidden_act,
        "max_position_embeddings": MAX_TOKENS,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50_000.0},
        "attention_dropout": tiny.dropout,
        "use_cache": False,
    }


def _deberta_settings(tiny: Tiny) -> dict[str, object]:
    """Settings as of version 3, with fewer groups of distances."""
    return _bert_settings(tiny) | {
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "relative_attention": True,
        "position_buckets": 32,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
    }


def _modernbert_settings(tiny: Tiny) -> dict[str, object]:
    return {
        "hidden_size": tiny.hidden_size,
        "num_attention_heads": tiny.num_heads,
        "num_hidden_layers": tiny.num_layers,
        "intermediate_size": tiny.intermediate_size,
        "hidden_activation": tiny.hidden_act,
        "max_position_embeddings": MAX_TOKENS,
        "local_attention": tiny.local_attention,
        "attention_dropout": tiny.dropout,
        "embedding_dropout": tiny.dropout,
        "mlp_dropout": tiny.dropout,
        "classifier_dropout": tiny.dropout,
        **dict.fromkeys(("bos_token_id", "cls_token_id"), 2),
        **dict.fromkeys(("eos_token_id", "sep_token_id"), 3),
    }


def _rotary_settings(tiny: Tiny) -> dict[str, object]:
    types = 2 if tiny.has_token_types else 1
    return _bert_settings(tiny) | {"type_vocab_size": types, "layer_norm_eps": 1e-12}


_SETTINGS: dict[str, Callable[[Tiny], dict[str, object]]] = {
    "distilbert": _distilbert_settings,
    "deberta-v2": _deberta_settings,
    "modernbert": _modernbert_settings,
    "gte": _rotary_settings,
    "nomic_bert": _rotary_settings,
    "albert": _albert_settings,
    **dict.fromkeys(DECODERS, _decoder_settings),
}


def fill_randomly(
    model: transformers.PreTrainedModel, seed: int = 0
) -> transformers.PreTrainedModel:
    """Draw every parameter from a seed, the same on every machine and in every version.

    Matrices N(0, 1.7 / √inputs), or N(0, 1 / √inputs) where feed-forwards are gated and would make
    large numbers of them; tables N(0, 1), norm weights near 1, biases N(0, 0.2). No parameter stays
    at zero or one, so that a bias, a norm or a pad's row that is left out or swapped shows.
    """
    generator = torch.Generator().manual_seed(seed)
    family = getattr(getattr(model, "config", None), "model_type", "")  # modules have none
    gain = 1.0 if family in ROTARY_FAMILIES else 1.7
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                mean, deviation = _distribution(module, name, gain)
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(mean + deviation * drawn)
    return model


def _distribution(module: nn.Module, name: str, gain: float) -> tuple[float, float]:
    if isinstance(module, nn.Embedding):
        return 0.0, 1.0
    if isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm"):
        return (1.0, 0.2) if name == "weight" else (0.0, 0.2)
    if isinstance(module, nn.Linear) and name == "weight":
        return 0.0, gain / math.sqrt(module.in_features)
    return 0.0, 0.2


def reference_model(folder: Path) -> transformers.PreTrainedModel:
    """transformers' model of the checkpoint in `folder`, float32, in eval mode."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def random_ids(lengths: Sequence[int], tiny: Tiny, seed: int = 0) -> list[list[int]]:
    """One sequence of each length; never the pad id, and never the same twice."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(2, tiny.vocab_size, (length,), generator=generator).tolist()
        for length in lengths
    ]


def pad_right(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows padded with `pad` to the longest, and their mask; both [rows, columns]."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """The same rows with the pads in front."""
    ids, mask = pad_right([row[::-1] for row in rows], pad)
    return ids.flip(1), mask.flip(1)

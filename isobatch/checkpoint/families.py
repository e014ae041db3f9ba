"""What differs between the families, as data: keys of config.json, tensor names, the head.

One table of names per family, our name on the left and Hugging Face's on the right; `{i}` is the
layer. It knows neither files nor modules. Invariant: our names are those of `isobatch.model`, the
same for all families, so that a new family is a new table and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from isobatch.errors import UnsupportedModelError


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture of Hugging Face, as far as it differs from the others.

    model_type: its name in config.json. prefix: of its encoder's tensors. config_keys: our field of
    EncoderConfig or Dropouts → its key and default. names: our tensor prefix → its own, without the
    encoder's prefix. head: the same for the classification head. ignored: patterns of tensors that
    such a file may carry for other tasks. head_drops_input: in training there is a dropout before
    the head, too. positions_from_padding: positions are counted from pad_token_id + 1 on.
    """

    model_type: str
    prefix: str
    config_keys: Mapping[str, tuple[str, object]]
    names: Mapping[str, str]
    head: Mapping[str, str]
    head_activation: str
    ignored: tuple[str, ...]
    head_drops_input: bool = False
    positions_from_padding: bool = False


_BUFFERS = ("*embeddings.position_ids", "*embeddings.token_type_ids")

_EMBEDDINGS = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.token_type": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
}

_BERT_NAMES = _EMBEDDINGS | {
    "blocks.{i}.attention.query": "encoder.layer.{i}.attention.self.query",
    "blocks.{i}.attention.key": "encoder.layer.{i}.attention.self.key",
    "blocks.{i}.attention.value": "encoder.layer.{i}.attention.self.value",
    "blocks.{i}.attention.output": "encoder.layer.{i}.attention.output.dense",
    "blocks.{i}.attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "blocks.{i}.up": "encoder.layer.{i}.intermediate.dense",
    "blocks.{i}.down": "encoder.layer.{i}.output.dense",
    "blocks.{i}.norm": "encoder.layer.{i}.output.LayerNorm",
}

_DISTILBERT_NAMES = {
    **{ours: theirs for ours, theirs in _EMBEDDINGS.items() if ours != "embeddings.token_type"},
    "blocks.{i}.attention.query": "transformer.layer.{i}.attention.q_lin",
    "blocks.{i}.attention.key": "transformer.layer.{i}.attention.k_lin",
    "blocks.{i}.attention.value": "transformer.layer.{i}.attention.v_lin",
    "blocks.{i}.attention.output": "transformer.layer.{i}.attention.out_lin",
    "blocks.{i}.attention_norm": "transformer.layer.{i}.sa_layer_norm",
    "blocks.{i}.up": "transformer.layer.{i}.ffn.lin1",
    "blocks.{i}.down": "transformer.layer.{i}.ffn.lin2",
    "blocks.{i}.norm": "transformer.layer.{i}.output_layer_norm",
}

_BERT_KEYS: dict[str, tuple[str, object]] = {
    "vocab_size": ("vocab_size", 30522),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
    "hidden_act": ("hidden_act", "gelu"),
    "layer_norm_eps": ("layer_norm_eps", 1e-12),
    "num_positions": ("max_position_embeddings", 512),
    "type_vocab_size": ("type_vocab_size", 2),
    "pad_token_id": ("pad_token_id", 0),
    "dropout.hidden": ("hidden_dropout_prob", 0.1),
    "dropout.attention": ("attention_probs_dropout_prob", 0.1),
    "dropout.attention_output": ("hidden_dropout_prob", 0.1),
    "dropout.classifier": ("classifier_dropout", None),
}

_ELECTRA_KEYS = _BERT_KEYS | {
    "embedding_size": ("embedding_size", 128),
    "hidden_size": ("hidden_size", 256),
    "num_heads": ("num_attention_heads", 4),
    "intermediate_size": ("intermediate_size", 1024),
}

_TWO_STEP_HEAD = {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"}

DISTILBERT = Family(
    model_type="distilbert",
    prefix="distilbert.",
    config_keys={
        "vocab_size": ("vocab_size", 30522),
        "hidden_size": ("dim", 768),
        "num_layers": ("n_layers", 6),
        "num_heads": ("n_heads", 12),
        "intermediate_size": ("hidden_dim", 3072),
        "hidden_act": ("activation", "gelu"),
        "num_positions": ("max_position_embeddings", 512),
        "pad_token_id": ("pad_token_id", 0),
        "dropout.hidden": ("dropout", 0.1),
        "dropout.attention": ("attention_dropout", 0.1),
        "dropout.classifier": ("seq_classif_dropout", 0.2),
    },
    names=_DISTILBERT_NAMES,
    head={"head.dense": "pre_classifier", "head.output": "classifier"},
    head_activation="relu",
    ignored=(*_BUFFERS, "vocab_transform.*", "vocab_layer_norm.*", "vocab_projector.*"),
)

BERT = Family(
    model_type="bert",
    prefix="bert.",
    config_keys=_BERT_KEYS,
    names=_BERT_NAMES,
    head={"head.dense": "bert.pooler.dense", "head.output": "classifier"},
    head_activation="tanh",
    ignored=(*_BUFFERS, "cls.*"),
)

ELECTRA = Family(
    model_type="electra",
    prefix="electra.",
    config_keys=_ELECTRA_KEYS,
    names=_BERT_NAMES | {"embeddings.project": "embeddings_project"},
    head=_TWO_STEP_HEAD,
    head_activation="gelu",
    ignored=(*_BUFFERS, "discriminator_predictions.*", "generator_*"),
    head_drops_input=True,
)


def _roberta(model_type: str, vocab_size: int = 30522) -> Family:
    return Family(
        model_type=model_type,
        prefix="roberta.",
        config_keys=_BERT_KEYS
        | {"vocab_size": ("vocab_size", vocab_size), "pad_token_id": ("pad_token_id", 1)},
        names=_BERT_NAMES,
        head=_TWO_STEP_HEAD,
        head_activation="tanh",
        ignored=(*_BUFFERS, "lm_head.*", "roberta.pooler.*"),
        head_drops_input=True,
        positions_from_padding=True,
    )


_FAMILIES = {
    family.model_type: family
    for family in (
        DISTILBERT,
        BERT,
        _roberta("roberta", vocab_size=50265),
        _roberta("xlm-roberta"),
        _roberta("camembert"),
        ELECTRA,
    )
}


def family_of(model_type: object) -> Family:
    """The family with that `model_type`, or UnsupportedModelError with the names that exist."""
    if not isinstance(model_type, str) or model_type not in _FAMILIES:
        raise UnsupportedModelError(
            f"config.json: model_type {model_type!r} is not implemented; these are: "
            + ", ".join(_FAMILIES)
        )
    return _FAMILIES[model_type]

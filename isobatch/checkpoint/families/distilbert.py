"""DistilBERT: "distilbert", without token types; transformers fixes the epsilon of its norms."""

from functools import partial

from isobatch.checkpoint.families.family import BUFFERS, EMBEDDINGS, Family, dense_features

DISTILBERT = Family(
    model_type="distilbert",
    class_prefix="DistilBert",
    tokenizer_class="BertTokenizer",
    config_keys={
        "vocab_size": ("vocab_size", 30522),
        "embedding_size": ("dim", 768),
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
        "dropout.tokens": ("dropout", 0.1),
    },
    fixed={"layer_norm_eps": 1e-12, "type_vocab_size": 0, "dropout.attention_output": 0.0},
    prefix="distilbert.",
    names=EMBEDDINGS
    | {
        "blocks.{i}.attention.query": "transformer.layer.{i}.attention.q_lin",
        "blocks.{i}.attention.key": "transformer.layer.{i}.attention.k_lin",
        "blocks.{i}.attention.value": "transformer.layer.{i}.attention.v_lin",
        "blocks.{i}.attention.output": "transformer.layer.{i}.attention.out_lin",
        "blocks.{i}.attention_norm": "transformer.layer.{i}.sa_layer_norm",
        "blocks.{i}.up": "transformer.layer.{i}.ffn.lin1",
        "blocks.{i}.down": "transformer.layer.{i}.ffn.lin2",
        "blocks.{i}.norm": "transformer.layer.{i}.output_layer_norm",
    },
    head={"head.dense": "pre_classifier", "head.output": "classifier"},
    features=partial(dense_features, "relu"),
    ignored=(*BUFFERS, "vocab_transform.*", "vocab_layer_norm.*", "vocab_projector.*"),
    has_pooler=False,
)

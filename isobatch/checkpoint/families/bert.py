"""BERT: "bert"; its keys and names are also those of RoBERTa and ELECTRA."""

from functools import partial

from isobatch.checkpoint.families.family import BUFFERS, EMBEDDINGS, Family, dense_features

BERT_KEYS: dict[str, tuple[str, object]] = {
    "vocab_size": ("vocab_size", 30522),
    "embedding_size": ("hidden_size", 768),
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
    "dropout.classifier": ("classifier_dropout", None),
}

BERT_NAMES = EMBEDDINGS | {
    "embeddings.token_type": "embeddings.token_type_embeddings",
    "blocks.{i}.attention.query": "encoder.layer.{i}.attention.self.query",
    "blocks.{i}.attention.key": "encoder.layer.{i}.attention.self.key",
    "blocks.{i}.attention.value": "encoder.layer.{i}.attention.self.value",
    "blocks.{i}.attention.output": "encoder.layer.{i}.attention.output.dense",
    "blocks.{i}.attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "blocks.{i}.up": "encoder.layer.{i}.intermediate.dense",
    "blocks.{i}.down": "encoder.layer.{i}.output.dense",
    "blocks.{i}.norm": "encoder.layer.{i}.output.LayerNorm",
}

BERT = Family(
    model_type="bert",
    class_prefix="Bert",
    tokenizer_class="BertTokenizer",
    config_keys=BERT_KEYS,
    prefix="bert.",
    names=BERT_NAMES,
    head={"head.dense": "bert.pooler.dense", "head.output": "classifier"},
    features=partial(dense_features, "tanh"),
    ignored=(*BUFFERS, "cls.*"),
    takes_token_types=True,
)

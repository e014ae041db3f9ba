"""ELECTRA: "electra", whose embeddings may be narrower than its layers and are then projected."""

from functools import partial

from isobatch.checkpoint.families.bert import BERT_KEYS, BERT_NAMES
from isobatch.checkpoint.families.family import BUFFERS, TWO_STEP_HEAD, Family, dense_features

ELECTRA = Family(
    model_type="electra",
    class_prefix="Electra",
    tokenizer_class="BertTokenizer",
    config_keys=BERT_KEYS
    | {
        "embedding_size": ("embedding_size", 128),
        "hidden_size": ("hidden_size", 256),
        "num_heads": ("num_attention_heads", 4),
        "intermediate_size": ("intermediate_size", 1024),
    },
    prefix="electra.",
    names=BERT_NAMES | {"embeddings.project": "embeddings_project"},
    head=TWO_STEP_HEAD,
    features=partial(dense_features, "gelu"),
    ignored=(*BUFFERS, "discriminator_predictions.*", "generator_*"),
    has_pooler=False,
    head_drops_input=True,
    takes_token_types=True,
)

"""RoBERTa: "roberta", "xlm-roberta" and "camembert", which count positions from the padding id."""

from functools import partial

from isobatch.checkpoint.families.bert import BERT_KEYS, BERT_NAMES
from isobatch.checkpoint.families.family import BUFFERS, TWO_STEP_HEAD, Family, dense_features
from isobatch.checkpoint.families.standard_layers import read_encoder_counted_from_padding


def _roberta(model_type: str, class_prefix: str, vocab_size: int = 30522) -> Family:
    return Family(
        model_type=model_type,
        class_prefix=class_prefix,
        tokenizer_class=f"{class_prefix}Tokenizer",
        config_keys=BERT_KEYS
        | {"vocab_size": ("vocab_size", vocab_size), "pad_token_id": ("pad_token_id", 1)},
        prefix="roberta.",
        names=BERT_NAMES,
        head=TWO_STEP_HEAD,
        features=partial(dense_features, "tanh"),
        ignored=(*BUFFERS, "lm_head.*", "roberta.pooler.*"),
        head_drops_input=True,
        encoder=read_encoder_counted_from_padding,
    )


ROBERTA = _roberta("roberta", "Roberta", vocab_size=50265)
XLM_ROBERTA = _roberta("xlm-roberta", "XLMRoberta")
CAMEMBERT = _roberta("camembert", "Camembert")

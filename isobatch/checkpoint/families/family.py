"""Family: one architecture of Hugging Face as data, and the tables that several families share."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Family:
    """All that distinguishes one architecture from the others.

    model_type: its name in config.json.
    class_prefix: the first part of the names of its classes in transformers.
    tokenizer_class: of transformers, for a checkpoint that names none.
    config_keys: a field of EncoderConfig or Dropouts → its key in config.json and the default.
    fixed: fields that have no key, because the architecture fixes them.
    prefix: of its encoder's tensors.
    names: our tensor prefix → its own, without the encoder's prefix; `{i}` is the layer. Ours are
    the module names of `isobatch.model`, the same for all families.
    head: the same for the classification head.
    ignored: patterns of tensors that its files may contain for other tasks.
    head_drops_input: training has a dropout before the head, too.
    positions_from_padding: positions are counted from pad_token_id + 1 on.
    takes_token_types: its forward in transformers takes token_type_ids that distinguish a pair.
    """

    model_type: str
    class_prefix: str
    tokenizer_class: str
    config_keys: Mapping[str, tuple[str, object]]
    prefix: str
    names: Mapping[str, str]
    head: Mapping[str, str]
    head_activation: str
    ignored: tuple[str, ...]
    fixed: Mapping[str, object] = field(default_factory=dict)
    head_drops_input: bool = False
    positions_from_padding: bool = False
    takes_token_types: bool = False


BUFFERS = ("*embeddings.position_ids", "*embeddings.token_type_ids")

EMBEDDINGS = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
}

TWO_STEP_HEAD = {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"}

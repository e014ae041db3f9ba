"""Family: one architecture of Hugging Face as data, and what several families share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from isobatch.checkpoint.encoder_config import EncoderConfig
from isobatch.checkpoint.families.config_values import ConfigValues
from isobatch.checkpoint.families.standard_layers import read_standard_encoder
from isobatch.specification import HeadStep, LinearStep, Pool


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A part of a fused tensor: of its rows, split evenly into `of`, those of number `index`."""

    name: str
    index: int
    of: int


Names = Mapping[str, str | TensorPart]
"""Our tensor prefix → that of a file, or a part of it; `{i}` is the layer."""


Keys = Mapping[str, tuple[str, object]]
"""Our name of a setting → its key in config.json, and what a file without it means."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """Other names of a family's tensors, as in Family."""

    prefix: str
    names: Names


def dense_features(activation: str, values: ConfigValues) -> tuple[HeadStep, ...]:
    """Return one layer before the output of a head, as wide as the model."""
    size = values.integer("hidden_size")
    return (LinearStep("dense", size, size, activation),)


def no_features(values: ConfigValues) -> tuple[HeadStep, ...]:
    """Return nothing before the output of a head."""
    return ()


def first_row(values: ConfigValues) -> Pool:
    """Return the pool of heads that read the first token."""
    return "first"


def last_row(values: ConfigValues) -> Pool:
    """Pool the last row: of heads that read the last token."""
    return "last"


def count_layers(values: ConfigValues, kept: Sequence[int]) -> Mapping[str, object]:
    """Return the keys of config.json that say that there are the layers `kept` only."""
    return values.spelled({values.key("num_layers"): len(kept)})


@dataclass(frozen=True, slots=True)
class Family:
    """All that distinguishes one architecture from the others.

    model_type: its name in config.json.
    class_prefix: the first part of the names of its classes in transformers.
    tokenizer_class: of transformers, for a checkpoint that names none.
    config_keys: of the fields of EncoderConfig, and of Dropouts with "dropout." before them.
    prefix: of its encoder's tensors.
    names: our tensor prefix → its own, without the encoder's prefix. Ours are the module names of
    `isobatch.model`, the same for all families.
    head: the same for the classification head, with the prefix where it has one; token_head: for
    that of tokens.
    ignored: patterns of tensors that its files may contain for other tasks.
    fixed: fields that have no key, because the architecture fixes them.
    old_keys: keys of older config.json files → the present ones.
    only: keys of which these values alone are implemented; the first is what a file without has.
    spellings: other names of its tensors in files. modules: the names of its modules in
    transformers, where its files have others.
    encoder: reads its encoder. features, token_features: the steps before the output of its heads.
    pool: of its classification head. change_depth: of config.json, for some of its layers.
    pretrained_head: names in `head` that its pre-trained encoder has, too.
    has_pooler: its encoder in transformers, alone, has a pooler. pooler: the name of its linear.
    has_output_bias: the last linear of its classification head has one.
    head_drops_input: training has a dropout before the head, too.
    takes_token_types: its forward in transformers takes token_type_ids that distinguish a pair.
    """

    model_type: str
    class_prefix: str
    tokenizer_class: str
    config_keys: Keys
    prefix: str
    names: Names
    head: Mapping[str, str]
    ignored: tuple[str, ...]
    features: Callable[[ConfigValues], tuple[HeadStep, ...]]
    token_head: Mapping[str, str] = field(default_factory=lambda: {"head.output": "classifier"})
    token_features: Callable[[ConfigValues], tuple[HeadStep, ...]] = no_features
    fixed: Mapping[str, object] = field(default_factory=dict)
    old_keys: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    spellings: tuple[Spelling, ...] = ()
    modules: Spelling | None = None
    encoder: Callable[[ConfigValues], EncoderConfig] = read_standard_encoder
    pool: Callable[[ConfigValues], Pool] = first_row
    change_depth: Callable[[ConfigValues, Sequence[int]], Mapping[str, object]] = count_layers
    pretrained_head: tuple[str, ...] = ()
    has_pooler: bool = True
    has_output_bias: bool = True
    pooler: str = "pooler.dense"
    head_drops_input: bool = False
    takes_token_types: bool = False

    def values(self, raw: Mapping[str, object]) -> ConfigValues:
        """Read the content of a config.json by our names; raises as ConfigValues does."""
        return ConfigValues(raw, self.config_keys, self.fixed, self.old_keys)

    def spelled_as(self, stored: Sequence[str]) -> "Family":
        """Return the family with the names that the tensors `stored` have.

        Of the spellings it is the one of most names, its own where several have as many.
        """
        if not self.spellings:
            return self
        own = Spelling(self.prefix, self.names)
        return self._spelled(max((own, *self.spellings), key=lambda each: _count(each, stored)))

    @property
    def public(self) -> "Family":
        """The family with the names of transformers' modules, where its files have others."""
        return self if self.modules is None else self._spelled(self.modules)

    def without_head(self) -> "Family":
        """Return the family as an encoder, whose files may have any head."""
        own = {f"{name}.*" for name in (*self.head.values(), *self.token_head.values())}
        patterns = (*other_heads(self.prefix), *own, *(f"{self.prefix}{each}" for each in own))
        return replace(self, head={}, head_drops_input=False, ignored=(*self.ignored, *patterns))

    def _spelled(self, found: Spelling) -> "Family":
        head = {
            ours: found.prefix + name.removeprefix(self.prefix)
            if name.startswith(self.prefix)
            else name
            for ours, name in self.head.items()
        }
        return replace(self, prefix=found.prefix, names=found.names, head=head)


def _count(spelling: Spelling, stored: Sequence[str]) -> tuple[int, int]:
    """Count the names of a spelling in a file: without the prefix of the encoder, and with it."""
    named = [
        each.name if isinstance(each, TensorPart) else each for each in spelling.names.values()
    ]
    weights = [f"{each.format(i=0)}.weight" for each in named]
    plain = sum(any(f".{name}".endswith(f".{each}") for name in stored) for each in weights)
    return plain, sum(spelling.prefix + each in stored for each in weights)


BUFFERS = ("*embeddings.position_ids", "*embeddings.token_type_ids")

EMBEDDINGS = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
}

TWO_STEP_HEAD = {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"}


def other_heads(prefix: str) -> tuple[str, ...]:
    """Return patterns of the tensors of all heads, of an encoder whose tensors have this prefix."""
    return (*_HEADS, *(f"{prefix}{each}" for each in _HEADS))


_HEADS = (
    "classifier.*",
    "cls.*",
    "dropout.*",
    "discriminator_predictions.*",
    "generator_*",
    "lm_head.*",
    "pooler.*",
    "*.pooler.*",
    "pre_classifier.*",
    "qa_outputs.*",
    "score.*",
    "sequence_summary.*",
    "vocab_*",
)

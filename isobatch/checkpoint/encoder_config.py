"""EncoderConfig: the sizes and kinds of an encoder's parts, the same for all families."""

from dataclasses import dataclass

from isobatch.specification import BlockSpec, DistanceTable, NormSpec, PositionRule


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """An encoder: its tables, its layers, and the norms outside of them.

    embedding_size: of the tables, projected to hidden_size where that is another, or always.
    layers: equal ones are one object. max_tokens: the longest sequence. num_positions,
    type_vocab_size: rows of those tables, 0 without. embedding_norm, final_norm: after the
    embeddings and after the last layer, None without. word_scale: the factor of the rows of words.
    weights_of: the index of the block whose weights each layer uses, () where each has its own.
    distances: the table of distances that attention reads, None without. decoder_layers: of a
    decoder that reads the encoder's rows, () without. end_token: the id that begins the decoder's
    tokens, and whose last row the head reads.
    """

    vocab_size: int
    embedding_size: int
    hidden_size: int
    layers: tuple[BlockSpec, ...]
    max_tokens: int
    num_positions: int
    type_vocab_size: int
    pad_token_id: int | None
    positions: PositionRule = PositionRule()  # noqa: RUF009  # immutable
    embedding_norm: NormSpec | None = None
    final_norm: NormSpec | None = None
    word_scale: float = 1.0
    always_projects: bool = False
    weights_of: tuple[int, ...] = ()
    decoder_layers: tuple[BlockSpec, ...] = ()
    end_token: int | None = None
    distances: DistanceTable | None = None

    def __post_init__(self) -> None:
        """Make equal layers one object, so that kernels are selected once for all of them."""
        known: dict[BlockSpec, BlockSpec] = {}
        for name in ("layers", "decoder_layers"):
            layers = tuple(known.setdefault(layer, layer) for layer in getattr(self, name))
            object.__setattr__(self, name, layers)

    @property
    def end_position(self) -> int:
        """The number after the largest position of a token."""
        return self.max_tokens + self.positions.first

    @property
    def reads_distances(self) -> bool:
        """Whether attention depends on how far tokens are apart, counted in the packed sequence."""
        kinds = {layer.attention for layer in (*self.layers, *self.decoder_layers)}
        return any(each.rotary or each.window is not None or each.positions for each in kinds)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def blocks(self) -> tuple[BlockSpec, ...]:
        """The layers that have weights of their own."""
        if not self.weights_of:
            return self.layers
        first = {index: layer for layer, index in reversed([*enumerate(self.weights_of)])}
        return tuple(self.layers[first[index]] for index in range(len(first)))

"""The values that the lesson page shows; `web/lesson.d.ts` declares the same shapes.

Invariant: `asdict(LessonData)` holds only JSON types, so that a page drawn from a file and one
drawn from a server's response are the same.
"""

from dataclasses import dataclass

from isobatch.lesson import MaskCost
from isobatch.page.logit_comparison import LogitComparison

PadShares = tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """Attention of one row of the padded batch, in every layer and head.

    weights: base64 of little-endian uint16 in units of 1/65535: [layers, heads, real tokens of the
    row, columns of the batch]. leaks: share of each token's attention on padding, [layers, heads,
    real tokens]; head_leaks: their means, [layers, heads]; leak: the mean of all.
    """

    weights: str
    leaks: PadShares
    head_leaks: tuple[tuple[float, ...], ...]
    leak: float


@dataclass(frozen=True, slots=True)
class SentenceResult:
    """Logits of one sentence, computed in one way; `bits` are their bytes in hexadecimal."""

    way: str
    logits: tuple[float, ...]
    bits: tuple[str, ...]
    label: str
    score: float
    comparison: LogitComparison


@dataclass(frozen=True, slots=True)
class LessonSentence:
    """One row of the batch; `labels` name the logits shown, in the checkpoint's order."""

    text: str
    cut: bool
    tokens: tuple[str, ...]
    input_ids: tuple[int, ...]
    attention_mask: tuple[int, ...]
    num_tokens: int
    unmasked: AttentionWeights
    masked: AttentionWeights
    labels: tuple[str, ...]
    results: tuple[SentenceResult, ...]


@dataclass(frozen=True, slots=True)
class RandomBatch:
    """One batch: indices into `RandomBatches.neighbours`, and the row of the sentence."""

    neighbours: tuple[int, ...]
    row: int
    columns: int
    pads: int


@dataclass(frozen=True, slots=True)
class DifferenceSeries:
    """Differences from alone over all random batches, computed in one way.

    differences: of the logit that moved furthest in each batch; ulps: the same in units in the last
    place. num_moved and num_flipped count the batches in which any bit of any logit, and the label,
    changed.
    """

    way: str
    differences: tuple[float, ...]
    ulps: tuple[int, ...]
    num_moved: int
    num_flipped: int
    largest: float


@dataclass(frozen=True, slots=True)
class RandomBatches:
    """One sentence (by index) batched with random neighbours."""

    sentence: int
    neighbours: tuple[str, ...]
    batches: tuple[RandomBatch, ...]
    series: tuple[DifferenceSeries, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model, and the versions and instruction set that the bits depend on."""

    checkpoint: str
    family: str
    labels: tuple[str, ...]
    num_layers: int
    num_heads: int
    pad_token: str
    versions: str
    instruction_set: str


@dataclass(frozen=True, slots=True)
class LessonLimits:
    """Limits of the page; `left_out` counts the sentences beyond `max_sentences`."""

    max_sentences: int
    max_tokens: int
    max_characters: int
    left_out: int


@dataclass(frozen=True, slots=True)
class LessonData:
    """Everything on the page; `random_batches` and `cost` are None where not requested."""

    model: ModelInfo
    limits: LessonLimits
    sentences: tuple[LessonSentence, ...]
    random_batches: RandomBatches | None
    cost: MaskCost | None = None

"""The catalogue of faults: for each name, what it is, where it comes from, and what cures it.

It knows no probe. Invariant: a fault that explains others leaves them out of the report, so that
one mistake is one finding.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault; `explains` are faults that come with it of necessity."""

    name: str
    title: str
    cause: str
    cure: str
    explains: frozenset[str] = frozenset()


_ROWS_MIX = frozenset({"rows-mixed", "requests-mixed", "padding-counts", "pad-amount-counts"})
_BY_PADS = frozenset({"padding-counts", "pad-amount-counts", "requests-mixed", "half-precision"})
_CONTENT = _BY_PADS | {"pads-leak"}

_CATALOGUE = (
    Fault(
        "order-not-restored",
        "Answers come back in another order than the texts",
        "the texts are sorted, or gathered from workers, and the answers are not put back",
        "keep the order that the texts were sorted by, and put the answers back by its inverse",
        _ROWS_MIX
        | {
            "rounding",
            "batch-statistics",
            "tensor-wide-scales",
            "mask-off-by-one",
            "texts-confused",
        },
    ),
    Fault(
        "not-repeatable",
        "The same batch is answered differently when it is asked again",
        "dropout is left on (the model is in training mode), or a kernel adds up in no fixed order",
        "call model.eval() after loading; on GPUs also torch.use_deterministic_algorithms(True)",
        _ROWS_MIX
        | _CONTENT
        | {
            "rounding",
            "batch-statistics",
            "tensor-wide-scales",
            "mask-off-by-one",
            "last-column-read",
            "first-column-read",
            "texts-confused",
            "pads-pooled",
            "left-padding-shifts-positions",
            "padding-id-positions",
        },
    ),
    Fault(
        "batch-fails",
        "A batch is refused although each of its texts is answered alone",
        "texts cannot be padded to one length: no padding token, or a part that takes one row",
        "give the tokenizer a padding token, and the model its id (config.pad_token_id)",
    ),
    Fault(
        "answers-lost",
        "A batch has more or fewer answers than texts",
        "equal texts are answered once, texts are left out, or an axis of length 1 is squeezed",
        "give one answer for each text, in the order of the texts",
    ),
    Fault(
        "texts-confused",
        "A text gets the answer of another text of its batch that begins or ends as it does",
        "a cache, or what leaves out equal texts, takes a part of the text for its key",
        "make the key of the whole text, unchanged, and of every option that the answer depends on",
    ),
    Fault(
        "batch-statistics",
        "A text's answer depends on what the other texts say: statistics of the whole batch",
        "a layer normalises over the batch: batch norm in training mode, or a norm over rows",
        "call model.eval(), and normalise each text by itself (layer norm)",
        _ROWS_MIX | _CONTENT | {"tensor-wide-scales", "last-column-read", "pads-pooled"},
    ),
    Fault(
        "tensor-wide-scales",
        "A text's answer depends on the largest activation in its batch: one scale for all rows",
        "dynamic int8 with one activation scale for a whole tensor: a neighbour's outlier, or a "
        "pad's, coarsens everybody's rounding",
        "quantise activations with a scale for each token (Isobatch's int8), or with static scales",
        _ROWS_MIX | _CONTENT | {"last-column-read", "pads-pooled"},
    ),
    Fault(
        "rows-mixed",
        "A text's answer depends on what the other texts of its batch say",
        "something is computed over the rows of a batch: a norm, a scale, or a wrong reshape",
        "look for a reduction, view or transpose that includes the batch dimension",
        frozenset({"requests-mixed", "padding-counts"}),
    ),
    Fault(
        "requests-mixed",
        "A text's answer depends on the requests that are under way beside it",
        "the server computes requests together, and what it pads or scales them to shows",
        "audit the model itself (transformers:… or onnx:…) to see which part it is",
    ),
    Fault(
        "mask-dropped",
        "The attention mask is ignored: pads are read like text",
        "the mask is not passed on to the attention, or the architecture has none (FNet)",
        "pass the tokenizer's whole output, model(**inputs); where the architecture has no mask, "
        "ask texts of equal length together, or one at a time",
        _CONTENT
        | {"pads-pooled", "last-column-read", "first-column-read", "left-padding-shifts-positions"},
    ),
    Fault(
        "mask-inverted",
        "The attention mask is inverted: pads are read, and text is not",
        "1 and 0 changed places: 1 means that a token is read, but some layers "
        "(torch.nn.MultiheadAttention) take True for what is NOT to be read",
        "invert the mask once, where the layer that wants it so is called",
        _CONTENT | {"mask-off-by-one", "pads-pooled", "last-column-read"},
    ),
    Fault(
        "mask-off-by-one",
        "The attention mask is off by one: a pad is read, or the last token is not",
        "the mask is made from lengths that count one special token too many or too few, or it is "
        "shifted by one column",
        "use the attention_mask that the tokenizer returns",
        _CONTENT,
    ),
    Fault(
        "last-column-read",
        "The head reads the last column, which is a pad in every text but the longest",
        "hidden[:, -1] in the place of the last token that is not a pad",
        "read hidden[row, attention_mask[row].sum() - 1], or pad on the left with position_ids",
        _CONTENT,
    ),
    Fault(
        "first-column-read",
        "The head reads the first column, which is a pad in every text but the longest",
        "the tokenizer pads on the left, and the head reads the first token ([CLS]) in column 0",
        'pad on the right, where the model was trained so: tokenizer.padding_side = "right"',
        _CONTENT | {"left-padding-shifts-positions"},
    ),
    Fault(
        "pads-pooled",
        "The head takes the mean (or the maximum) over pads too",
        "hidden.mean(dim=1) without the mask; the pads' hidden states are not zero",
        "weigh with the mask: (hidden * mask).sum(1) / mask.sum(1)",
        _CONTENT,
    ),
    Fault(
        "pads-leak",
        "Pads reach the answer although the mask is used",
        "a part beside attention does not know the mask: a convolution, landmarks, a Fourier "
        "transform, a pooling of the sequence or of the head",
        "multiply the hidden states by the mask before that part; or ask texts of equal length "
        "together, or one at a time",
        _BY_PADS,
    ),
    Fault(
        "pad-amount-counts",
        "The number of pads enters the answer, though not what stands in them",
        "something is divided by the number of columns, or cut into parts by it",
        "count the tokens of the mask, not the columns of the tensor",
        frozenset({"padding-counts", "requests-mixed"}),
    ),
    Fault(
        "left-padding-shifts-positions",
        "Padding on the left shifts the positions of the text",
        "positions count columns from 0, so that every pad in front moves the text by one",
        "pad on the right, or pass position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)",
        frozenset({"padding-counts", "pad-amount-counts", "requests-mixed"}),
    ),
    Fault(
        "padding-id-positions",
        "Positions are counted by the padding id, and a token that is no pad has it",
        "positions come from input_ids != padding_idx, and the model's padding_idx is not the id "
        "that only the tokenizer's pads have",
        "set config.pad_token_id to the tokenizer's, or pass position_ids made from the mask",
    ),
    Fault(
        "pad-id-in-text",
        "The padding id occurs in texts, and is taken for padding there",
        "the padding token is also an ordinary or closing token (pad_token = eos_token), and the "
        "model finds the end of the text by input_ids != pad_token_id",
        "give the tokenizer a padding token of its own, and the model its id",
    ),
    Fault(
        "padding-counts",
        "A text's answer depends on how long the other texts of its batch are",
        "pads are read: the attention mask is forgotten or wrong, pads are pooled, or padding on "
        "the left shifts the positions; or a batch is cut to its shortest text",
        "pass the attention_mask; audit the model itself (transformers:… or onnx:…) to see which "
        "part it is",
        frozenset({"requests-mixed"}),
    ),
    Fault(
        "half-precision",
        "In half precision a row without a token breaks its neighbours",
        "a mask of the lowest number overflows, and NaN spreads over the batch",
        "add the mask in float32, or use boolean masks",
    ),
    Fault(
        "not-finite",
        "A text is answered with NaN or infinity, alone as in a batch",
        "numbers overflow, as in float16; or a softmax or mean over no token at all",
        "compute in float32 or bfloat16; see which layer is the first to give no finite number",
        frozenset({"empty-texts-break"}),
    ),
    Fault(
        "empty-texts-break",
        "An empty or one-token text is answered with NaN, or breaks the batch",
        "a softmax or mean over no token at all",
        "refuse empty texts, or keep the special tokens that give them a length",
    ),
    Fault(
        "rounding",
        "The last digits move with the shape of the batch",
        "kernels are chosen by the shape of a batch, and add up in another order",
        "for answers that are the same bits in every batch, run the checkpoint with Isobatch; else "
        "keep thresholds and caches apart from the last digits",
    ),
)

FAULTS = {fault.name: fault for fault in _CATALOGUE}
"""All of them by name, those that explain most first."""

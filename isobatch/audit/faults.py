"""The catalogue of faults: titles, likely causes, fixes, and the faults that each explains."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditFault:
    """One kind of fault.

    explains: faults that necessarily come with it, except those that these explain in turn.
    names_nan: outputs of NaN are a sign of this fault, and not of `not-finite`.
    """

    name: str
    title: str
    cause: str
    fix: str
    explains: tuple[str, ...] = ()
    names_nan: bool = False


_CATALOGUE = (
    AuditFault(
        "too-few-positions",
        "A text has more tokens than the model has positions, and the tokenizer does not truncate",
        "model_max_length is missing in tokenizer_config.json, or larger than the positions",
        "write the model's number of positions as model_max_length into tokenizer_config.json",
    ),
    AuditFault(
        "ids-beyond-table",
        "The tokenizer makes ids for which the model has no embedding",
        "tokens were added to the tokenizer alone, or the tokenizer is another checkpoint's",
        "use the checkpoint's own tokenizer, or call model.resize_token_embeddings(len(tokenizer)) "
        "and train the new rows",
    ),
    AuditFault(
        "pad-id-beyond-table",
        "The padding token has an id for which the model has no embedding",
        "a padding token was added to the tokenizer alone",
        "name a token of the model's vocabulary as pad_token in tokenizer_config.json, or call "
        "model.resize_token_embeddings(len(tokenizer))",
    ),
    AuditFault(
        "text-fails",
        "A text fails both alone and in a batch",
        "the system does not accept the text: its length, its characters, or that it is empty",
        "see the system's error in the probe's result; reject such texts on input, or handle them",
    ),
    AuditFault(
        "order-not-restored",
        "Results come back in a different order than the texts",
        "the texts are sorted, or gathered from workers, and the results are not put back in order",
        "keep the permutation that the texts were sorted by, and apply its inverse to the results",
        ("batch-statistics", "mask-off-by-one", "texts-confused", "rounding"),
    ),
    AuditFault(
        "not-repeatable",
        "The same batch gives different results when it is computed again",
        "dropout is left on (the model is in training mode), or a kernel sums in no fixed order",
        "call model.eval() after loading; on GPUs also torch.use_deterministic_algorithms(True)",
        (
            "batch-statistics",
            "mask-off-by-one",
            "first-column-read",
            "padding-id-positions",
            "texts-confused",
            "rounding",
        ),
    ),
    AuditFault(
        "batch-fails",
        "A batch is refused although each of its texts is accepted alone",
        "texts cannot be padded to one length: no padding token, or a part that takes one row",
        "give the tokenizer a padding token, and the model its id (config.pad_token_id)",
    ),
    AuditFault(
        "answers-lost",
        "A batch has more or fewer results than texts",
        "equal texts are deduplicated, texts are dropped, or an axis of length 1 is squeezed",
        "return one result for each text, in the order of the texts",
    ),
    AuditFault(
        "texts-confused",
        "A text gets the result of another text of its batch that begins or ends as it does",
        "a cache, or a deduplication of texts, uses only a part of the text as its key",
        "use the whole, unchanged text and every option that the result depends on as the key",
    ),
    AuditFault(
        "batch-statistics",
        "A text's result depends on what the other texts say: statistics of the whole batch",
        "a layer normalizes over the batch: batch norm in training mode, or a norm over rows",
        "call model.eval(), and normalize each text by itself (layer norm)",
        ("tensor-wide-scales",),
    ),
    AuditFault(
        "tensor-wide-scales",
        "A text's result depends on the largest activation in its batch: one scale for all rows",
        "dynamic int8 with one activation scale for a whole tensor: an outlier in another text, or "
        "in a pad, coarsens the rounding of all rows",
        "quantize activations with a scale for each token (Isobatch's int8), or with static scales",
        ("rows-mixed", "last-column-read", "pads-pooled"),
    ),
    AuditFault(
        "rows-mixed",
        "A text's result depends on what the other texts of its batch say",
        "something is computed over the rows of a batch: a norm, a scale, or a wrong reshape",
        "look for a reduction, view or transpose that includes the batch dimension",
        ("padding-counts",),
    ),
    AuditFault(
        "requests-mixed",
        "A text's result depends on concurrent requests",
        "the server computes requests together, and the shared padding or scale changes results",
        "audit the model itself (transformers:… or onnx:…) to see which part it is",
    ),
    AuditFault(
        "mask-dropped",
        "The attention mask is ignored: pads are read like text",
        "the mask is not passed on to the attention, or the architecture has none (FNet)",
        "pass the tokenizer's whole output, model(**inputs); where the architecture has no mask, "
        "batch texts of equal length together, or send one at a time",
        ("pads-pooled", "last-column-read", "first-column-read"),
    ),
    AuditFault(
        "mask-inverted",
        "The attention mask is inverted: pads are read, and text is not",
        "1 and 0 are swapped: 1 means that a token is read, but some layers "
        "(torch.nn.MultiheadAttention) take True for positions that are NOT to be read",
        "invert the mask once, where the layer that expects it inverted is called",
        ("mask-off-by-one", "pads-pooled", "last-column-read"),
    ),
    AuditFault(
        "mask-off-by-one",
        "The attention mask is off by one: a pad is read, or the last token is not",
        "the mask is made from lengths that count one special token too many or too few, or it is "
        "shifted by one column",
        "use the attention_mask that the tokenizer returns",
        ("pads-leak",),
    ),
    AuditFault(
        "last-column-read",
        "The head reads the last column, which is a pad in every text but the longest",
        "hidden[:, -1] is read instead of the last token that is not a pad",
        "read hidden[row, attention_mask[row].sum() - 1], or pad on the left with position_ids",
        ("pads-leak",),
    ),
    AuditFault(
        "first-column-read",
        "The head reads the first column, which is a pad in every text but the longest",
        "the tokenizer pads on the left, and the head reads the first token ([CLS]) in column 0",
        'pad on the right, if the model was trained that way: tokenizer.padding_side = "right"',
        ("pads-leak", "left-padding-shifts-positions"),
    ),
    AuditFault(
        "pads-pooled",
        "The head takes the mean (or the maximum) over pads too",
        "hidden.mean(dim=1) without the mask; the pads' hidden states are not zero",
        "weight by the mask: (hidden * mask).sum(1) / mask.sum(1)",
        ("pads-leak",),
    ),
    AuditFault(
        "pads-leak",
        "Pads reach the result although the mask is used",
        "a part other than attention does not use the mask: a convolution, landmarks, a Fourier "
        "transform, a pooling of the sequence or of the head",
        "multiply the hidden states by the mask before that part; or batch texts of equal length "
        "together, or send one at a time",
        ("pad-amount-counts", "half-precision"),
    ),
    AuditFault(
        "pad-amount-counts",
        "The number of pads enters the result, though their content does not",
        "something is divided by the number of columns, or cut into parts by it",
        "count the tokens of the mask, not the columns of the tensor",
        ("padding-counts",),
    ),
    AuditFault(
        "left-padding-shifts-positions",
        "Padding on the left shifts the positions of the text",
        "positions count columns from 0, so every pad in front moves the text by one",
        "pad on the right, or pass position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)",
        ("pad-amount-counts",),
    ),
    AuditFault(
        "padding-id-positions",
        "Positions are counted by the padding id, and an ordinary token has that id",
        "positions come from input_ids != padding_idx, and the model's padding_idx is not the id "
        "that only the tokenizer's pads have",
        "set config.pad_token_id to the tokenizer's, or pass position_ids made from the mask",
    ),
    AuditFault(
        "pad-id-in-text",
        "The padding id occurs in texts, and is treated as padding there",
        "the padding token is also an ordinary or closing token (pad_token = eos_token), and the "
        "model finds the end of the text by input_ids != pad_token_id",
        "give the tokenizer a padding token of its own, and the model its id",
    ),
    AuditFault(
        "offsets-shifted",
        "A text's results belong to different tokens, or different characters, of the text",
        "the tokenizer pads on the left, and columns are counted from 0: the first columns of a "
        "row are taken for the text, or offsets are looked up by column",
        "take the columns where attention_mask is 1, or pad on the right",
        ("padding-counts", "pad-amount-counts"),
    ),
    AuditFault(
        "pads-returned",
        "A text has results for pads too, as many as the longest text of its batch has tokens",
        "the rows of pads are returned as if they were tokens of the text",
        "return the rows where attention_mask is 1",
        ("padding-counts", "pad-amount-counts", "offsets-shifted"),
    ),
    AuditFault(
        "padding-counts",
        "A text's result depends on how long the other texts of its batch are",
        "pads are read: the attention mask is forgotten or wrong, pads are pooled, or padding on "
        "the left shifts the positions; or a batch is cut to its shortest text",
        "pass the attention_mask; audit the model itself (transformers:… or onnx:…) to see which "
        "part it is",
        ("requests-mixed",),
    ),
    AuditFault(
        "half-precision",
        "In half precision a row without a token breaks the other rows of its batch",
        "a mask of the lowest number overflows, and NaN spreads over the batch",
        "add the mask in float32, or use boolean masks",
    ),
    AuditFault(
        "not-finite",
        "A text results in NaN or infinity, both alone and in a batch",
        "numbers overflow, as in float16; or a softmax or mean over zero tokens",
        "compute in float32 or bfloat16; find the first layer whose output is not finite",
        ("empty-texts-break",),
    ),
    AuditFault(
        "empty-texts-break",
        "An empty or one-token text results in NaN, or breaks the batch",
        "a softmax or mean over zero tokens",
        "refuse empty texts, or keep the special tokens that give them a length",
        names_nan=True,
    ),
    AuditFault(
        "rounding",
        "The last digits move with the shape of the batch",
        "kernels are selected by the shape of a batch, and sum in another order",
        "for results with the same bits in every batch, run the checkpoint with Isobatch; "
        "otherwise do not let thresholds and caches depend on the last digits",
    ),
)

FAULTS = {fault.name: fault for fault in _CATALOGUE}
"""All of them by name, in the order in which a report lists them."""


def explained_by(name: str) -> frozenset[str]:
    """Return every fault that the fault `name` explains, directly or through others."""
    direct = FAULTS[name].explains
    return frozenset(direct).union(*map(explained_by, direct))

"""A model of SentencePiece as a tokenizer of the library `tokenizers`, with the same ids.

Its normalization, white space, pieces and byte fallback are all read from the model file.
Invariant: a tokenizer is returned only if sample texts have the pieces that SentencePiece gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from isobatch.errors import CheckpointError
from isobatch.extras import needs_extra

EXTRA = "sentencepiece"
META = "▁"
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 2, 3, 4, 5
_NEVER = -1e9
"""The score of a piece that SentencePiece never makes of a text."""

_SAMPLE = (
    "",
    " ",
    "a",
    "It was 3.14 % of 2,718: 'never again'!",
    "  leading and  double  spaces ",
    "tab\there\nnewline and\u2028more",
    "ＡＢＣ ﬁ ½ ① ㌔ ﷺ Å",
    "😀😀 👩\u200d👩\u200d👧 🇩🇪 👍🏽",
    "今日は良い天気 한국어 ไทย עברית العربية हिन्दी",
    "e\u0301 Ж ω ÿ \u200bzero\u00a0width\ufeff a\u00adb a\x01c",
    "A" * 40,
)
"""Without what `tokenizers` is known to normalize otherwise: several combining marks on a letter,
decomposed Hangul, half-width kana with marks, and "\\r\\n" where white space is kept."""


@dataclass(frozen=True, slots=True)
class PieceModel:
    """A model file. pieces: (piece, score, kind) by id; `proto` has all of it."""

    path: Path
    proto: Any
    processor: Any

    @property
    def pieces(self) -> list[tuple[str, float]]:
        """Return the pieces with their scores, by id; those that no text has are never chosen."""
        return [
            (each.piece, _NEVER if each.type in (_CONTROL, _UNUSED) else each.score)
            for each in self.proto.pieces
        ]

    @property
    def unknown(self) -> str:
        return str(self.proto.pieces[self.proto.trainer_spec.unk_id].piece)


def read_model(path: Path) -> PieceModel:
    """Read a model file. OptionError without the libraries, CheckpointError for another file."""
    with needs_extra(EXTRA, f"{path.name} is a model of SentencePiece"):
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    messages: Any = sentencepiece_model_pb2
    proto = messages.ModelProto()
    try:
        data = path.read_bytes()
        proto.ParseFromString(data)
        processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    except Exception as error:  # DecodeError and RuntimeError, of two libraries
        raise CheckpointError(
            f"{path}: is not a SentencePiece model ({error}). Copy or download it again"
        ) from error
    kind = proto.trainer_spec.model_type
    if kind not in (1, 2) or proto.trainer_spec.treat_whitespace_as_suffix:
        raise CheckpointError(
            f"{path}: is a model of kind {kind} of SentencePiece, or marks the ends of words; "
            "only Unigram (1) and BPE (2) models that mark the beginnings of words are supported"
        )
    return PieceModel(path, proto, processor)


def build_tokenizer(
    model: PieceModel, vocab: Sequence[tuple[str, float]] | None = None, unk_id: int | None = None
) -> Tokenizer:
    """Build the tokenizer without special tokens, and check it against SentencePiece.

    vocab, unk_id: pieces in another order than the model's, as some classes of transformers have
    them; their scores are the model's. Raises CheckpointError for a sample that differs.
    """
    listed = model.pieces if vocab is None else list(vocab)
    unk_id = model.proto.trainer_spec.unk_id if unk_id is None else unk_id
    tokenizer = Tokenizer(_model(model, listed, unk_id))
    tokenizer.normalizer = normalizers.Sequence(_normalizers(model.proto.normalizer_spec))
    if not any(META in piece[1:] for piece, _ in listed):  # else a piece has several words
        splits = pre_tokenizers.Metaspace(replacement=META, prepend_scheme="never", split=True)
        tokenizer.pre_tokenizer = splits
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_tokens(
        [
            AddedToken(each.piece, normalized=False, special=False)
            for each in model.proto.pieces
            if each.type == _USER_DEFINED
        ]
    )
    _check(model, tokenizer)
    return tokenizer


def _model(model: PieceModel, vocab: list[tuple[str, float]], unk_id: int) -> Any:
    falls_back = model.proto.trainer_spec.byte_fallback
    if model.proto.trainer_spec.model_type == 1:
        return models.Unigram(vocab, unk_id=unk_id, byte_fallback=falls_back)
    ids = {piece: index for index, (piece, _) in enumerate(vocab)}
    return models.BPE(
        ids,
        _merges({piece: score for piece, score in vocab if score > _NEVER}),
        unk_token=vocab[unk_id][0],
        fuse_unk=True,
        byte_fallback=falls_back,
    )


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Return the merges in their order: the pair whose piece has the best score is merged first."""
    found = [
        (score, piece[:cut], piece[cut:])
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    found.sort(key=lambda each: -each[0])  # stable: equal ones keep the order of their ids
    return [(left, right) for _, left, right in found]


def _normalizers(spec: Any) -> list[Any]:
    parts: list[Any] = []
    if spec.precompiled_charsmap:
        parts.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        parts.append(normalizers.Replace(Regex("^ +| +$"), ""))
        parts.append(normalizers.Replace(Regex(" {2,}"), " "))
    if spec.add_dummy_prefix:
        parts.append(normalizers.Prepend(META))
    return [*parts, normalizers.Replace(" ", META)]


def _check(model: PieceModel, tokenizer: Tokenizer) -> None:
    """Raise CheckpointError for a sample text with other pieces than SentencePiece gives it."""
    for text in _SAMPLE:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        found = [tokenizer.id_to_token(each) for each in ids]
        expected = [model.processor.id_to_piece(each) for each in model.processor.encode(text)]
        if found != expected:
            raise CheckpointError(
                f"{model.path}: cannot be converted exactly: {text!r} becomes {found[:12]}, and "
                f"{expected[:12]} by SentencePiece. Use tokenizer.json of the model that it was "
                "trained from"
            )

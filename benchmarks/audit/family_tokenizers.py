"""Each family's own tokenizer around a tiny vocabulary, with its special tokens, pad id and side.

Where a family's class is unavailable, the function's docstring names the substitute. Invariant: the
special tokens are in the order of the families' published vocabularies.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers.normalizers import BertNormalizer

from benchmarks.audit.vocabularies import (
    SYMBOLS,
    byte_pairs,
    sentence_pairs,
    unigrams,
    word_pieces,
)

# Few of its constructors are typed, and those too narrowly: merges are pairs, not strings.
_transformers: Any = transformers

LIMIT = 512
"""model_max_length of the tokenizers that have one."""

_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>")
_DEBERTA = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
_MODERNBERT = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")


def bert() -> Any:
    """BERT, DistilBERT, ELECTRA, ConvBERT: pad id 0."""
    return _transformers.BertTokenizer(vocab=word_pieces(_BERT), model_max_length=LIMIT)


def roformer() -> Any:
    """BERT's WordPiece: RoFormer's own class needs rjieba, an extra library."""
    vocab = word_pieces(_BERT)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = _cls_and_sep(vocab)
    return _plain(tokenizer)


def funnel() -> Any:
    """WordPiece; <cls> has a token type of its own, 2."""
    first = ("<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>")
    return _transformers.FunnelTokenizer(vocab=word_pieces(first), model_max_length=LIMIT)


def mpnet() -> Any:
    """WordPiece with RoBERTa's special tokens: pad id 1."""
    vocab = word_pieces((*_ROBERTA, "[UNK]"), ("<mask>",))
    return _transformers.MPNetTokenizer(vocab=vocab, model_max_length=LIMIT)


def roberta() -> Any:
    """RoBERTa, Longformer, BART: byte-level BPE, pad id 1."""
    pairs = byte_pairs(_ROBERTA, ("<mask>",))
    return _transformers.RobertaTokenizer(
        vocab=pairs.vocab, merges=pairs.merges, model_max_length=LIMIT
    )


def deberta() -> Any:
    """Byte-level BPE with BERT's names: pad id 0."""
    pairs = byte_pairs(_DEBERTA, ("[MASK]",))
    return _transformers.DebertaTokenizer(
        vocab=pairs.vocab, merges=pairs.merges, model_max_length=LIMIT
    )


def modernbert() -> Any:
    """Byte-level BPE; the special tokens, the pad included, have the last ids.

    The family has no tokenizer class: its checkpoints name PreTrainedTokenizerFast.
    """
    pairs = byte_pairs((), _MODERNBERT)
    tokenizer = Tokenizer(models.BPE(pairs.vocab, pairs.merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = _cls_and_sep(pairs.vocab)
    return _plain(tokenizer)


def gpt2() -> Any:
    """Byte-level BPE without a pad token: <|endoftext|> is begin, end and unknown, the last id."""
    pairs = byte_pairs((), ("<|endoftext|>",))
    return _transformers.GPT2Tokenizer(
        vocab=pairs.vocab, merges=pairs.merges, model_max_length=LIMIT
    )


def llama() -> Any:
    """SentencePiece BPE with <s> in front, without a pad token; the class pads on the left."""
    pairs = sentence_pairs(("<unk>", "<s>", "</s>"))
    return _transformers.LlamaTokenizer(vocab=pairs.vocab, merges=pairs.merges, add_bos_token=True)


def albert() -> Any:
    """ALBERT, YOSO, Nystromformer: Unigram, pad id 0."""
    first = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    return _transformers.AlbertTokenizer(vocab=unigrams(first), model_max_length=LIMIT)


def fnet() -> Any:
    """Unigram, pad id 3; returns token types but no attention mask."""
    first = ("<s>", "<unk>", "</s>", "<pad>", "[CLS]", "[SEP]", "[MASK]")
    return _transformers.FNetTokenizer(vocab=unigrams(first), model_max_length=LIMIT)


def big_bird() -> Any:
    """Unigram, pad id 0."""
    first = ("<pad>", "</s>", "<s>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    return _transformers.BigBirdTokenizer(vocab=unigrams(first), model_max_length=LIMIT)


def xlnet() -> Any:
    """Unigram, pad id 5; <sep> and <cls> at the end, padding on the left."""
    first = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
    return _transformers.XLNetTokenizer(vocab=unigrams(first))


def xlm_roberta() -> Any:
    """Unigram with RoBERTa's special tokens: pad id 1."""
    vocab = unigrams(_ROBERTA, ("<mask>",))
    return _transformers.XLMRobertaTokenizer(vocab=vocab, model_max_length=LIMIT)


def deberta_v2() -> Any:
    """Unigram with BERT's names: pad id 0."""
    vocab = unigrams(_DEBERTA, ("[MASK]",))
    return _transformers.DebertaV2Tokenizer(vocab=vocab, model_max_length=LIMIT)


def t5() -> Any:
    """Unigram, pad id 0, </s> at the end; without the sentinels of pretraining."""
    vocab = unigrams(("<pad>", "</s>", "<unk>"))
    return _transformers.T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=LIMIT)


def canine() -> Any:
    """Characters as code points, pad id 0, without a vocabulary."""
    return _transformers.CanineTokenizer(model_max_length=LIMIT)


def esm() -> Any:
    """Letters, pad id 1; lower-case ones too, so that ordinary text is not all <unk>."""
    tokens = ("<cls>", "<pad>", "<eos>", "<unk>", *SYMBOLS, "<mask>")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(tokens), encoding="utf-8")
        return _transformers.EsmTokenizer(vocab_file=str(path), model_max_length=LIMIT)


def _plain(tokenizer: Tokenizer) -> Any:
    """Wrap in transformers' generic class, with BERT's special tokens."""
    names = ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token")
    return _transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LIMIT,
        **dict(zip(names, _MODERNBERT, strict=True)),
    )


def _cls_and_sep(vocab: dict[str, int]) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )

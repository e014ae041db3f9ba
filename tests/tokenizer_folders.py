"""Folders with a tiny tokenizer, as on the hub: WordPiece, byte-level BPE and Unigram.

Each function writes the tokenizer's files and, where it is missing, the smallest config.json that
transformers' AutoTokenizer accepts. `options` are added to tokenizer_config.json.
"""

import json
import re
import string
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.implementations import BertWordPieceTokenizer, ByteLevelBPETokenizer
from tokenizers.processors import RobertaProcessing

SENTENCES = (
    "Today is a nice day!",
    "But what about tomorrow? Im not sure.",
    "A gripping film, with a cast that is better than its plot.",
    "Café naïve: l'été n'est pas fini — 今日 は good 😀",
    "It doesn't work, and they've said: 'never again'; 3.14 % of 2,718.",
)
"""Training texts of the tiny tokenizers; tests use other texts too."""

_CLASSES = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "mpnet": "MPNetTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
    "llama": "LlamaTokenizer",
    "modernbert": "PreTrainedTokenizerFast",
    "gte": "XLMRobertaTokenizer",
    "nomic_bert": "BertTokenizer",
}
_NAMED_TOKENS = {
    f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")
}
"""Of WordPiece, for a class without tokens of its own."""

_ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_MPNET_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
_SYMBOLS = [*string.ascii_letters, *string.digits, *string.punctuation, *"éèïç今日は—😀"]


def write_wordpiece_folder(
    folder: Path,
    model_type: str = "bert",
    *,
    lowercase: bool = True,
    tokenizer_json: bool = True,
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write BERT's tokenizer: [PAD] is 0; vocab.txt, perhaps tokenizer.json.

    MPNet's has the special tokens of RoBERTa: <pad> is 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = re.findall(r"\w+", " ".join(SENTENCES).lower())
    pieces = [*_SYMBOLS, *(f"##{symbol}" for symbol in _SYMBOLS), "##ing", "##ow", *words]
    of_mpnet = model_type == "mpnet"
    vocab = [*(_MPNET_SPECIALS if of_mpnet else _BERT_SPECIALS), *dict.fromkeys(pieces)]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    if tokenizer_json:
        names = "cls_token", "pad_token", "sep_token", "mask_token"
        own = dict(zip(names, ("<s>", "<pad>", "</s>", "<mask>"), strict=True)) if of_mpnet else {}
        built = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lowercase, **own)
        built.save(str(folder / "tokenizer.json"))
    _write_configs(folder, model_type, {"do_lower_case": lowercase} | dict(options or {}))
    return folder


def write_bpe_folder(
    folder: Path,
    model_type: str = "roberta",
    *,
    tokenizer_json: bool = True,
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write RoBERTa's tokenizer: <pad> is 1; vocab.json, merges.txt, perhaps tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    built = ByteLevelBPETokenizer(trim_offsets=True)
    built.train_from_iterator(
        SENTENCES, vocab_size=400, special_tokens=_ROBERTA_SPECIALS, show_progress=False
    )
    built.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    built.save_model(str(folder))
    if tokenizer_json:
        tokenizer = built._tokenizer
        ends = ("</s>", 2), ("<s>", 0)
        tokenizer.post_processor = RobertaProcessing(*ends, add_prefix_space=False)
        tokenizer.save(str(folder / "tokenizer.json"))
    _write_configs(folder, model_type, dict(options or {}))
    return folder


def write_unigram_folder(
    folder: Path, model_type: str = "xlm-roberta", *, options: Mapping[str, object] | None = None
) -> Path:
    """Write XLM-RoBERTa's or CamemBERT's tokenizer, which is tokenizer.json alone."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {f"▁{word}" for sentence in SENTENCES for word in sentence.split()}
    pieces = [*_ROBERTA_SPECIALS, "▁", *sorted(words), *_SYMBOLS, "<mask>"]
    scores = [(piece, -float(index % 17)) for index, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens(_ROBERTA_SPECIALS)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_configs(folder, model_type, dict(options or {}))
    return folder


def write_albert_folder(
    folder: Path, model_type: str = "albert", *, options: Mapping[str, object] | None = None
) -> Path:
    """Write ALBERT's tokenizer, which is tokenizer.json alone: <pad> is 0, <unk> is 1."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {f"▁{word}" for sentence in SENTENCES for word in sentence.lower().split()}
    specials = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, "▁", *sorted(words), *_SYMBOLS]
    scores = [(piece, -float(index % 17)) for index, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=1, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_configs(folder, model_type, dict(options or {}))
    return folder


def write_deberta_folder(
    folder: Path, model_type: str = "deberta-v2", *, options: Mapping[str, object] | None = None
) -> Path:
    """Write DeBERTa's tokenizer, which is tokenizer.json alone: [PAD] is 0, [UNK] is 3."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {f"▁{word}" for sentence in SENTENCES for word in sentence.split()}
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = [*specials, "▁", *sorted(words), *_SYMBOLS]
    scores = [(piece, -float(index % 17)) for index, piece in enumerate(pieces)]
    scores[3] = ("[UNK]", 0.0)
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*specials, "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_configs(folder, model_type, dict(options or {}))
    return folder


def write_qwen_folder(
    folder: Path,
    model_type: str = "qwen3",
    *,
    ends: bool = True,
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write Qwen's tokenizer: <|endoftext|> is 0, for pads. ends: texts end with <|im_end|>, 1."""
    folder.mkdir(parents=True, exist_ok=True)
    pad, end = "<|endoftext|>", "<|im_end|>"
    built = ByteLevelBPETokenizer()
    built.train_from_iterator(
        SENTENCES, vocab_size=400, special_tokens=[pad, end, "<|im_start|>"], show_progress=False
    )
    built.save_model(str(folder))
    tokenizer = built._tokenizer
    tokenizer.normalizer = normalizers.NFC()
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, 1)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    stated = {"eos_token": end, "pad_token": pad, "add_bos_token": False}
    _write_configs(folder, model_type, stated | dict(options or {}))
    return folder


def write_llama_folder(
    folder: Path,
    model_type: str = "llama",
    *,
    byte_level: bool = False,
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write the tokenizer of Llama 2, or with byte_level of Llama 3: <s> is 1, and begins texts."""
    folder.mkdir(parents=True, exist_ok=True)
    specials = ["<unk>", "<s>", "</s>"]
    if byte_level:
        built = ByteLevelBPETokenizer()
        built.train_from_iterator(
            SENTENCES, vocab_size=400, special_tokens=specials, show_progress=False
        )
        tokenizer = built._tokenizer
    else:
        pieces = [*specials, *(f"<0x{number:02X}>" for number in range(256)), "▁", *_SYMBOLS[:60]]
        pieces += ["▁n", "ic", "▁nic", "▁nice"]
        vocab = {piece: index for index, piece in enumerate(pieces)}
        merges = [("▁", "n"), ("i", "c"), ("▁n", "ic"), ("▁nic", "e")]
        tokenizer = Tokenizer(
            models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    stated = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None}
    _write_configs(folder, model_type, stated | dict(options or {}))
    return folder


def write_tokenizer(
    folder: Path, model_type: str, options: Mapping[str, object] | None = None
) -> Path:
    """Write the tokenizer that checkpoints of the family have."""
    return WRITERS.get(model_type, write_wordpiece_folder)(folder, model_type, options=options)


WRITERS: Mapping[str, Callable[..., Path]] = {
    "roberta": write_bpe_folder,
    "xlm-roberta": write_unigram_folder,
    "camembert": write_unigram_folder,
    "gte": write_unigram_folder,
    "albert": write_albert_folder,
    "deberta-v2": write_deberta_folder,
    "qwen3": write_qwen_folder,
    "qwen2": write_qwen_folder,
    "llama": write_llama_folder,
}


def _write_configs(folder: Path, model_type: str, options: Mapping[str, object]) -> None:
    stated = {"tokenizer_class": _CLASSES[model_type], "model_max_length": 48} | options
    if stated["tokenizer_class"] == "PreTrainedTokenizerFast":
        stated = _NAMED_TOKENS | stated
    (folder / "tokenizer_config.json").write_text(json.dumps(stated), encoding="utf-8")
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")

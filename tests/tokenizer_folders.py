"""Folders with a tiny tokenizer, as on the hub: WordPiece, byte-level BPE and Unigram.

Each function writes the tokenizer's files and, where it is missing, the smallest config.json that
transformers' AutoTokenizer accepts. `options` are added to tokenizer_config.json.
"""

import json
import re
import string
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
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
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
}
_ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_SYMBOLS = [*string.ascii_letters, *string.digits, *string.punctuation, *"éèïç今日は—😀"]


def write_wordpiece_folder(
    folder: Path,
    model_type: str = "bert",
    *,
    lowercase: bool = True,
    tokenizer_json: bool = True,
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write BERT's tokenizer: [PAD] is 0; vocab.txt, perhaps tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    words = re.findall(r"\w+", " ".join(SENTENCES).lower())
    pieces = [*_SYMBOLS, *(f"##{symbol}" for symbol in _SYMBOLS), "##ing", "##ow", *words]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(pieces)]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    if tokenizer_json:
        built = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lowercase)
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


def _write_configs(folder: Path, model_type: str, options: Mapping[str, object]) -> None:
    stated = {"tokenizer_class": _CLASSES[model_type], "model_max_length": 48} | options
    (folder / "tokenizer_config.json").write_text(json.dumps(stated), encoding="utf-8")
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")

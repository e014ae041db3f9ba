"""Tiny checkpoints for token classification: random ones, and one whose tags are known.

The known one looks at each token alone: its logits are a table of its word, so that a text has the
same entities in one window and in many.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers
from tiny_checkpoints import Tiny, fill_randomly, tiny_config
from tokenizer_folders import write_tokenizer, write_wordpiece_folder

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def write_token_checkpoint(
    folder: Path,
    tiny: Tiny,
    labels: Sequence[str] = BIO,
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write a random model with these labels, and a tokenizer of its family."""
    model = random_token_model(tiny, labels)
    model.save_pretrained(folder)
    return write_tokenizer(folder, tiny.model_type, options)


def random_token_model(tiny: Tiny, labels: Sequence[str] = BIO) -> transformers.PreTrainedModel:
    """transformers' own model with the weights of `tiny`, in eval mode."""
    config = tiny_config(tiny)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    model = transformers.AutoModelForTokenClassification.from_config(config)
    return fill_randomly(model, tiny.seed).eval()


def write_word_tagger(
    folder: Path, tags: Mapping[str, str], labels: Sequence[str] = BIO, max_tokens: int = 48
) -> Path:
    """Write a BERT that gives the tag in `tags` to each of these words, and "O" to all others.

    Its layer adds nothing, and a word's embedding is the unit vector of its label.
    """
    write_wordpiece_folder(folder, options={"model_max_length": max_tokens})
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    size = 8 * max(1, -(-(len(labels) + 1) // 8))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=size,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = transformers.BertForTokenClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "LayerNorm.weight" in name else 0.0)
        words = model.bert.embeddings.word_embeddings.weight
        for row, word in enumerate(vocabulary):
            words[row, labels.index(tags.get(word, "O"))] = 1.0
        for index in range(len(labels)):
            model.classifier.weight[index, index] = 1.0
    model.save_pretrained(folder)
    return folder

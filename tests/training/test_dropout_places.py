"""Where dropout is: at every place where transformers has it, with the setting of that place.

Dropout is replaced by a multiplication with 1 + p in both, and every setting has another p, so that
the logits in training mode are equal if, and only if, each place is there with its own setting.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_checkpoints import FAMILIES, Tiny, fill_randomly, random_ids, tiny_config
from torch import Tensor

from isobatch.batching.packed import pack
from isobatch.model import EncoderModel, read_model
from isobatch.types import Encoding, Task

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SETTINGS = (
    *("dropout", "attention_dropout", "activation_dropout", "classifier_dropout"),
    *("seq_classif_dropout", "embedding_dropout", "mlp_dropout", "pooler_dropout", "cls_dropout"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"),
)
HEADS: dict[Task, Any] = {
    "text-classification": transformers.AutoModelForSequenceClassification,
    "token-classification": transformers.AutoModelForTokenClassification,
}
CASES: list[tuple[str, Task]] = [
    *((family, "text-classification") for family in (*FAMILIES, "bart")),
    *((family, "token-classification") for family in FAMILIES),
]


def scaled(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return x * (1 + p) if training else x


def configuration(family: str) -> Any:
    """The configuration of a tiny model, whose settings of dropout all differ."""
    if family == "bart":
        counts = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}
        sizes = {
            f"{part}_{name}": count
            for part in ("encoder", "decoder")
            for name, count in counts.items()
        }
        config: Any = transformers.BartConfig(
            vocab_size=500, d_model=32, max_position_embeddings=64, **sizes
        )
    else:
        config = tiny_config(Tiny(family, num_layers=2))
    for index, name in enumerate(SETTINGS):
        setattr(config, name, 0.11 + index / 16)
    return config


def logits(ours: EncoderModel, theirs: Any, row: list[int]) -> tuple[Tensor, Tensor]:
    batch = pack([Encoding(row, [0] * len(row))], ours.config.encoder.positions)
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([row])).logits
        return ours(batch), expected.view(-1, expected.shape[-1])


@pytest.mark.parametrize(("family", "task"), CASES)
def test_dropout_is_where_transformers_has_it(
    family: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.functional, "dropout", scaled)
    config = configuration(family)
    theirs = fill_randomly(HEADS[task].from_config(config, attn_implementation="eager"))
    theirs.save_pretrained(tmp_path)
    ours = read_model(tmp_path, task)
    row = [*random_ids((9,), Tiny("bert"))[0][:8], 2]
    ours.train(), theirs.train()
    found, expected = logits(ours, theirs, row)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not torch.allclose(expected, logits(ours, theirs.eval(), row)[1], **CLOSE)

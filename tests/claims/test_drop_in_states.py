"""Batch invariance of the drop-in API: hidden states, attention weights, AutoModel, pipeline."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from claims.promise import threads
from tiny_checkpoints import Tiny, TinyFolder, pad_left, pad_right, random_ids

from isobatch import AutoModel, AutoModelForSequenceClassification, pipeline

LENGTHS = [1, 2, 5, 5, 13, 16, 17, 33, 64, 130]
SHAPES = [(4, 8, 48), (1, 16, 48), (4, 16, 128)]
"""Heads, their size, and the intermediate size."""

Rows = list[list[int]]
States = list[list[torch.Tensor]]
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def states_of(model: Any, rows: Rows, pad: Callable[..., Any], pad_id: int) -> States:
    """All outputs of each row, without its padding."""
    ids, mask = pad(rows, pad_id)
    with torch.inference_mode():
        output = model(input_ids=ids, attention_mask=mask, **EVERYTHING)
    found: States = []
    for index, kept in enumerate(mask.bool()):
        hidden = [each[index, kept] for each in output.hidden_states]
        weights = [each[index][:, kept][:, :, kept] for each in output.attentions]
        result = output.logits if "logits" in output else output.pooler_output
        found.append([result[index], *hidden, *weights])
    return found


def changed(system: Callable[[Rows], States], rows: Rows) -> list[int]:
    """The lengths of the rows of which an output has other bits in some batch than alone."""
    shuffler = np.random.default_rng(7)
    alone = [system([row])[0] for row in rows]
    found = []
    for _ in range(3):
        chosen = shuffler.permutation(len(rows))[: shuffler.integers(2, len(rows) + 1)]
        for index, outputs in zip(chosen, system([rows[i] for i in chosen]), strict=True):
            if not all(map(torch.equal, outputs, alone[index])):
                found.append(len(rows[index]))
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("entry", [AutoModelForSequenceClassification, AutoModel])
@pytest.mark.filterwarnings("ignore::isobatch.errors.NewWeightsWarning")
def test_states_alone_and_in_any_batch_with_any_threads(
    entry: Any, family: str, shape: tuple[int, int, int], tiny_folder: TinyFolder
) -> None:
    heads, size, wide = shape
    tiny = Tiny(family, num_heads=heads, head_dim=size, intermediate_size=wide)
    torch.manual_seed(0)
    model = entry.from_pretrained(tiny_folder(tiny))
    rows = random_ids(LENGTHS, tiny)
    results = []
    for num_threads, pad in ((1, pad_right), (2, pad_left)):
        with threads(num_threads):

            def system(rows: Rows, pad: Any = pad) -> States:
                return states_of(model, rows, pad, tiny.pad_token_id)

            assert not changed(system, rows)
            results.append([tensor for outputs in system(rows) for tensor in outputs])
    assert all(map(torch.equal, *results))


def test_a_padded_reference_fails_the_same_test(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert", num_heads=2, head_dim=32)
    reference = transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny_folder(tiny), attn_implementation="eager"
    ).eval()
    rows = random_ids(LENGTHS, tiny)
    assert changed(lambda rows: states_of(reference, rows, pad_right, 0), rows)


def test_pipeline_answers_do_not_depend_on_the_batch() -> None:
    pipe = pipeline("sentiment-analysis", top_k=None, function_to_apply="none")
    texts = [f"a {word} film " * (1 + index) for index, word in enumerate(["fine", "dull", "odd"])]
    alone = [pipe(text)[0] for text in texts]
    assert pipe(texts) == alone
    assert pipe(texts[::-1], batch_size=2) == alone[::-1]
    assert pipe([texts[1]])[0] != pipe([texts[0]])[0]

"""Batch invariance on a CUDA device, where there is one: every family, task and way to call.

Bits are compared on one device; answers agree with those of the CPU to some digits.
"""

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from claims.ambient_states import attribute, matmul_precision
from claims.promise import (
    Logits,
    alone,
    changed_by_order,
    changed_in_random_batches,
    random_texts,
    same_bits,
)
from claims.test_encoder_decoder import END, random_bart
from claims.test_families import LENGTHS, check_batch_invariance, logits_of
from tiny_checkpoints import DECODERS, FAMILIES, Tiny, TinyFolder, random_ids
from torch.nn.attention import SDPBackend, sdpa_kernel

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier, Embedder
from isobatch.checkpoint import bundled_folder
from isobatch.errors import OptionError
from isobatch.model import read_packed_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

CUDA = torch.device("cuda")
SEED = 20260101


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.from_pretrained(device="cuda")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    tokens = json.loads((bundled_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    words = [word for word in tokens["model"]["vocab"] if word.isalpha() and word.isascii()]
    return random_texts(words, 100, SEED)


@pytest.mark.parametrize("shape", [(4, 8, 48), (3, 14, 33), (2, 64, 256)])
@pytest.mark.parametrize("family", [*FAMILIES, *DECODERS[1:]])
def test_every_family_alone_and_in_any_batch(
    family: str, shape: tuple[int, int, int], tiny_folder: TinyFolder
) -> None:
    heads, size, wide = shape
    tiny = Tiny(family, num_heads=heads, head_dim=size, intermediate_size=wide, num_labels=3)
    folder, rows = tiny_folder(tiny), random_ids(LENGTHS, tiny)
    model, _ = read_packed_model(folder, CUDA)
    check_batch_invariance(model, rows)
    on_cpu, _ = read_packed_model(folder, torch.device("cpu"))
    assert torch.allclose(logits_of(on_cpu, rows), logits_of(model, rows), atol=2e-5)


def test_an_encoder_with_a_decoder(tmp_path: Path) -> None:
    random_bart().save_pretrained(tmp_path)
    draw = np.random.default_rng(7)
    rows = [[*draw.integers(3, 90, length).tolist(), END] for length in LENGTHS[:12]]
    model, _ = read_packed_model(tmp_path, CUDA)
    expected = torch.cat([logits_of(model, [row]) for row in rows])
    assert torch.equal(logits_of(model, rows), expected)
    assert torch.equal(logits_of(model, rows[::-2]), expected[list(range(12))[::-2]])


def test_random_batches_change_no_bit(classifier: Classifier, texts: list[str]) -> None:
    assert classifier.device.type == "cuda"
    assert changed_in_random_batches(classifier.logits, texts, SEED) == []
    assert changed_by_order(classifier.logits, texts, SEED) == []


def test_random_batches_change_a_padded_model(texts: list[str]) -> None:
    folder = bundled_folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    )
    model.eval().to(CUDA)

    @torch.no_grad()
    def logits(batch: list[str]) -> Logits:
        inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt").to(CUDA)
        result: Logits = model(**inputs).logits.cpu().numpy()
        return result

    assert changed_in_random_batches(logits, texts, SEED, rounds=1) != []


def test_it_agrees_with_the_cpu(classifier: Classifier, texts: list[str]) -> None:
    on_cpu = Classifier.from_pretrained().logits(texts)
    assert np.allclose(classifier.logits(texts), on_cpu, atol=1e-4)


@pytest.mark.parametrize("max_batch_tokens", [1, 100, 100_000])
def test_the_token_budget_changes_no_bit(texts: list[str], max_batch_tokens: int) -> None:
    other = Classifier.from_pretrained(device="cuda", max_batch_tokens=max_batch_tokens)
    expected = Classifier.from_pretrained(device="cuda").logits(texts)
    assert same_bits(other.logits(texts), expected)


def test_vectors_change_no_bit(texts: list[str]) -> None:
    embedder = Embedder.from_pretrained(bundled_folder(), device="cuda", pooling="mean")
    assert changed_in_random_batches(lambda batch: embedder(batch), texts, SEED, rounds=1) == []


def test_the_transformers_engine_changes_no_bit(texts: list[str]) -> None:
    classifier = Classifier.from_pretrained(bundled_folder(), device="cuda", engine="transformers")
    assert changed_in_random_batches(classifier.logits, texts[:30], SEED, rounds=1) == []


def test_the_drop_in_model_has_the_same_bits(classifier: Classifier, texts: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained()
    model: Any = AutoModelForSequenceClassification.from_pretrained().to(CUDA)
    inputs = tokenizer(texts[:12], padding=True, truncation=True, return_tensors="pt").to(CUDA)
    with torch.no_grad():
        logits = model(**inputs).logits.cpu().numpy()
    assert np.allclose(logits, classifier.logits(texts[:12]), atol=1e-4)
    for index, text in enumerate(texts[:12]):
        single = tokenizer([text], truncation=True, return_tensors="pt").to(CUDA)
        with torch.no_grad():
            assert same_bits(model(**single).logits.cpu().numpy()[0], logits[index])


STATES = {
    "precision medium": partial(matmul_precision, "medium"),
    "tf32": partial(attribute, torch.backends.cuda.matmul, "allow_tf32", True),
    "tf32 by its new name": partial(
        attribute, torch.backends.cuda.matmul, "fp32_precision", "tf32"
    ),
    "only one attention": partial(sdpa_kernel, SDPBackend.MATH),
}


@pytest.mark.parametrize("state", STATES)
def test_settings_that_change_bits_are_rejected(
    classifier: Classifier, texts: list[str], state: str
) -> None:
    expected = classifier.logits(texts[:5])
    context: AbstractContextManager[object] = STATES[state]()
    with context, pytest.raises(OptionError, match="Undo it: "):
        classifier.logits(texts[:5])
    assert same_bits(classifier.logits(texts[:5]), expected)


def test_other_ambient_settings_change_no_bit(classifier: Classifier, texts: list[str]) -> None:
    expected = alone(classifier.logits, texts[:5])
    with torch.autocast("cuda", dtype=torch.float16):
        assert same_bits(classifier.logits(texts[:5]), expected)
    with torch.cuda.stream(torch.cuda.Stream()):
        assert same_bits(classifier.logits(texts[:5]), expected)
    with torch.device("cuda"):
        assert same_bits(classifier.logits(texts[:5]), expected)


def test_the_command_line_gives_the_same_bits(classifier: Classifier, texts: list[str]) -> None:
    command = [sys.executable, "-m", "isobatch", "classify", "--device", "cuda"]
    ran = subprocess.run(
        command, input="\n".join(texts[:20]).encode(), capture_output=True, check=True
    )
    printed = [json.loads(line)["logits"] for line in ran.stdout.decode().splitlines()]
    assert same_bits(np.array(printed, dtype=np.float32), classifier.logits(texts[:20]))
    environment = {**os.environ, "NVIDIA_TF32_OVERRIDE": "1"}
    refused = subprocess.run(
        [*command, "text"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "unset NVIDIA_TF32_OVERRIDE" in " ".join(refused.stderr.split())

"""The promise where the fast kernels fail, and on lesser instruction sets than this machine's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from claims.promise import changed_by_threads, changed_in_random_batches, random_texts
from torch import Tensor

from isobatch import Classifier
from isobatch.numerics import proof
from isobatch.numerics.activations import Activation
from isobatch.numerics.kernels import Kernel, OneDnnKernel, TileKernel

WORDS = ("good", "bad", "a", "the", "film", "plot", "of", "and", "dull", "bright", "never", "very")


class ShapeDependent(OneDnnKernel):
    """A kernel with the fault that the check is for: other bits in fewer rows."""

    name = "planted"

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        product = super().linear(x, weight, bias, activation, residual)
        return product if len(x) > 9 else product * (1 + 2**-23)


def with_candidates(monkeypatch: pytest.MonkeyPatch, *kernels: Kernel) -> None:
    monkeypatch.setattr(proof, "candidate_kernels", lambda _device: kernels)


def test_tiles_keep_the_promise_where_the_check_refuses_the_fast_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast = Classifier.from_pretrained()
    with_candidates(monkeypatch, ShapeDependent(), TileKernel())
    slow = Classifier.from_pretrained()
    linears = [choice for choice in slow.choices if choice.operation.startswith("linear")]
    assert {choice.kernel for choice in linears} == {"tiles"}
    assert all("planted refused" in choice.reason for choice in linears)
    texts = random_texts(WORDS, 40, 3)
    assert changed_in_random_batches(slow.logits, texts, 3, rounds=2) == []
    assert changed_by_threads(slow.logits, texts[:15]) == []
    assert abs(slow.logits(texts) - fast.logits(texts)).max() < 1e-4


def test_the_kernel_that_the_check_refused_does_break_the_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proof, "_linear_fault", lambda _layer, _kernel: None)
    with_candidates(monkeypatch, ShapeDependent())
    trusting = Classifier.from_pretrained()
    texts = random_texts(WORDS, 40, 3)
    assert changed_in_random_batches(trusting.logits, texts, 3, rounds=1) != []


PROBE = """
import json, sys
from claims.promise import changed_by_threads, changed_in_random_batches, random_texts
from isobatch import Classifier
classifier = Classifier.from_pretrained()
texts = random_texts(sys.argv[1].split(), 30, 5)
changed = changed_in_random_batches(classifier.logits, texts, 5, rounds=2)
changed += changed_by_threads(classifier.logits, texts)
print(json.dumps([changed, [choice.kernel for choice in classifier.choices]]))
"""


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "NO AVX", reason="no AVX to forgo")
@pytest.mark.parametrize(
    "instructions",
    [
        {
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        },
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    ],
    ids=lambda instructions: instructions["ONEDNN_MAX_CPU_ISA"],
)
def test_the_promise_holds_with_fewer_instructions(instructions: dict[str, str]) -> None:
    tests = Path(__file__).parent.parent
    environment = os.environ | instructions | {"PYTHONPATH": str(tests)}
    command = [sys.executable, "-c", PROBE, " ".join(WORDS)]
    ran = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    changed, kernels = json.loads(ran.stdout)
    assert changed == []
    assert kernels

"""Batch invariance where the fast kernels fail, and on smaller instruction sets than this one's.

Compiled kernels have the same bits on all of them; torch's own only keep the promise on each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from claims.promise import (
    changed_by_threads,
    changed_in_random_batches,
    random_texts,
    same_bits,
)
from torch import Tensor

from isobatch import Classifier
from isobatch.kernels import compiled, selection
from isobatch.kernels.activations import Activation
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.kernels.linear_kernels import LinearKernel, OneDnnKernel, TileKernel

pytestmark = pytest.mark.usefixtures("checks_at_load")

WORDS = ("good", "bad", "a", "the", "film", "plot", "of", "and", "dull", "bright", "never", "very")


class ShapeDependent(OneDnnKernel):
    """A kernel with the fault that the check is for: other bits in small batches."""

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


def with_candidates(monkeypatch: pytest.MonkeyPatch, *kernels: LinearKernel) -> None:
    """Compute blocks layer by layer, and each linear by one of these kernels."""
    monkeypatch.setenv(VARIABLE, "torch")
    monkeypatch.setattr(selection, "candidate_kernels", lambda _device, _precision: kernels)


def test_tiles_are_batch_invariant_where_the_check_rejects_the_fast_kernel(
    monkeypatch: pytest.MonkeyPatch, bundled_classifier: Callable[[str], Classifier]
) -> None:
    texts = random_texts(WORDS, 40, 3)
    fast = bundled_classifier("fp32").logits(texts)
    with_candidates(monkeypatch, ShapeDependent(), TileKernel())
    slow = Classifier.from_pretrained()
    linears = [choice for choice in slow.choices if choice.operation.startswith("linear")]
    assert {choice.kernel for choice in linears} == {"tiles"}
    assert all("planted rejected" in choice.reason for choice in linears)
    assert changed_in_random_batches(slow.logits, texts, 3, rounds=2) == []
    assert changed_by_threads(slow.logits, texts[:15]) == []
    assert abs(slow.logits(texts) - fast).max() < 1e-4


def test_the_kernel_that_the_check_rejects_breaks_batch_invariance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selection, "linear_difference", lambda _layer, _kernel: None)
    with_candidates(monkeypatch, ShapeDependent())
    trusting = Classifier.from_pretrained()
    texts = random_texts(WORDS, 40, 3)
    assert changed_in_random_batches(trusting.logits, texts, 3, rounds=1) != []


PROBE = """
import json, sys
import torch
from claims.promise import changed_by_threads, changed_in_random_batches, random_texts
from isobatch import Classifier
from isobatch.kernels import supported_precisions

texts = random_texts(sys.argv[1].split(), 20, 5)[: int(sys.argv[2])]
report, logits = {}, {}
for precision in supported_precisions(torch.device("cpu")):
    classifier = Classifier.from_pretrained(precision=precision)
    changed = changed_in_random_batches(classifier.logits, texts, 5, rounds=2)
    changed += changed_by_threads(classifier.logits, texts[:10])
    logits[precision] = classifier.logits(texts)
    report[precision] = {
        "changed": changed,
        "arithmetic": classifier.arithmetic,
        "kernel": classifier.choices[0].kernel,
        "error": float(abs(logits[precision] - logits["fp32"]).mean()),
        "bits": logits[precision].tobytes().hex(),
    }
print(json.dumps(report))
"""

ERRORS = {"fp32": 0, "bf16": 0.02, "int8": 0.15}
"""How far a precision may be from fp32 in the mean, of logits of size 3."""

Report = dict[str, dict[str, object]]


def probe(instructions: dict[str, str], num_texts: int = 12) -> Report:
    """Check the promise in a process with these variables, in every precision."""
    tests = Path(__file__).parent.parent
    environment = os.environ | instructions | {"PYTHONPATH": str(tests), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", PROBE, " ".join(WORDS), str(num_texts)]
    ran = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    report: Report = json.loads(ran.stdout)
    assert {"fp32", "int8"} <= report.keys()
    for precision, found in report.items():
        assert found["changed"] == [], precision
        assert cast("float", found["error"]) <= ERRORS[precision], precision
    return report


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
def test_batch_invariance_holds_in_torch_with_fewer_instructions(
    instructions: dict[str, str],
) -> None:
    report = probe(instructions | {VARIABLE: "torch"})
    assert report["int8"]["kernel"] == "torch int8"
    assert report["fp32"]["kernel"] == "layer by layer"
    assert all(str(found["arithmetic"]).startswith("torch ") for found in report.values())


NAMES = [each.name for each in compiled.variant_statuses() if each.problem is None]
TEXTS = random_texts(WORDS, 20, 5)[:10]


@pytest.mark.skipif(not NAMES, reason="nothing is compiled here")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_instruction_set_gives_the_same_bits(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name in NAMES:
        monkeypatch.setenv(VARIABLE, name)
        classifier = Classifier.from_pretrained(precision=precision)
        assert classifier.arithmetic == "isobatch-1"
        found[name] = classifier.logits(TEXTS)
    first, *others = found.values()
    assert [same_bits(first, other) for other in others] == [True] * len(others)


@pytest.mark.skipif(not NAMES, reason="nothing is compiled here")
def test_the_oldest_instruction_set_keeps_the_promise_and_the_bits(
    bundled_classifier: Callable[[str], Classifier],
) -> None:
    """As plain C++, and where torch itself has no AVX; only compiled kernels are used."""
    fewer = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}
    num_texts = 4  # plain C++ is slow
    report = probe(fewer | {VARIABLE: NAMES[-1]}, num_texts)
    for precision in ("fp32", "int8"):
        here = bundled_classifier(precision).logits(TEXTS[:num_texts])
        assert report[precision]["bits"] == here.tobytes().hex()


@pytest.mark.skipif(not NAMES, reason="nothing is compiled here")
def test_torch_s_own_bits_are_others(
    bundled_classifier: Callable[[str], Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inverse: why its name is not that of the compiled arithmetic."""
    here = bundled_classifier("fp32").logits(TEXTS)
    monkeypatch.setenv(VARIABLE, "torch")
    own = Classifier.from_pretrained()
    assert own.arithmetic != "isobatch-1"
    assert not same_bits(own.logits(TEXTS), here)

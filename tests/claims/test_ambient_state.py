"""Ambient state cannot change a bit: not of the processor, not of torch, not of the process.

Each state is entered before an API is loaded, or between loading and calling it. Either the answer
has the bits that it has without the state, or the call is rejected with the way to undo it. That a
state has an effect on unprotected code is tested too.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from claims import ambient_process
from claims.ambient_states import (
    QUIET,
    REDUCED,
    REJECTED,
    VISIBLE,
    State,
    doubled,
    plain_result,
)
from claims.every_api import APIS, TEXTS, as_bytes, drop_in, write_sensitive_checkpoint
from tiny_checkpoints import Tiny, write_checkpoint
from torch.nn.attention import SDPBackend, sdpa_kernel

from isobatch import AutoModelForSequenceClassification, Classifier, pipeline
from isobatch.ambient import float_environment, torch_settings
from isobatch.checkpoint.config import read_own_config
from isobatch.errors import OptionError
from isobatch.kernels import ARITHMETIC, rotary
from isobatch.kernels.compiled.variants import TORCH, VARIABLE
from isobatch.specification import Rotary
from isobatch.tasks import scores
from isobatch.types import Precision

HARMLESS: Mapping[str, State] = {**VISIBLE, **QUIET}


@contextmanager
def everything_quiet() -> Iterator[None]:
    with ExitStack() as stack:
        for state in QUIET.values():
            stack.enter_context(state())
        yield


OF_LOADING: Mapping[str, State] = {
    name: VISIBLE[name]
    for name in (
        "flush to zero",
        "rounding up",
        "rounding toward zero",
        "autocast bf16",
        "default dtype float64",
        "default dtype float16",
        "default device meta",
        "function mode",
        "numpy errors",
    )
} | {"quiet": everything_quiet}

SUSPENDED = [name for name in VISIBLE if not name.startswith(("default dtype", "numpy"))]
"""Suspended for a call; no code depends on the others."""

LOADED_DIFFERENTLY = (
    ("Classifier fp32", "fastest"),
    ("Classifier int8", "fastest"),
    ("drop-in", "fastest"),
    ("job", "fastest"),
    ("Classifier fp32", "torch"),
    ("Classifier int8", "torch"),
)
"""The others load one of these."""

CALLED = ("Classifier fp32", "Classifier int8", "drop-in", "pipeline", "server")

Expected = Callable[[str], bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sensitive_checkpoint(tmp_path_factory.mktemp("ambient") / "model")


@pytest.fixture(params=["fastest", "torch"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kernels that compute: the fastest here, or torch's own, as where no compiler was."""
    if request.param == "torch":
        monkeypatch.setenv(VARIABLE, TORCH)
    return str(request.param)


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], bytes]:
    """The answers that were computed already, by API and kernels."""
    return {}


@pytest.fixture
def expected(folder: Path, kernels: str, answers: dict[tuple[str, str], bytes]) -> Expected:
    """The answer of an API with the kernels of the test, in no special state."""

    def answer(api: str) -> bytes:
        if (api, kernels) not in answers:
            with APIS[api](folder) as call:
                answers[api, kernels] = as_bytes(call())
        return answers[api, kernels]

    return answer


def test_the_checkpoint_has_a_subnormal_logit(folder: Path) -> None:
    logit = Classifier.from_pretrained(folder)("good film").logits[1]
    assert 0 < abs(logit) < 2.0**-126


@pytest.mark.parametrize("state", VISIBLE)
def test_a_state_changes_unprotected_results(state: str) -> None:
    usual = plain_result()
    with VISIBLE[state]():
        found = plain_result()
    assert found != usual
    assert plain_result() == usual


@pytest.mark.usefixtures("checks_at_load")
@pytest.mark.parametrize("state", OF_LOADING)
@pytest.mark.parametrize(("api", "kernels"), LOADED_DIFFERENTLY, indirect=["kernels"])
def test_a_state_of_loading_changes_no_bit(
    api: str, state: str, folder: Path, expected: Expected
) -> None:
    usual = expected(api)
    with OF_LOADING[state](), APIS[api](folder) as call:
        answer = call()
    assert as_bytes(answer) == usual


@pytest.mark.parametrize("api", CALLED)
def test_a_state_of_a_call_changes_no_bit(api: str, folder: Path, expected: Expected) -> None:
    changed = []
    with APIS[api](folder) as call:
        for name, state in HARMLESS.items():
            with state():
                answer = call()
            if as_bytes(answer) != expected(api):
                changed.append(name)
        assert as_bytes(call()) == expected(api)
    assert changed == []


@pytest.mark.parametrize("kernels", ["torch"], indirect=True)
@pytest.mark.parametrize("api", ["Classifier fp32", "drop-in", "pipeline"])
def test_without_protection_the_same_states_change_bits(
    api: str, folder: Path, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = expected(api)
    monkeypatch.setattr(float_environment, "has_default_floats", lambda: True)
    monkeypatch.setattr(scores, "has_default_floats", lambda: True)
    monkeypatch.setattr(torch._C, "DisableTorchFunction", nullcontext)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    harmless = []
    with APIS[api](folder) as call:
        for name in SUSPENDED:
            state, answer = VISIBLE[name], None
            with suppress(Exception), state():
                answer = as_bytes(call())
            if answer == usual:
                harmless.append(name)
    assert harmless == []


@pytest.mark.parametrize("kernels", ["fastest"], indirect=True)
@pytest.mark.parametrize("api", ["Classifier fp32", "Classifier int8", "drop-in", "pipeline"])
def test_what_replaces_operations_is_rejected(api: str, folder: Path, expected: Expected) -> None:
    with APIS[api](folder) as call:
        for state in REJECTED.values():
            with state(), pytest.raises(OptionError, match="Call Isobatch outside of it"):
                call()
        assert as_bytes(call()) == expected(api)


def test_torch_compile_around_the_caller_changes_no_bit(folder: Path) -> None:
    """Of what may be compiled there are graphs, and this compiler doubles all of their results."""
    graphs = []

    def doubling(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        graphs.append(graph)
        return lambda *arguments: tuple(map(doubled, graph(*arguments)))

    @torch.compile(backend=doubling)
    def third(x: torch.Tensor) -> torch.Tensor:
        return x / 3

    loaded = Classifier.from_pretrained(folder)
    pipe = pipeline("text-classification", folder)
    calls: tuple[Callable[[], object], ...] = (
        lambda: loaded(TEXTS),
        lambda: loaded.predict_proba(TEXTS),
        lambda: pipe(TEXTS[0]),
    )
    for call in calls:
        assert as_bytes(torch.compile(call, backend=doubling)()) == as_bytes(call())
    assert not graphs
    assert third(torch.ones(1)) == 2 / torch.tensor(3.0)


@pytest.mark.parametrize("state", REDUCED)
@pytest.mark.parametrize("api", ["Classifier fp32", "drop-in without attentions"])
def test_products_of_fewer_bits_are_rejected_or_change_nothing(
    api: str, state: str, folder: Path, expected: Expected
) -> None:
    usual = expected(api)
    compiled = Classifier.from_pretrained(folder).arithmetic == ARITHMETIC
    with REDUCED[state](), APIS[api](folder) as call:
        if compiled:
            answer = call()
        else:
            with pytest.raises(OptionError, match=r"Undo it: .*float32_matmul_precision"):
                call()
    if compiled:
        assert as_bytes(answer) == usual


@pytest.mark.parametrize("api", ["Classifier fp32", "drop-in without attentions"])
def test_other_kernels_of_attention_are_rejected_or_change_nothing(
    api: str, folder: Path, expected: Expected
) -> None:
    usual = expected(api)
    compiled = Classifier.from_pretrained(folder).arithmetic == ARITHMETIC
    with APIS[api](folder) as call:
        with sdpa_kernel(SDPBackend.MATH):
            if compiled:
                assert as_bytes(call()) == usual
            else:
                with pytest.raises(OptionError, match=r"'flash' is disabled.*Undo it: "):
                    call()
        assert as_bytes(call()) == usual


def test_attention_weights_in_fewer_bits_are_rejected(folder: Path) -> None:
    with (
        REDUCED["matmul precision medium"](),
        drop_in(folder) as call,
        pytest.raises(OptionError, match=r"Undo it: .*float32_matmul_precision"),
    ):
        call()


def keep_only_this_thread() -> None:
    """End OpenMP's threads; the next operation that needs several starts new ones."""
    openmp = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    assert openmp.omp_pause_resource_all(1) == 0


@pytest.mark.parametrize("state", ["flush to zero", "rounding down", "rounding up"])
def test_threads_with_other_floats_change_nothing_or_are_rejected(
    state: str, folder: Path, expected: Expected
) -> None:
    """OpenMP's threads keep the environment in which they were started, here by other code."""
    usual = expected("Classifier fp32")
    compiled = Classifier.from_pretrained(folder).arithmetic == ARITHMETIC
    with APIS["Classifier fp32"](folder) as call:
        keep_only_this_thread()
        torch.set_num_threads(2)
        with VISIBLE[state]():
            torch.ones(1_000_000).mul(1.0)
        if compiled:
            assert as_bytes(call()) == usual
        else:
            with pytest.raises(OptionError, match=r"torch\.set_num_threads\(1\)"):
                call()
        keep_only_this_thread()
        assert as_bytes(call()) == usual


def test_a_table_made_while_a_training_rounds_up_serves_later_calls(tmp_path: Path) -> None:
    """Tables of positions are kept for the process, whichever call needed them first."""
    folder = write_checkpoint(tmp_path, Tiny("modernbert", num_layers=1))
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 2048
    (folder / "config.json").write_text(json.dumps(config))
    ids = (torch.arange(900) % 400 + 3)[None]

    def logits(*, rounded: bool) -> torch.Tensor:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        rotary._table.cache_clear()
        if rounded:
            with VISIBLE["rounding up"]():
                model.train()(input_ids=ids, attention_mask=torch.ones_like(ids))
        with torch.no_grad():
            return torch.as_tensor(model.eval()(input_ids=ids, attention_mask=None).logits)

    assert torch.equal(logits(rounded=True), logits(rounded=False))
    spec = rotary_of(folder)
    with VISIBLE["rounding up"]():
        unprotected = rotary.rotary_table(spec, 1024)
    kept = rotary._table(spec, 1024, torch.device("cpu"))
    assert not all(
        torch.equal(torch.from_numpy(x), y) for x, y in zip(unprotected, kept, strict=True)
    )


def rotary_of(folder: Path) -> Rotary:
    found = read_own_config(folder).encoder.layers[0].attention.rotary
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["MKL_CBWR", "ONEDNN_MAX_CPU_ISA"])
def test_variables_that_choose_the_code_of_libraries_are_part_of_the_arithmetic(name: str) -> None:
    script = "import isobatch.kernels.arithmetic as a; print(a.arithmetic_name(['torch'], 'fp32'))"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        env=os.environ | {name: "AVX2"},
        text=True,
    )
    assert f" {name}=AVX2" in ran.stdout


PRECISIONS_TESTED: tuple[Precision, ...] = ("fp32", "int8")
VARIABLES = {
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "2",
    "OMP_DYNAMIC": "true",
    "OMP_WAIT_POLICY": "passive",
    "ONEDNN_DEFAULT_FPMATH_MODE": "ANY",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "PYTHONHASHSEED": "7",
}


def test_variables_and_threads_between_operations_change_no_bit(folder: Path) -> None:
    loaded = {
        precision: Classifier.from_pretrained(folder, precision=precision)
        for precision in PRECISIONS_TESTED
    }
    variables = dict(VARIABLES)
    if any(each.arithmetic != ARITHMETIC for each in loaded.values()):
        for name in ("MKL_CBWR", "ONEDNN_DEFAULT_FPMATH_MODE"):  # of torch's own kernels
            del variables[name]
    ran = subprocess.run(
        [sys.executable, ambient_process.__file__, str(folder), *PRECISIONS_TESTED],
        capture_output=True,
        check=False,
        env=os.environ | variables,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    usual = [ambient_process.digest(each) for each in loaded.values()]
    assert ran.stdout.split() == [*usual, *usual]
    assert len({*usual}) == len(usual)


def test_a_variable_for_fewer_bits_is_rejected_where_torch_computes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, TORCH)
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    loaded = Classifier.from_pretrained(folder)
    torch_settings._reduced_by_environment.cache_clear()
    try:
        with pytest.raises(OptionError, match="Undo it: unset ONEDNN_DEFAULT_FPMATH_MODE"):
            loaded(TEXTS)
    finally:
        torch_settings._reduced_by_environment.cache_clear()

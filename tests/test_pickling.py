"""Pickling and copying: the same bits after the trip, in every precision."""

import copy
import io
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from random_blocks import random_block
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_wordpiece_folder

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.errors import CheckpointError, InputError
from isobatch.kernels import compiled, this_machine
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.tasks import pickled_machine
from isobatch.types import PRECISIONS, Precision

TEXTS = ["a b c", "c " * 30, "", ("a", "b"), "a"]


def pickled(thing: object) -> object:
    return pickle.loads(pickle.dumps(thing))


def saved_by_torch(thing: object) -> object:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


TRIPS = [pickled, copy.copy, copy.deepcopy, saved_by_torch]


@pytest.fixture
def folder(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "checkpoint")
    return write_wordpiece_folder(tmp_path / "checkpoint")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_classifier_keeps_its_bits(folder: Path, precision: str) -> None:
    classifier = Classifier.from_pretrained(folder, precision=precision, truncation="error")
    expected = classifier.logits(TEXTS)
    for trip in TRIPS:
        found = trip(classifier)
        assert isinstance(found, Classifier)
        assert np.array_equal(found.logits(TEXTS), expected), trip
        assert repr(found) == repr(classifier)
        assert found.choices == classifier.choices
        with pytest.raises(InputError, match="has more than"):  # and its options
            found("a " * 600)


def test_each_kernel_of_a_linear_keeps_its_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isobatch.kernels import selection
    from isobatch.kernels.linear_kernels import RowKernel, TileKernel

    monkeypatch.setenv(VARIABLE, "torch")
    for kernel in (TileKernel(), RowKernel()):
        monkeypatch.setattr(selection, "candidate_kernels", lambda *_, kernel=kernel: (kernel,))
        classifier = Classifier.from_pretrained(folder)
        assert {choice.kernel for choice in classifier.choices} >= {kernel.name}
        found = pickled(classifier)
        assert isinstance(found, Classifier)
        assert np.array_equal(found.logits(TEXTS), classifier.logits(TEXTS))


COMPILED = [each for each in PRECISIONS if compiled.unavailable(each) is None]
each_compiled = pytest.mark.parametrize("precision", COMPILED)
needs_compiled = pytest.mark.skipif("int8" not in COMPILED, reason="nothing is compiled here")


def shared_with_a_process(thing: object) -> object:
    """As multiprocessing pickles: torch moves the tensors that it meets to shared memory."""
    return pickle.loads(bytes(ForkingPickler.dumps(thing)))


@each_compiled
@pytest.mark.parametrize("trip", [pickled, shared_with_a_process])
def test_a_compiled_block_gets_addresses_of_its_own(
    trip: Callable[[object], object], precision: Precision
) -> None:
    before = compiled.PackedBlock(random_block(64, 128, 4), precision)
    after = trip(before)
    assert isinstance(after, compiled.PackedBlock)
    for block in (before, after):
        for name, weight in block._weights.items():
            product, bias = getattr(block._structure, name), block._biases[name]
            assert (product.weight, product.bias) == (weight.panels.data_ptr(), bias.data_ptr())
        for name, norm in block._norms.items():
            each = getattr(block._structure, name)
            assert norm.bias is not None
            assert (each.weight, each.bias) == (norm.weight.data_ptr(), norm.bias.data_ptr())
        assert (len(block._weights), len(block._norms)) == (6, 2)
    assert after._structure.query.weight != before._structure.query.weight
    for one, other in zip(before._weights.values(), after._weights.values(), strict=True):
        assert torch.equal(one.panels, other.panels)


NAMES = [each.name for each in compiled.variant_statuses() if each.problem is None]


@needs_compiled
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_pickle_has_the_same_bits_under_every_instruction_set(
    folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout of int8 weights differs between them."""
    expected = None
    for made, here in product(NAMES, repeat=2):
        monkeypatch.setenv(VARIABLE, made)
        classifier = Classifier.from_pretrained(folder, precision=precision)
        content = pickle.dumps(classifier)
        monkeypatch.setenv(VARIABLE, here)
        found = pickle.loads(content)
        expected = found.logits(TEXTS) if expected is None else expected
        assert np.array_equal(found.logits(TEXTS), expected), (made, here)
        assert np.array_equal(classifier.logits(TEXTS), expected), "it keeps the one it was made by"


@needs_compiled
def test_a_pickle_of_compiled_kernels_needs_no_particular_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier.from_pretrained(folder)
    assert classifier.arithmetic == "isobatch-1"
    content = pickle.dumps(classifier)
    elsewhere = replace(this_machine(), torch="2.99", instruction_set="VAX")
    monkeypatch.setattr(pickled_machine, "this_machine", lambda: elsewhere)
    assert np.array_equal(pickle.loads(content).logits(TEXTS), classifier.logits(TEXTS))
    monkeypatch.setattr(pickled_machine, "this_machine", lambda: replace(elsewhere, compiled=()))
    with pytest.raises(CheckpointError, match=r"here: .*compiled kernels: none.* Load it here: "):
        pickle.loads(content)


@needs_compiled
@pytest.mark.parametrize("family", ["bert", "electra"])
def test_a_pickle_of_compiled_kernels_is_refused_where_there_are_none(
    family: str, tiny_folder: TinyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ELECTRA begins with a linear, the others with a block."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_folder(Tiny(family)), folder)
    write_wordpiece_folder(folder)
    content = pickle.dumps(Classifier.from_pretrained(folder))
    monkeypatch.setenv(VARIABLE, "torch")
    with pytest.raises(CheckpointError, match=r"needs them; here: .* is torch. Load it here with"):
        pickle.loads(content)


def test_another_machine_is_refused_with_the_call_that_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch's own kernels compute."""
    monkeypatch.setenv(VARIABLE, "torch")
    content = pickle.dumps(Classifier.from_pretrained(folder))
    elsewhere = replace(this_machine(), instruction_set="VAX")
    monkeypatch.setattr(pickled_machine, "this_machine", lambda: elsewhere)
    with pytest.raises(CheckpointError, match=r"here: .*VAX.* Load it here: ") as caught:
        pickle.loads(content)
    named = str(caught.value).partition("Load it here: ")[2]
    assert isinstance(eval(named, {"Classifier": Classifier}), Classifier)


@pytest.mark.parametrize("trip", TRIPS)
def test_the_drop_in_model_keeps_its_bits_and_names(
    folder: Path, trip: Callable[[object], object]
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(["a b", "c"], padding=True, return_tensors="pt")
    expected = model(**inputs).logits
    again = trip(tokenizer)(["a b", "c"], padding=True, return_tensors="pt")
    assert torch.equal(again["input_ids"], inputs["input_ids"])
    found = trip(model)
    assert torch.equal(found(**inputs).logits, expected)
    assert list(found.state_dict()) == list(model.state_dict())
    assert found.load_state_dict(model.state_dict()).missing_keys == []
    found(**inputs).logits.sum().backward()
    if trip is not copy.copy:  # whose parameters are the same ones
        assert all(parameter.grad is None for parameter in model.classifier.parameters())
        with torch.no_grad():
            next(found.classifier.parameters()).zero_()
        assert not torch.equal(found(**inputs).logits, expected)
        assert torch.equal(model(**inputs).logits, expected)


@pytest.mark.parametrize("compiles", [True, False], ids=["compiled", "torch"])
def test_the_drop_in_model_selects_kernels_again_where_its_bits_may_differ(
    folder: Path, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isobatch.compat import drop_in_model as compat_model

    if not compiles:
        monkeypatch.setenv(VARIABLE, "torch")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = torch.tensor([[2, 9, 3]])
    mask = torch.ones_like(ids)
    expected = model(ids, mask).logits
    content = pickle.dumps(model)
    selected: list[object] = []
    select = compat_model.select_kernels
    monkeypatch.setattr(
        compat_model, "select_kernels", lambda each: (selected.append(each), select(each))[1]
    )
    assert torch.equal(pickle.loads(content)(ids, mask).logits, expected)
    assert selected == []
    elsewhere = replace(this_machine(), instruction_set="VAX")
    monkeypatch.setattr(compat_model, "this_machine", lambda: elsewhere)
    assert torch.equal(pickle.loads(content)(ids, mask).logits, expected)
    assert len(selected) == (0 if elsewhere.compiled else 1)
    monkeypatch.setattr(compat_model, "this_machine", lambda: replace(elsewhere, compiled=()))
    pickle.loads(content)(ids, mask)
    assert len(selected) == (1 if elsewhere.compiled else 2)


@needs_compiled
def test_a_drop_in_model_that_was_compiled_computes_where_nothing_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = torch.tensor([[2, 9, 3]])
    mask = torch.ones_like(ids)
    expected, content = model(ids, mask).logits, pickle.dumps(model)
    monkeypatch.setenv(VARIABLE, "torch")
    found = pickle.loads(content)(ids, mask).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found, expected), "torch's own bits"


@needs_compiled
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_multiprocessing_leaves_the_sender_as_it_was(folder: Path, precision: str) -> None:
    """It moves tensors to shared memory while it pickles them: their addresses change."""
    classifier = Classifier.from_pretrained(folder, precision=precision)
    expected = classifier.logits(TEXTS)
    content = bytes(ForkingPickler.dumps(classifier))
    kept = [torch.full((size,), torch.nan) for size in (32, 48, 64, 128) for _ in range(50)]
    assert np.array_equal(classifier.logits(TEXTS), expected)
    assert np.array_equal(pickle.loads(content).logits(TEXTS), expected)
    del kept


def test_a_setting_that_the_tokenizers_library_forgets_is_kept(folder: Path) -> None:
    encoder = TextEncoder.from_folder(folder, 512)
    encoder._tokenizer.encode_special_tokens = True
    assert pickled(encoder._tokenizer).encode_special_tokens is False  # type: ignore[attr-defined]
    found = pickled(encoder)
    assert isinstance(found, TextEncoder)
    assert found.encode(["a [SEP] b"]) == encoder.encode(["a [SEP] b"])
    assert found._tokenizer.encode_special_tokens is True


def test_a_spawned_worker_computes_the_same_bits(folder: Path) -> None:
    classifier = Classifier.from_pretrained(folder)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(classifier.logits, TEXTS).result(120)
        errors = pool.submit(classifier.predict_or_errors, ["a", None]).result(120)
    assert np.array_equal(found, classifier.logits(TEXTS))
    assert str(errors[1]).startswith("text 1: ")
    assert errors[1].reason == classifier.predict_or_errors([None])[0].reason  # type: ignore[union-attr]


def test_many_threads_share_a_classifier(folder: Path) -> None:
    classifier = Classifier.from_pretrained(folder)
    texts = [f"a {'b c ' * (number % 40)}" for number in range(60)]
    expected = classifier.logits(texts)

    def compute(number: int) -> bool:
        part = slice(number % 7, number % 7 + 1 + number % 30)
        return np.array_equal(classifier.logits(texts[part]), expected[part])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(compute, range(80)))
        # A stream continues in another thread, and is closed early.
        stream = classifier.predict_stream(texts)
        first = next(stream)
        rest = pool.submit(lambda: [next(stream) for _ in range(9)]).result()
    stream.close()  # type: ignore[attr-defined]
    logits = np.array([each.logits for each in [first, *rest]], np.float32)
    assert np.array_equal(logits, expected[:10])

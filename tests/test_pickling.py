"""Pickling and copying: the same bits after the trip, in every precision."""

import copy
import io
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_wordpiece_folder

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.errors import CheckpointError, InputError
from isobatch.kernels import block_weights, compiled, this_machine
from isobatch.model import read_model
from isobatch.tasks import pipeline

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

    for kernel in (TileKernel(), RowKernel()):
        monkeypatch.setattr(selection, "candidate_kernels", lambda *_, kernel=kernel: (kernel,))
        classifier = Classifier.from_pretrained(folder)
        assert {choice.kernel for choice in classifier.choices} >= {kernel.name}
        found = pickled(classifier)
        assert isinstance(found, Classifier)
        assert np.array_equal(found.logits(TEXTS), classifier.logits(TEXTS))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_compiled_block_gets_addresses_of_its_own(
    tiny_folder: TinyFolder, precision: str
) -> None:
    tiny = Tiny("bert", num_heads=4, head_dim=16, intermediate_size=128)
    block = read_model(tiny_folder(tiny)).blocks[0]
    before = compiled.PackedBlock(block_weights(block.spec, block.weights.tensors), precision)
    after = pickled(before)
    assert isinstance(after, compiled.PackedBlock)
    for one, other in zip(before._products, after._products, strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.bias, other.bias)
    assert after._structure.query.weight == after._products[0].weight.data_ptr()
    assert after._structure.query.weight != before._structure.query.weight
    assert after._structure.norm.bias == after._norms[1].bias.data_ptr()
    assert (after._structure.heads, after._structure.activation) == (4, 0)


def test_another_machine_is_refused_with_the_call_that_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pickle.dumps(Classifier.from_pretrained(folder))
    elsewhere = replace(this_machine(), instruction_set="VAX")
    monkeypatch.setattr(pipeline, "this_machine", lambda: elsewhere)
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


def test_the_drop_in_model_selects_kernels_again_on_another_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isobatch.compat import drop_in_model as compat_model

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    content = pickle.dumps(model)
    selected: list[object] = []
    select = compat_model.select_kernels
    monkeypatch.setattr(
        compat_model, "select_kernels", lambda each: (selected.append(each), select(each))[1]
    )
    ids = torch.tensor([[2, 9, 3]])
    mask = torch.ones_like(ids)
    assert torch.equal(pickle.loads(content)(ids, mask).logits, model(ids, mask).logits)
    assert selected == []
    elsewhere = replace(this_machine(), instruction_set="VAX")
    monkeypatch.setattr(compat_model, "this_machine", lambda: elsewhere)
    assert torch.equal(pickle.loads(content)(ids, mask).logits, model(ids, mask).logits)
    assert len(selected) == 1


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

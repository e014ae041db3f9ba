"""engine="transformers": other architectures, bit-identical to a single call of transformers."""

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from embedding_folders import edit_json
from foreign_checkpoints import ARCHITECTURES, TEXTS, write_foreign
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from isobatch import Classifier, Embedder, Reranker, TokenClassifier, ZeroShotClassifier
from isobatch.audit import audit
from isobatch.audit.targets.isobatch_target import subject_of_pipeline
from isobatch.errors import (
    CheckpointError,
    MissingHeadError,
    NotInvariantError,
    OptionError,
    PrecisionError,
    TensorMismatchError,
    UnsupportedModelError,
)
from isobatch.kernels.invariance import threads
from isobatch.scope import describe_scope
from isobatch.tasks import load_pipeline
from isobatch.transformers_engine.library_engine import align_tensors
from isobatch.types import TextWindows

Foreign = Callable[..., Path]


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """Return the folder of an architecture, written once for equal arguments."""

    @cache
    def write(model_type: str, auto: str = "AutoModelForSequenceClassification") -> Path:
        return write_foreign(tmp_path_factory.mktemp("foreign"), model_type, auto)

    return write


def load(folder: Path, **options: Any) -> Classifier:
    return Classifier.from_pretrained(folder, engine="transformers", **options)


def reference(folder: Path, texts: list[str], auto: str) -> list[NDArray[np.float32]]:
    """Call transformers with one text after the other, with one thread."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, auto).from_pretrained(folder)
    align_tensors(model)  # memory that is not aligned may change the last digit
    found = []
    with threads(1), torch.inference_mode():
        for text in texts:
            inputs = tokenizer(text, truncation=True, return_tensors="pt")
            if model.config.model_type == "fnet":
                del inputs["attention_mask"]  # its forward has none
            found.append(model(**inputs)[0][0].numpy())
    return found


def same(first: Any, second: Any) -> bool:
    return [np.asarray(each).tobytes() for each in first] == [
        np.asarray(each).tobytes() for each in second
    ]


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_logits_are_those_of_transformers_alone_and_in_any_batch(
    model_type: str, foreign: Foreign
) -> None:
    folder = foreign(model_type)
    classifier = load(folder)
    texts = TEXTS[1:] if model_type == "funnel" else TEXTS  # which fails on an empty text itself
    expected = reference(folder, texts, "AutoModelForSequenceClassification")
    assert same(classifier.logits(texts), expected)
    assert same([classifier.logits([text])[0] for text in texts], expected)
    for num_threads in (1, 2, 3):
        with threads(num_threads):
            assert same(classifier.logits(texts[::-1])[::-1], expected)
            assert torch.get_num_threads() == num_threads
    classifier.max_batch_tokens = 1
    assert same(classifier.logits(texts), expected)


def test_padded_batches_of_transformers_move_such_a_model(foreign: Foreign) -> None:
    folder = foreign("fnet")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    inputs = tokenizer(TEXTS, truncation=True, padding=True, return_tensors="pt")
    del inputs["attention_mask"]
    with torch.inference_mode():
        padded = model(**inputs).logits.numpy()
    assert np.abs(padded - load(folder).logits(TEXTS)).max() > 1e-3


def test_every_task_is_that_of_transformers(foreign: Foreign, tmp_path: Path) -> None:
    tokens = foreign("convbert", "AutoModelForTokenClassification")
    found = TokenClassifier.from_pretrained(tokens, engine="transformers", truncation="cut")
    outputs = found.forward(found.tokenize(TEXTS))
    expected = reference(tokens, TEXTS, "AutoModelForTokenClassification")
    assert same(outputs, expected)

    encoder = foreign("squeezebert", "AutoModel")
    embedder = Embedder.from_pretrained(encoder, engine="transformers", pooling="cls")
    hidden = reference(encoder, TEXTS, "AutoModel")
    assert same(embedder(TEXTS), [each[0] for each in hidden])
    mean = Embedder.from_pretrained(encoder, engine="transformers", pooling="mean", normalize=True)
    vectors = np.stack([each.mean(0) for each in hidden])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(mean(TEXTS), vectors, atol=1e-6)
    assert same([mean(text) for text in TEXTS], mean(TEXTS))

    one = write_foreign(tmp_path / "one", "mobilebert", num_labels=1)
    reranker = Reranker.from_pretrained(one, engine="transformers")
    ranked = reranker.rank("a nice film", TEXTS)
    pairs = [reranker([("a nice film", text)])[0].logits[0] for text in TEXTS]
    assert [each.logit for each in ranked] == sorted(pairs, reverse=True)

    labels = {0: "entailment", 1: "neutral", 2: "contradiction"}
    nli = write_foreign(tmp_path / "nli", "convbert", id2label=labels, type_vocab_size=2)
    zero_shot = ZeroShotClassifier.from_pretrained(nli, engine="transformers")
    answers = zero_shot(TEXTS, ["film", "day"])
    assert [zero_shot(text, ["film", "day"]) for text in TEXTS] == answers
    tokenizer = transformers.AutoTokenizer.from_pretrained(nli)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(nli)
    align_tensors(model)
    with threads(1), torch.inference_mode():
        pair = tokenizer(TEXTS[2], "This example is film.", return_tensors="pt")
        assert answers[2].nli_logits[0] == tuple(model(**pair).logits[0].tolist())


def test_modules_follow_the_last_hidden_states(tmp_path: Path) -> None:
    sentence = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    folder = write_foreign(tmp_path / "encoder", "squeezebert", "AutoModel")
    encoder = modules.Transformer(str(folder), max_seq_length=40)
    dense = modules.Dense(32, 16)
    st = sentence.SentenceTransformer(
        modules=[encoder, modules.Pooling(32, "mean"), dense], device="cpu"
    )
    st.save(str(tmp_path / "st"))
    embedder = load_pipeline(tmp_path / "st", engine="transformers")
    assert isinstance(embedder, Embedder)
    expected = np.stack([st.encode(text) for text in TEXTS])
    assert np.allclose(embedder(TEXTS), expected, atol=1e-5)
    assert same([embedder(text) for text in TEXTS], embedder(TEXTS))
    assert embedder.choices[0].kernel.startswith("transformers ")


def test_windows_streams_pickles_and_caches_work_as_with_the_native_engine(
    foreign: Foreign,
) -> None:
    classifier = load(foreign("convbert"), truncation=TextWindows(stride=4))
    long = classifier([TEXTS[-1]])[0]
    assert long.num_windows > 1
    assert not long.truncated
    assert list(classifier.predict_stream(iter(TEXTS)))[-1] == long
    assert pickle.loads(pickle.dumps(classifier))([TEXTS[-1]])[0] == long
    texts: list[Any] = [*TEXTS[:2], 5, TEXTS[2]]
    first, second, error, third = classifier.predict_or_errors(texts)
    assert [first, second, third] == classifier(TEXTS[:3])
    assert "expected a string" in str(error)


def test_positions_of_roberta_limit_the_length(tmp_path: Path) -> None:
    folder = write_foreign(
        tmp_path, "data2vec-text", pad_token_id=1, options={"model_max_length": 1000}
    )
    classifier = load(folder)
    assert classifier.max_tokens == 158  # of 160 rows, of which 0 and 1 are for no text
    assert classifier(["film " * 400])[0].num_tokens == 158


# ------------------------------------------------------------------------------ grouping


def test_groups_of_equal_length_are_named_drift(foreign: Foreign) -> None:
    folder = foreign("fnet")
    grouped, alone = load(folder, group_equal_lengths=True), load(folder)
    assert np.allclose(grouped.logits(TEXTS), alone.logits(TEXTS), atol=1e-4)
    assert " drift " in grouped.arithmetic
    assert grouped.arithmetic != alone.arithmetic
    assert "drift" in describe_scope(grouped, "x").promise
    assert "every batch:" in describe_scope(alone, "x").promise
    assert "FNetForSequenceClassification of transformers" in describe_scope(alone, "x").head


def test_the_audit_catches_a_model_whose_answer_depends_on_its_batch(foreign: Foreign) -> None:
    def mix(_module: nn.Module, _inputs: object, output: Any) -> Any:
        output.logits = output.logits + 0.5 * output.logits.mean(0, keepdim=True)
        return output

    def verdict(**options: Any) -> list[str]:
        classifier = load(foreign("fnet"), **options)
        model: Any = classifier._model
        model.library_model.register_forward_hook(mix)
        report = audit(subject_of_pipeline(classifier, "mixing"), quick=True)
        return [finding.name for finding in report.findings if finding.severity == "bug"]

    assert verdict(group_equal_lengths=True)
    assert not verdict()


# ------------------------------------------------------------------------------ the check at load


def test_a_model_with_a_state_between_calls_is_rejected(tmp_path: Path) -> None:
    sparse = {"attention_type": "block_sparse", "block_size": 8, "num_random_blocks": 1}
    folder = write_foreign(tmp_path, "big_bird", options={"model_max_length": 160}, **sparse)
    with pytest.raises(NotInvariantError, match="different bits for a text") as raised:
        load(folder)
    assert '"attention_type": "original_full"' in str(raised.value)
    edit_json(folder / "config.json", attention_type="original_full")
    assert load(folder).max_tokens == 160


def test_a_model_that_counts_its_calls_is_rejected(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = transformers.FNetForSequenceClassification.forward
    calls = []

    def counted(self: Any, input_ids: Any = None, token_type_ids: Any = None, **rest: Any) -> Any:
        calls.append(0)
        output = forward(self, input_ids, token_type_ids, **rest)
        output.logits += 1e-6 * len(calls)
        return output

    monkeypatch.setattr(transformers.FNetForSequenceClassification, "forward", counted)
    with pytest.raises(NotInvariantError, match="FNetForSequenceClassification"):
        load(foreign("fnet"))


def test_settings_that_change_its_bits_are_rejected(foreign: Foreign) -> None:
    classifier = load(foreign("convbert"))
    before = classifier.logits(TEXTS)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(OptionError, match="default dtype"):
            classifier(TEXTS)
    finally:
        torch.set_default_dtype(torch.float32)
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        pytest.raises(OptionError, match="attention 'flash' is disabled"),
    ):
        classifier(TEXTS)
    torch._C._set_mkldnn_enabled(False)
    try:
        with pytest.raises(OptionError, match="mkldnn"):
            classifier(TEXTS)
    finally:
        torch._C._set_mkldnn_enabled(True)
    with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
        assert same(classifier.logits(TEXTS), before)
        assert same(load(foreign("convbert")).logits(TEXTS), before)


# ------------------------------------------------------------------------------ rejections


def test_the_message_for_an_unsupported_architecture_names_the_engine(foreign: Foreign) -> None:
    with pytest.raises(UnsupportedModelError, match="model_type 'fnet' is not supported") as raised:
        Classifier.from_pretrained(foreign("fnet"))
    assert 'engine="transformers" (--model-engine transformers)' in str(raised.value)


def test_options_that_it_does_not_have_are_rejected(foreign: Foreign) -> None:
    with pytest.raises(PrecisionError, match="'int8' is not supported by engine='transformers'"):
        load(foreign("fnet"), precision="int8")
    assert load(foreign("fnet"), precision="auto").precision == "fp32"
    with pytest.raises(OptionError, match="group_equal_lengths is for"):
        Classifier.from_pretrained(group_equal_lengths=True)
    unknown: Any = "onnx"
    with pytest.raises(OptionError, match="engine 'onnx' is not supported"):
        Classifier.from_pretrained(engine=unknown)
    with pytest.raises(MissingHeadError, match="is for text-classification"):
        TokenClassifier.from_pretrained(foreign("fnet"), engine="transformers")


def test_code_of_a_checkpoint_is_never_run(foreign: Foreign, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "modeling_own.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    own = {"AutoConfig": "modeling_own.C", "AutoModelForSequenceClassification": "modeling_own.M"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    with pytest.raises(UnsupportedModelError, match="needs code of its own"):
        load(tmp_path)
    known = write_foreign(tmp_path / "known", "fnet")
    (known / "modeling_own.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    edit_json(known / "config.json", auto_map=own)
    assert same(load(known).logits(TEXTS), load(foreign("fnet")).logits(TEXTS))
    assert not mark.exists()


def test_missing_and_unknown_tensors_are_rejected(tmp_path: Path) -> None:
    folder = write_foreign(tmp_path, "fnet")
    whole = load_file(folder / "model.safetensors")

    def write(tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    write({name: each for name, each in whole.items() if not name.startswith("classifier")})
    with pytest.raises(MissingHeadError, match="has no head for text-classification"):
        load(folder)
    write({name: each for name, each in whole.items() if "layer.1.output.dense" not in name})
    with pytest.raises(TensorMismatchError, match="missing or of the wrong shape"):
        load(folder)
    write(whole | {"fnet.encoder.other": torch.ones(2)})
    with pytest.raises(TensorMismatchError, match=r"unexpected: fnet\.encoder\.other"):
        load(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="isobatch convert"):
        load(folder)


def test_an_architecture_without_the_task_and_a_quantized_one_are_rejected(
    foreign: Foreign, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(UnsupportedModelError, match="no model for text-classification"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "not-there"}')
    with pytest.raises(UnsupportedModelError, match="has no architecture 'not-there'"):
        load(tmp_path)
    folder = write_foreign(tmp_path / "quantized", "fnet")
    edit_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(UnsupportedModelError, match="is quantized"):
        load(folder)

"""Embedder: vectors of sentence-transformers, prompts, lengths, and what a folder does not say."""

import copy
import json
import pickle
import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from embedding_folders import (
    SIZE,
    TEXTS,
    EmbeddingFolder,
    Vectors,
    edit_json,
    reference_vectors,
    write_embedding_folder,
    write_encoder,
)
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tiny_checkpoints import DECODERS, FAMILIES, Tiny, fill_randomly, tiny_config, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch import AutoModel, AutoTokenizer, Classifier, Embedder, Embedding
from isobatch.batching.cache import OutputCache
from isobatch.checkpoint import checkpoint_digest
from isobatch.errors import (
    CheckpointError,
    InputError,
    MissingHeadError,
    NotInvariantError,
    OptionError,
    TooLongError,
    UnsupportedModelError,
)
from isobatch.kernels import pooling
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.specification import Pool
from isobatch.types import Encoding

POOLINGS = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "lasttoken": "last",
}
"""Names of sentence-transformers, and those of `pooling=`."""


@pytest.fixture(scope="session")
def embedding_folder(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingFolder:
    """Never write into it: copy it first."""

    @cache
    def made(model_type: str = "bert", *modes: str) -> Path:
        modules = [Pooling(SIZE, modes)] if modes else None
        return write_embedding_folder(tmp_path_factory.mktemp("model"), model_type, modules)

    return made


@pytest.fixture(scope="session")
def embedder(embedding_folder: EmbeddingFolder) -> Embedder:
    return Embedder.from_pretrained(embedding_folder())


@pytest.fixture
def own_folder(embedding_folder: EmbeddingFolder, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(embedding_folder(), tmp_path / "model"))


def check_parity(found: Vectors, expected: Vectors) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert expected.std(0).max() > 0.05, "vectors that hardly vary would be no test"


# ---------------------------------------------------------------------------- the same vectors


@pytest.mark.parametrize("modes", [*((mode,) for mode in POOLINGS), ("cls", "max", "mean")])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_vectors_are_those_of_sentence_transformers(
    model_type: str, modes: tuple[str, ...], embedding_folder: EmbeddingFolder
) -> None:
    folder = embedding_folder(model_type, *modes)
    embedder = Embedder.from_pretrained(folder)
    assert embedder.pooling == tuple(POOLINGS[mode] for mode in modes)
    assert embedder.size == SIZE * len(modes)
    assert not embedder.normalizes
    check_parity(embedder(TEXTS), reference_vectors(folder))


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@pytest.mark.parametrize("mode", ["cls", "lasttoken"])
def test_without_compiled_kernels_one_row_is_computed_too(
    mode: str,
    model_type: str,
    embedding_folder: EmbeddingFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = embedding_folder(model_type, mode)
    compiled = Embedder.from_pretrained(folder)(TEXTS)
    monkeypatch.setenv(VARIABLE, "torch")
    embedder = Embedder.from_pretrained(folder)
    check_parity(embedder(TEXTS), reference_vectors(folder))
    check_parity(embedder(TEXTS), compiled)


@pytest.mark.usefixtures("each_way_to_compute")
def test_normalized_vectors_are_those_of_sentence_transformers(
    embedding_folder: EmbeddingFolder,
) -> None:
    folder = embedding_folder()
    embedder = Embedder.from_pretrained(folder)
    assert embedder.normalizes
    vectors = embedder(TEXTS)
    check_parity(vectors, reference_vectors(folder))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def as_saved_in_2021(folder: Path) -> Path:
    """Bring a folder to the layout of all-MiniLM-L6-v2 on the hub."""
    modules = ["Transformer", "Pooling", "Normalize"]
    listed = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{name}" if index else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for index, name in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 16, "do_lower_case": False})
    )
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"__version__": {"sentence_transformers": "2.0.0"}})
    )
    shutil.rmtree(folder / "2_Normalize")
    (folder / "1_Pooling/config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": SIZE,
                "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False,
            }
        )
    )
    return folder


def test_the_layout_of_all_minilm_l6_v2(own_folder: Path) -> None:
    """Its longest text is shorter than the tokenizer says, and 2_Normalize does not exist."""
    embedder = Embedder.from_pretrained(as_saved_in_2021(own_folder))
    assert (embedder.max_tokens, embedder.pooling, embedder.normalizes) == (16, ("mean",), True)
    check_parity(embedder(TEXTS), reference_vectors(own_folder))
    whole = Embedder.from_pretrained(own_folder, truncation="error")
    with pytest.raises(TooLongError, match="text 1: has more than 16 tokens"):
        whole(["short", TEXTS[-1]])


@pytest.mark.parametrize(("stated", "longest"), [(60, 60), (100_000, 512)])
def test_max_seq_length_replaces_the_tokenizer_s_limit_within_the_model_s(
    stated: int, longest: int, own_folder: Path
) -> None:
    edit_json(own_folder / "sentence_bert_config.json", max_seq_length=stated)
    embedder = Embedder.from_pretrained(own_folder)
    assert embedder.max_tokens == longest
    check_parity(embedder(TEXTS), reference_vectors(own_folder))
    assert embedder.predict(TEXTS)[-1].num_tokens == min(longest, 65)


def test_arguments_for_the_tokenizer_come_before_max_seq_length(own_folder: Path) -> None:
    edit_json(
        own_folder / "sentence_bert_config.json",
        max_seq_length=40,
        tokenizer_args={"model_max_length": 9, "trust_remote_code": True},
    )
    assert Embedder.from_pretrained(own_folder).max_tokens == 9
    check_parity(Embedder.from_pretrained(own_folder)(TEXTS), reference_vectors(own_folder))


@pytest.mark.parametrize("name", ["bert", "roberta", "albert"])
def test_do_lower_case_comes_before_a_cased_tokenizer(name: str, tmp_path: Path) -> None:
    folder = write_embedding_folder(tmp_path, lowercase=False)
    texts = ["TODAY is a nice day", "today is a nice day", "Café"]
    before = Embedder.from_pretrained(folder)(texts)
    assert abs(before[0] - before[1]).max() > 0.01
    (folder / "sentence_bert_config.json").unlink()
    edit_json(folder / f"sentence_{name}_config.json", do_lower_case=True)
    after = Embedder.from_pretrained(folder)(texts)
    assert np.array_equal(after[0], after[1])
    check_parity(after, reference_vectors(folder, texts))


def test_a_tokenizer_that_lowers_case_itself_stays_as_it_is(own_folder: Path) -> None:
    before = Embedder.from_pretrained(own_folder)(TEXTS)
    edit_json(own_folder / "sentence_bert_config.json", do_lower_case=True)
    assert np.array_equal(Embedder.from_pretrained(own_folder)(TEXTS), before)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"processing_kwargs": {"text": {"max_length": 8}}}, "processing_kwargs"),
        ({"model_args": {"hidden_act": "relu"}}, "model_args.hidden_act"),
        ({"config_kwargs": {"num_hidden_layers": 1}}, "config_kwargs.num_hidden_layers"),
        ({"module_output_name": "sentence_embedding"}, "module_output_name"),
        (
            {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler"}}},
            "modality_config.text",
        ),
        ({"tokenizer_name_or_path": "another/model"}, "tokenizer_name_or_path"),
    ],
)
def test_a_setting_of_the_encoder_that_is_not_supported_is_named(
    change: dict[str, object], named: str, own_folder: Path
) -> None:
    place = own_folder / "sentence_bert_config.json"
    edit_json(place, **change)
    with pytest.raises(UnsupportedModelError) as raised:
        Embedder.from_pretrained(own_folder)
    assert str(raised.value) == (
        f"{place}: {named} is not supported. If it was not used in training, delete it"
    )


def test_settings_of_the_encoder_that_change_no_vector_are_accepted(own_folder: Path) -> None:
    before = Embedder.from_pretrained(own_folder)(TEXTS)
    edit_json(
        own_folder / "sentence_bert_config.json",
        unpad_inputs=True,
        model_args={"torch_dtype": "float32", "trust_remote_code": False},
    )
    assert np.array_equal(Embedder.from_pretrained(own_folder)(TEXTS), before)


@pytest.mark.parametrize("value", [0, -1, "256", True, 2.5])
def test_a_maximal_length_that_is_none_is_an_error(value: object, own_folder: Path) -> None:
    edit_json(own_folder / "sentence_bert_config.json", max_seq_length=value)
    with pytest.raises(CheckpointError, match="max_seq_length must be a positive number of tokens"):
        Embedder.from_pretrained(own_folder)


@pytest.mark.parametrize("value", [1, 2])
def test_a_maximal_length_without_place_for_a_text_is_an_error(
    value: int, own_folder: Path
) -> None:
    edit_json(own_folder / "sentence_bert_config.json", max_seq_length=value)
    with pytest.raises(CheckpointError) as raised:
        Embedder.from_pretrained(own_folder)
    assert str(raised.value) == (
        f"{own_folder}: a maximal length of {value} leaves no room for a text, because the "
        "tokenizer adds "
        "2 tokens. Correct max_seq_length in sentence_bert_config.json"
    )


# ------------------------------------------------------------------------------- shapes and types


def test_one_text_is_one_vector_and_a_list_is_a_matrix(embedder: Embedder) -> None:
    alone, together = embedder(TEXTS[2]), embedder([TEXTS[2]])
    assert (alone.shape, together.shape) == ((SIZE,), (1, SIZE))
    assert alone.tobytes() == together.tobytes()
    assert embedder(TEXTS).shape == (len(TEXTS), SIZE)
    assert embedder(iter(TEXTS)).tobytes() == embedder(TEXTS).tobytes()


def test_no_texts_are_an_empty_matrix(embedder: Embedder) -> None:
    empty = embedder([])
    assert (empty.shape, empty.dtype) == ((0, SIZE), np.float32)
    assert list(embedder.predict_stream([])) == []


def test_a_pair_is_a_tuple(embedder: Embedder) -> None:
    pair = embedder(("Today", "is a nice day!"))
    assert pair.shape == (SIZE,)
    assert pair.tobytes() == embedder([("Today", "is a nice day!"), "x"])[0].tobytes()
    assert pair.tobytes() != embedder(["Today", "is a nice day!"])[0].tobytes()


def test_texts_that_are_none_are_errors_with_their_index(embedder: Embedder) -> None:
    with pytest.raises(InputError, match="text 1: expected a string"):
        embedder(["good", 7])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"expected a text, a \(text, text_pair\) tuple or a list"):
        embedder(7)  # type: ignore[arg-type]


def test_predictions_say_how_many_tokens_were_read(embedder: Embedder) -> None:
    predictions = embedder.predict(TEXTS)
    assert [each.truncated for each in predictions] == [False] * 7 + [True]
    assert [each.num_tokens for each in predictions[:2]] == [2, 3]
    assert predictions[-1].num_tokens == embedder.max_tokens == 48
    vectors = np.stack([each.vector for each in predictions])
    assert vectors.tobytes() == embedder(TEXTS).tobytes()
    assert list(embedder.predict_stream(TEXTS)) == predictions
    assert embedder.predict_or_errors(TEXTS) == predictions
    assert embedder.predict_or_errors(["x", None, TEXTS[2]])[2] == predictions[2]


def test_an_embedding_is_compared_by_bits_and_cannot_be_changed(embedder: Embedder) -> None:
    cache = OutputCache()
    one, other, third = embedder.predict_or_errors([TEXTS[2], TEXTS[2], TEXTS[3]], cache=cache)
    assert isinstance(one, Embedding)
    assert one == other
    assert hash(one) == hash(other)
    assert one != third
    assert one != "another type"
    with pytest.raises(ValueError, match="read-only"):
        one.vector[0] = 1.0
    assert Embedding(np.array([0.0], np.float32), False, 2) != Embedding(
        np.array([-0.0], np.float32), False, 2
    )
    assert json.loads(json.dumps(one.to_dict()))["embedding"] == one.vector.tolist()
    assert repr(one) == "Embedding(truncated=False, num_tokens=8, num_windows=1)"


def test_a_row_of_a_file_is_the_vector(embedder: Embedder) -> None:
    row_format = pickle.loads(pickle.dumps(embedder.row_format))
    options = {"raw": False, "all_scores": False}
    assert [each.name for each in row_format.columns(**options)] == ["embedding"]
    (prediction,) = embedder.predict([TEXTS[2]])
    (vector,) = row_format.values(prediction, **options)
    assert np.array(vector, np.float32).tobytes() == prediction.vector.tobytes()
    assert row_format.size == len(vector)


def test_an_embedder_can_be_copied_and_pickled(embedder: Embedder) -> None:
    expected = embedder(TEXTS).tobytes()
    prompted = embedder.with_prompt(prompt="Today ")
    for again in (copy.deepcopy(prompted), pickle.loads(pickle.dumps(prompted))):
        assert again(TEXTS).tobytes() == prompted(TEXTS).tobytes() != expected
    assert pickle.loads(pickle.dumps(embedder))(TEXTS).tobytes() == expected


def test_an_embedder_shows_how_vectors_are_made(embedder: Embedder) -> None:
    assert repr(embedder) == (
        f"Embedder({str(embedder.folder)!r}, family='bert', precision='fp32', pooling='mean', "
        f"normalizes=True, size={SIZE})"
    )


# ------------------------------------------------------------------------------------ the prompts


@pytest.fixture(scope="module")
def prompted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "today: ", "document": "a film: "}
    return write_embedding_folder(
        tmp_path_factory.mktemp("prompts"), prompts=prompts, default_prompt_name="query"
    )


def test_prompts_are_those_of_sentence_transformers(prompted_folder: Path) -> None:
    embedder = Embedder.from_pretrained(prompted_folder)
    assert embedder.prompts == {"query": "today: ", "document": "a film: "}
    assert embedder.default_prompt_name == "query"
    for options in ({}, {"prompt_name": "document"}, {"prompt": "not "}, {"prompt": ""}):
        found = embedder(TEXTS, **options)  # type: ignore[arg-type]
        check_parity(found, reference_vectors(prompted_folder, **options))
    plain = Embedder.from_pretrained(prompted_folder)(TEXTS, prompt="")
    assert abs(plain - embedder(TEXTS)).max() > 0.01


def test_every_method_uses_the_prompt(prompted_folder: Path) -> None:
    default = Embedder.from_pretrained(prompted_folder)
    chosen = default.with_prompt(prompt_name="document")
    for embedder, prompt in ((default, "today: "), (chosen, "a film: ")):
        expected = default([prompt + text for text in TEXTS], prompt="").tobytes()
        assert embedder(TEXTS).tobytes() == expected
        for found in (
            embedder.predict(TEXTS),
            list(embedder.predict_stream(TEXTS)),
            embedder.predict_or_errors(TEXTS),
        ):
            assert b"".join(each.vector.tobytes() for each in found) == expected
        encodings = embedder.tokenize(TEXTS)
        assert encodings == default.tokenize(TEXTS, prompt=prompt)
    assert default.with_prompt() is default


@pytest.mark.parametrize("prompt", ["", "today: "])
def test_a_text_longer_than_the_model_is_read_in_windows(prompt: str, embedder: Embedder) -> None:
    """Each has the prompt, and the mean of the windows' vectors has the length 1 again."""
    long = TEXTS[-1]
    prompted = embedder.with_prompt(prompt=prompt)
    (found,) = prompted.predict([long], truncation="window")
    assert found.num_windows == 2
    assert not found.truncated
    assert found.vector.tobytes() == prompted(long, truncation="window").tobytes()
    (encoding,) = prompted.tokenize([long], truncation="window")
    assert isinstance(encoding, Encoding)
    windows = np.stack(prompted.forward(list(encoding.windows())))
    mean = windows.mean(0) / np.linalg.norm(windows.mean(0))
    np.testing.assert_allclose(found.vector, mean, rtol=0, atol=1e-6)
    first, second = encoding.windows()
    shared = embedder.predict([prompt])[0].num_tokens
    assert list(first.input_ids[: shared - 1]) == list(second.input_ids[: shared - 1])


def test_a_prompt_comes_before_the_first_text_of_a_pair(prompted_folder: Path) -> None:
    embedder = Embedder.from_pretrained(prompted_folder)
    found = embedder(("nice", "day"))
    assert found.tobytes() == embedder(("today: nice", "day"), prompt="").tobytes()


def test_an_error_is_that_of_the_text_without_the_prompt(prompted_folder: Path) -> None:
    embedder = Embedder.from_pretrained(prompted_folder)
    with pytest.raises(InputError, match="text 1: character 2 is a lone surrogate"):
        embedder(["good", "ab\ud800"])
    results = embedder.predict_or_errors(["good", None, ("a",)])
    assert [type(each) for each in results] == [Embedding, InputError, InputError]


def test_a_prompt_that_is_none_is_an_error(prompted_folder: Path, embedder: Embedder) -> None:
    prompted = Embedder.from_pretrained(prompted_folder)
    with pytest.raises(OptionError) as raised:
        prompted(TEXTS, prompt_name="passage")
    assert str(raised.value) == (
        "prompt_name 'passage' is not one of the model's ('document', 'query'). Pass the text "
        "itself as prompt= (--prompt)"
    )
    with pytest.raises(OptionError, match=r"two ways to say the same\. Omit one"):
        prompted(TEXTS, prompt_name="query", prompt="today: ")
    for prompt in (7, "\ud800", ("a", "b")):
        with pytest.raises(OptionError, match="prompt must be a text, got"):
            prompted(TEXTS, prompt=prompt)  # type: ignore[arg-type]


def test_a_default_prompt_without_a_text_is_an_error(own_folder: Path) -> None:
    place = own_folder / "config_sentence_transformers.json"
    edit_json(place, prompts={"query": "q: "}, default_prompt_name="passage")
    with pytest.raises(CheckpointError) as raised:
        Embedder.from_pretrained(own_folder)
    assert str(raised.value) == (
        f"{place}: default_prompt_name is 'passage', which is not one of its prompts (query). "
        "Write "
        "the name of one, or null"
    )
    edit_json(place, prompts={"query": 7})
    with pytest.raises(CheckpointError, match="prompts must map names to texts"):
        Embedder.from_pretrained(own_folder)


def test_a_null_prompt_is_empty(own_folder: Path) -> None:
    edit_json(own_folder / "config_sentence_transformers.json", prompts={"query": ""})
    place = own_folder / "config_sentence_transformers.json"
    place.write_text(place.read_text().replace('"query": ""', '"query": null'))
    embedder = Embedder.from_pretrained(own_folder)
    assert embedder(TEXTS, prompt_name="query").tobytes() == embedder(TEXTS).tobytes()


# ------------------------------------------------------------------------- pooling by the caller


def test_a_folder_that_does_not_say_how_to_pool_needs_pooling(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    with pytest.raises(MissingHeadError) as raised:
        Embedder.from_pretrained(folder)
    assert str(raised.value) == (
        f"{folder}/modules.json: no such file, so it is unknown how token vectors are pooled into "
        "one. Pass pooling= (--pooling) with one of: cls, last, mean, max, as the model card says"
    )


@pytest.mark.parametrize("mode", POOLINGS)
def test_pooling_is_that_of_the_caller(mode: str, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    found = Embedder.from_pretrained(folder, pooling=POOLINGS[mode])(TEXTS)
    model = SentenceTransformer(str(folder), device="cpu")
    model[1] = Pooling(SIZE, mode)
    check_parity(found, model.encode(TEXTS, show_progress_bar=False))


@pytest.mark.parametrize("kind", ["SequenceClassification", "TokenClassification", "MaskedLM"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_checkpoint_with_another_head_gives_the_vectors_of_its_encoder(
    model_type: str, kind: str, tmp_path: Path
) -> None:
    ending = kind.replace("Masked", "Causal") if model_type in DECODERS else kind
    model_class = getattr(transformers, f"AutoModelFor{ending}")
    model = fill_randomly(model_class.from_config(tiny_config(Tiny(model_type)))).eval()
    model.save_pretrained(tmp_path)
    write_wordpiece_folder(tmp_path, "bert")  # the tokenizer is not under test
    ids = [2, 17, 40, 41, 99, 3]
    embedder = Embedder.from_pretrained(tmp_path, pooling="mean")
    (output,) = embedder.forward([Encoding(ids, [0] * len(ids))])
    with torch.no_grad():
        hidden = model.base_model(torch.tensor([ids])).last_hidden_state
    np.testing.assert_allclose(output, hidden[0].mean(0).numpy(), rtol=0, atol=1e-5)


def test_options_of_another_kind_are_refused(embedding_folder: EmbeddingFolder) -> None:
    folder = embedding_folder()
    with pytest.raises(OptionError, match="normalize must be True, False or None, got 'yes'"):
        Embedder.from_pretrained(folder, normalize="yes")  # type: ignore[arg-type]
    embedder = Embedder.from_pretrained(folder)
    for truncation in (False, "", []):  # None alone means the default
        with pytest.raises(OptionError, match="truncation must be"):
            embedder(TEXTS[-1], truncation=truncation)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="is not one of the model's"):
        embedder(TEXTS[1], prompt_name=["query"])  # type: ignore[arg-type]


def test_the_caller_s_choices_replace_those_of_the_folder(
    embedding_folder: EmbeddingFolder,
) -> None:
    folder = embedding_folder()
    plain = Embedder.from_pretrained(folder, normalize=False)
    assert not plain.normalizes
    np.testing.assert_allclose(
        plain(TEXTS) / np.linalg.norm(plain(TEXTS), axis=1, keepdims=True),
        Embedder.from_pretrained(folder)(TEXTS),
        atol=1e-6,
    )
    assert abs(np.linalg.norm(plain(TEXTS), axis=1) - 1).min() > 0.1
    first = Embedder.from_pretrained(folder, pooling="cls", normalize=True)
    assert (first.pooling, first.normalizes) == (("cls",), True)
    check_parity(
        first(TEXTS),
        reference_vectors(embedding_folder("bert", "cls"), normalize_embeddings=True),
    )


def test_truncate_dim_keeps_the_first_numbers(own_folder: Path) -> None:
    edit_json(own_folder / "config_sentence_transformers.json", truncate_dim=5)
    embedder = Embedder.from_pretrained(own_folder)
    assert embedder.size == 5
    assert embedder([]).shape == (0, 5)
    check_parity(embedder(TEXTS), reference_vectors(own_folder))
    again = Embedder.from_pretrained(own_folder, normalize=True)(TEXTS)
    check_parity(again, reference_vectors(own_folder, normalize_embeddings=True))
    never = Embedder.from_pretrained(own_folder, normalize=False)(TEXTS)
    assert abs(np.linalg.norm(never, axis=1) - 1).min() > 0.1
    edit_json(own_folder / "config_sentence_transformers.json", truncate_dim=0)
    with pytest.raises(CheckpointError, match="truncate_dim must be a positive integer or null"):
        Embedder.from_pretrained(own_folder)


def test_pooling_of_another_name_is_an_error(embedding_folder: EmbeddingFolder) -> None:
    with pytest.raises(OptionError, match=r"pooling \[.*\] is not supported"):
        Embedder.from_pretrained(embedding_folder(), pooling=["mean", "cls"])  # type: ignore[arg-type]
    with pytest.raises(OptionError) as raised:
        Embedder.from_pretrained(embedding_folder(), pooling="avg")
    assert str(raised.value) == ("pooling 'avg' is not supported. Use one of: cls, last, mean, max")


def test_the_bundled_model_is_a_classifier() -> None:
    with pytest.raises(OptionError, match="no embedding model is bundled"):
        Embedder.from_pretrained()
    assert Embedder.from_pretrained(pooling="mean")("a fine film").shape == (384,)


def test_a_classifier_is_not_loaded_from_an_embedding_model(
    embedding_folder: EmbeddingFolder,
) -> None:
    folder = embedding_folder()
    with pytest.raises(MissingHeadError) as raised:
        Classifier.from_pretrained(folder)
    assert str(raised.value) == (
        f"{folder}: is for feature-extraction (modules.json says so), and has no head for "
        "text-classification. Load it with isobatch.Embedder (isobatch embed), or use another "
        "checkpoint"
    )


def test_a_cross_encoder_has_no_pooling_but_the_caller_s(tmp_path: Path) -> None:
    """Its modules.json lists the encoder alone, and its prompts are not for embeddings."""
    folder = write_checkpoint(tmp_path, Tiny("bert", num_labels=1))
    write_wordpiece_folder(folder, "bert")
    module = {"idx": 0, "name": "0", "path": "", "type": f"sentence_transformers.{'Transformer'}"}
    (folder / "modules.json").write_text(json.dumps([module]))
    edit_json(
        folder / "config_sentence_transformers.json",
        model_type="CrossEncoder",
        prompts={"query": "today: "},
        default_prompt_name="query",
    )
    edit_json(
        folder / "sentence_bert_config.json",
        transformer_task="sequence-classification",
        modality_config={"text": {"method": "forward", "method_output_name": "logits"}},
        module_output_name="scores",
    )
    with pytest.raises(MissingHeadError, match="Pass pooling="):
        Embedder.from_pretrained(folder)
    embedder = Embedder.from_pretrained(folder, pooling="mean")
    assert embedder.prompts == {}
    assert embedder("good").shape == (SIZE,)


# --------------------------------------------------------------------------------- other APIs


def test_the_drop_in_encoder_loads_an_embedding_model(embedding_folder: EmbeddingFolder) -> None:
    folder = embedding_folder("roberta", "mean")
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS[2:5], padding=True, return_tensors="pt")
    ours = AutoModel.from_pretrained(folder)(**batch).last_hidden_state
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = theirs(**batch).last_hidden_state
    kept = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[kept], expected[kept], rtol=0, atol=1e-5)


def test_the_digest_of_a_checkpoint_depends_on_all_that_a_vector_depends_on(
    own_folder: Path,
) -> None:
    seen = {checkpoint_digest(own_folder)}
    edit_json(own_folder / "sentence_bert_config.json", max_seq_length=7)
    seen.add(checkpoint_digest(own_folder))
    edit_json(own_folder / "config_sentence_transformers.json", truncate_dim=7)
    seen.add(checkpoint_digest(own_folder))
    edit_json(own_folder / "1_Pooling/config.json", pooling_mode="cls")
    seen.add(checkpoint_digest(own_folder))
    (own_folder / "modules.json").write_text(
        json.dumps(json.loads((own_folder / "modules.json").read_text())[:2])
    )
    seen.add(checkpoint_digest(own_folder))
    assert len(seen) == 5


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_pool_that_depends_on_the_batch_is_rejected_at_load(
    pool: Pool, embedding_folder: EmbeddingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = embedding_folder()
    intact = pooling._pool

    def depends_on_neighbours(rows: torch.Tensor, pool: Pool) -> torch.Tensor:
        return intact(rows, pool) * (1 + 1e-6 * (len(rows) > 1))

    monkeypatch.setattr(pooling, "_pool", depends_on_neighbours)
    operation = re.escape(f"pool {pool} {SIZE}: no kernel on this machine gives the same bits")
    with pytest.raises(NotInvariantError, match=rf"{operation}.*halving rejected \(the bits of a"):
        Embedder.from_pretrained(folder, pooling=pool)


def test_pooling_is_one_of_the_selected_kernels(embedding_folder: EmbeddingFolder) -> None:
    choices = {
        each.operation: each for each in Embedder.from_pretrained(embedding_folder()).choices
    }
    assert choices[f"pool mean {SIZE}"].kernel == "numpy halving"
    first = Embedder.from_pretrained(embedding_folder("bert", "cls"))
    assert not [each for each in first.choices if each.operation.startswith("pool")]


def test_the_norm_of_a_model_without_it_is_not_one(embedding_folder: EmbeddingFolder) -> None:
    """The control of the tests of normalized vectors."""
    assert isinstance(SentenceTransformer(str(embedding_folder()))[2], Normalize)
    vectors = Embedder.from_pretrained(embedding_folder("bert", "mean"))(TEXTS)
    assert abs(np.linalg.norm(vectors, axis=1) - 1).min() > 0.1

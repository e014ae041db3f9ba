"""Checkpoints as targets, by transformers and by Isobatch, and models in memory."""

import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_checkpoints import MAX_TOKENS, Tiny, fill_randomly, random_model, write_checkpoint
from tokenizer_folders import (
    write_bpe_folder,
    write_unigram_folder,
    write_wordpiece_folder,
)
from torch import Tensor, nn

from isobatch import Classifier
from isobatch.audit.subject import PaddedModel, Rectangle, Subject
from isobatch.audit.targets import open_subject, subject_of_model
from isobatch.errors import (
    CheckpointError,
    MissingHeadError,
    OptionError,
    TensorMismatchError,
)
from isobatch.types import Encoding

TEXTS = ["Today is a nice day!", "But what about tomorrow?"]
LIMIT = 48
"""Of the tiny tokenizers."""
FOLDERS = {
    "bert": write_wordpiece_folder,
    "distilbert": write_wordpiece_folder,
    "roberta": write_bpe_folder,
    "xlm-roberta": write_unigram_folder,
}
WORDS = dict(vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        family: write(write_checkpoint(tmp_path_factory.mktemp(family), Tiny(family)), family)
        for family, write in FOLDERS.items()
    }


def tokenizer_in(folder: Path, **options: Any) -> Any:
    write_wordpiece_folder(folder)
    return transformers.AutoTokenizer.from_pretrained(folder, **options)


def padded_of(subject: Subject) -> PaddedModel:
    assert subject.padded is not None
    return subject.padded


def row(ids: list[int], **columns: Any) -> Rectangle:
    return Rectangle(np.array([ids]), **columns)


@pytest.mark.parametrize("family", FOLDERS)
def test_transformers_is_called_as_users_call_it(folders: dict[str, Path], family: str) -> None:
    folder = folders[family]
    subject = open_subject(f"transformers:{folder}")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits.double().numpy()
    assert np.array_equal(subject.predict(TEXTS), expected)
    assert subject.labels == ("LABEL_0", "LABEL_1")
    assert (subject.kind, subject.name) == ("transformers", folder.name)
    assert subject.facts["model type"] == family
    assert subject.facts["dtype"] == "float32"
    assert str(folder) not in str(subject.facts)


@pytest.mark.parametrize("family", FOLDERS)
def test_a_padded_model_of_transformers(folders: dict[str, Path], family: str) -> None:
    subject = open_subject(f"transformers:{folders[family]}")
    padded = padded_of(subject)
    from_padding = "roberta" in family
    assert padded.pad_id == int(from_padding)
    assert padded.counts_pad_ids == from_padding
    assert padded.positions_start == (2 if from_padding else 0)
    assert (padded.max_tokens, padded.tokenizer_limit) == (MAX_TOKENS, LIMIT)
    assert len(padded.filler_ids) >= 2
    assert padded.pad_id not in padded.filler_ids
    assert padded.mixing_fault is None
    ids = padded.encode(TEXTS[0])
    alone = padded.forward(row(ids))
    assert np.array_equal(alone, subject.predict(TEXTS[:1]))
    positions = padded.positions_start + np.arange(len(ids))[None]
    assert np.array_equal(padded.forward(row(ids, position_ids=positions)), alone)
    mask = np.array([[1] * len(ids) + [0] * 3])
    ids = [*ids, *[padded.pad_id] * 3]
    assert np.abs(padded.forward(row(ids, attention_mask=mask)) - alone).max() < 1e-4
    assert np.abs(padded.forward(row(ids)) - alone).max() > 1e-4
    assert padded.hidden is not None
    assert padded.hidden(row(ids)).shape == (1, len(ids), 32)
    assert len(padded.encode("day " * 100)) == LIMIT


@pytest.mark.parametrize("family", FOLDERS)
def test_isobatch_runs_a_folder(folders: dict[str, Path], family: str) -> None:
    subject = open_subject(str(folders[family]))
    expected = Classifier.from_pretrained(folders[family]).logits(TEXTS).astype(np.float64)
    assert np.array_equal(subject.predict(TEXTS), expected)
    padded = padded_of(subject)
    ids = padded.encode(TEXTS[0])
    pads = [padded.pad_id] * 3
    mask = np.array([[0] * 3 + [1] * len(ids)])
    answer = padded.forward(row([*pads, *ids], attention_mask=mask))
    assert np.array_equal(answer[0], expected[0])
    assert not np.array_equal(padded.forward(row([*ids, *pads]))[0], expected[0])
    assert padded.counts_pad_ids == ("roberta" in family)
    assert (padded.max_tokens, padded.tokenizer_limit) == (MAX_TOKENS, LIMIT)


def test_isobatch_in_another_precision_has_no_padded_model(folders: dict[str, Path]) -> None:
    subject = open_subject(str(folders["bert"]), precision="int8")
    assert subject.padded is None
    assert subject.facts["precision"].startswith("int8")
    assert subject.encoded
    encoding = Classifier.from_pretrained(folders["bert"]).tokenize(TEXTS)[0]
    assert isinstance(encoding, Encoding)
    ids = [*encoding.input_ids, *encoding.token_type_ids]
    assert subject.encoded(TEXTS[0]) == ids, "ids are visible in every precision"


@pytest.mark.parametrize("prefix", ["", "transformers:"])
def test_threads_hold_meanwhile_and_are_restored(folders: dict[str, Path], prefix: str) -> None:
    before = torch.get_num_threads()
    subject = open_subject(f"{prefix}{folders['bert']}")
    assert subject.with_threads is not None
    with subject.with_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(OptionError, match="threads must be at least 1"):
        open_subject(f"{prefix}{folders['bert']}", threads=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_lowered_model_is_another(folders: dict[str, Path], dtype: str) -> None:
    subject = open_subject(f"transformers:{folders['bert']}")
    assert subject.lowered is not None
    padded, lowered = padded_of(subject), subject.lowered(dtype)
    question = row(padded.encode(TEXTS[0]))
    before = padded.forward(question)
    assert 0 < np.abs(lowered.forward(question) - before).max() < 0.1
    assert np.array_equal(padded.forward(question), before)
    with pytest.raises(OptionError, match="dtype must be"):
        subject.lowered("float8")


def test_a_precision_and_a_tokenizer_may_be_named(folders: dict[str, Path], tmp_path: Path) -> None:
    write_wordpiece_folder(tmp_path, lowercase=False)
    folder = f"transformers:{folders['bert']}"
    subject = open_subject(folder, precision="bf16", tokenizer=tmp_path, device="cpu")
    assert subject.facts["dtype"] == "bfloat16"
    plain = padded_of(open_subject(folder))
    assert padded_of(subject).encode("Today is") != plain.encode("Today is")
    with pytest.raises(OptionError, match="precision 'int8': transformers has fp32"):
        open_subject(folder, precision="int8")
    with pytest.raises(OptionError, match="device 'toaster' is not a device"):
        open_subject(folder, device="toaster")


def test_a_checkpoint_without_a_head_is_refused(tmp_path: Path) -> None:
    encoder = random_model(Tiny("bert")).bert
    encoder.save_pretrained(tmp_path)
    write_wordpiece_folder(tmp_path)
    states = open_subject(f"transformers:{tmp_path}")  # is audited by its hidden states
    assert (states.reads, states.labels, states.token_size) == ("numbers", None, 32)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(MissingHeadError, match="results would be random"):
        open_subject(f"transformers:{tmp_path}")


def test_an_encoder_needs_no_pooler(tmp_path: Path) -> None:
    encoder = random_model(Tiny("bert")).bert
    state = {k: v for k, v in encoder.state_dict().items() if "pooler" not in k}
    encoder.save_pretrained(tmp_path, state_dict=state)
    write_wordpiece_folder(tmp_path)
    assert open_subject(f"transformers:{tmp_path}").predict(["a", "a b"]).shape == (2, 4 * 32)


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    model = random_model(Tiny("bert"))
    state = {k: v for k, v in model.state_dict().items() if "layer.1.output.dense" not in k}
    model.save_pretrained(tmp_path, state_dict=state)
    write_wordpiece_folder(tmp_path)
    with pytest.raises(TensorMismatchError, match=r"layer\.1\.output\.dense"):
        open_subject(f"transformers:{tmp_path}")


def test_a_pickle_is_never_loaded(tmp_path: Path, folders: dict[str, Path]) -> None:
    write_wordpiece_folder(tmp_path)
    random_model(Tiny("bert")).config.save_pretrained(tmp_path)
    torch.save(random_model(Tiny("bert")).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="from safetensors"):
        open_subject(f"transformers:{tmp_path}")


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, Tiny("roberta"))
    with pytest.raises(CheckpointError, match="no tokenizer with a vocabulary found"):
        open_subject(f"transformers:{tmp_path}")


def test_loading_leaves_the_loudness_of_transformers(folders: dict[str, Path]) -> None:
    logging = transformers.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    try:
        open_subject(f"transformers:{folders['bert']}")
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (20, True)
    finally:
        logging.set_verbosity(before[0])
        if not before[1]:
            logging.disable_progress_bar()


def test_a_decoder_without_a_pad_is_padded_with_its_end(tmp_path: Path) -> None:
    write_bpe_folder(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="</s>"
    )
    config = transformers.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, num_labels=3)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    subject = subject_of_model(fill_randomly(model).eval(), tokenizer, "decoder")
    padded = padded_of(subject)
    assert (padded.pad_id, padded.pad_is_also) == (2, ("eos_token",))
    assert model.config.pad_token_id == 2
    assert "eos_token was used" in subject.facts["pad token"]
    assert "config.pad_token_id" in subject.facts
    assert (padded.positions_start, padded.tokenizer_limit) == (0, None)
    assert subject.predict(TEXTS).shape == (2, 3)


def test_a_tokenizer_that_can_pad_with_nothing_is_refused(tmp_path: Path) -> None:
    write_bpe_folder(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json")
    )
    with pytest.raises(CheckpointError, match="neither a pad token nor an eos_token"):
        subject_of_model(Plain(), tokenizer)


def test_a_tokenizer_of_characters_without_a_fast_version() -> None:
    config = transformers.CanineConfig(
        **{k: v for k, v in WORDS.items() if k != "vocab_size"},
        intermediate_size=48,
        num_hash_buckets=64,
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    subject = subject_of_model(fill_randomly(model).eval(), transformers.CanineTokenizer())
    padded = padded_of(subject)
    assert set(padded.filler_ids) <= {ord(letter) for letter in map(chr, range(32, 127))}
    answer = padded.forward(row(padded.encode(TEXTS[0])))
    assert np.array_equal(answer, subject.predict(TEXTS[:1]))


def test_pads_on_the_left_and_no_positions(tmp_path: Path) -> None:
    config = transformers.XLNetConfig(vocab_size=400, d_model=32, n_layer=1, n_head=4, d_inner=48)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    subject = subject_of_model(model.eval(), tokenizer_in(tmp_path, padding_side="left"))
    padded = padded_of(subject)
    assert padded.padding_side == "left"
    assert padded.positions_start is None
    assert padded.max_tokens is None


@pytest.mark.parametrize("model_type", ["llama", "t5", "fnet"])
def test_other_kinds_work_too(model_type: str, tmp_path: Path) -> None:
    own = {
        "llama": {"intermediate_size": 48, "num_key_value_heads": 2},
        "t5": {"d_ff": 48, "d_kv": 8, "eos_token_id": 3, "decoder_start_token_id": 0},
        "fnet": {"intermediate_size": 48},
    }[model_type]
    config = transformers.AutoConfig.for_model(model_type, **WORDS | own)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    subject = subject_of_model(fill_randomly(model).eval(), tokenizer_in(tmp_path))
    padded = padded_of(subject)
    question = row(padded.encode(TEXTS[0]))
    assert np.array_equal(padded.forward(question), subject.predict(TEXTS[:1]))
    assert padded.hidden is not None
    assert not padded.counts_pad_ids


class Plain(nn.Module):
    """A model without config, whose forward takes little and gives a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(400, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        pooled: Tensor = self.head(self.drop(self.norm(self.words(input_ids).mean(dim=1))))
        return pooled


def test_a_plain_module_that_takes_ids_alone(tmp_path: Path) -> None:
    subject = subject_of_model(Plain().eval(), tokenizer_in(tmp_path), "plain")
    padded = padded_of(subject)
    assert subject.predict(TEXTS).shape == (2, 2)
    assert "does not take it" in subject.facts["attention_mask"]
    assert subject.labels is None
    assert padded.hidden is None
    assert padded.positions_start is None
    assert padded.max_tokens is None
    assert padded.mixing_fault is None


def test_parts_in_training_mode_and_dynamic_parts_are_found(tmp_path: Path) -> None:
    model, tokenizer = Plain().train(), tokenizer_in(tmp_path)
    assert padded_of(subject_of_model(model, tokenizer)).mixing_fault == "batch-statistics"
    assert model.training, "nothing was changed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated, which does not keep users from it
        model.eval().head = torch.ao.nn.quantized.dynamic.Linear(8, 2)
    assert padded_of(subject_of_model(model, tokenizer)).mixing_fault == "tensor-wide-scales"


def test_parts_are_found_by_their_type_whatever_its_name(tmp_path: Path) -> None:
    class Ordinary(nn.BatchNorm1d):
        pass

    class QuantBatchNorm(nn.LayerNorm):
        pass

    model = Plain().train()
    model.norm, model.drop = Ordinary(8), QuantBatchNorm(8)
    padded = padded_of(subject_of_model(model, tokenizer_in(tmp_path)))
    assert padded.mixing_fault == "batch-statistics"


class CountsByIds(nn.Module):
    """Positions by `input_ids != pad`, under names of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(400, 8), nn.Embedding(99, 8)
        self.head = nn.Linear(8, 2)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor]:
        counted = (input_ids != 0).cumsum(dim=1) - 1
        places = counted.clamp(min=0) if position_ids is None else position_ids
        hidden = torch.tanh(self.words(input_ids) + self.places(places))
        return (self.head(hidden.sum(dim=1)),)


def test_counting_by_ids_is_a_trait_of_known_families_alone(tmp_path: Path) -> None:
    padded = padded_of(subject_of_model(CountsByIds().eval(), tokenizer_in(tmp_path)))
    assert padded.positions_start == 0
    assert not padded.counts_pad_ids, "in an unknown model it is a fault, for a probe to find"


def test_the_signature_of_open_subject_is_the_one_that_is_promised() -> None:
    names = list(inspect.signature(open_subject).parameters)
    assert names[:3] == ["target", "tokenizer", "precision"]
    assert names[3:] == ["device", "threads", "revision", "pooling", "api_key", "dialect"]

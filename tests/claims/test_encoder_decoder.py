"""BART's classifier: an encoder and a decoder over the same packed tokens.

transformers refuses a batch whose texts have different numbers of end tokens, so that it computes
each text alone here.
"""

from pathlib import Path

import pytest
import torch
import transformers
from random_blocks import threads
from tiny_checkpoints import fill_randomly
from tokenizer_folders import write_bpe_folder
from torch import Tensor

from isobatch import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Classifier,
    ZeroShotClassifier,
)
from isobatch.batching.packed import PackedBatch, pack
from isobatch.checkpoint import Dropouts, read_config
from isobatch.errors import InputError, UnsupportedModelError
from isobatch.model import read_model, read_packed_model
from isobatch.model.encoder_model import EncoderModel
from isobatch.types import Encoding, Precision

END = 2
LENGTHS = (1, 2, 3, 7, 127, 128, 129, 511, 512)
CPU = torch.device("cpu")


def random_bart(**changes: object) -> transformers.PreTrainedModel:
    settings = dict(
        vocab_size=90,
        max_position_embeddings=512,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=40,
        scale_embedding=True,
        num_labels=3,
        attention_dropout=0.1,
        classifier_dropout=0.1,
        attn_implementation="eager",
    )
    config = transformers.BartConfig(**{**settings, **changes})
    return fill_randomly(transformers.BartForSequenceClassification(config)).eval()


@pytest.fixture(scope="module")
def theirs() -> transformers.PreTrainedModel:
    return random_bart()


@pytest.fixture(scope="module")
def folder(theirs: transformers.PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bart")
    theirs.save_pretrained(path)
    return path


def random_rows() -> list[list[int]]:
    """Rows that end with the end token, some of which have it inside, too."""
    generator = torch.Generator().manual_seed(4)
    rows = []
    for length in LENGTHS:
        row = torch.randint(3, 90, (length,), generator=generator).tolist()
        row[length // 2] = END if length in (7, 128) else row[length // 2]
        rows.append([*row[:-1], END])
    return rows


def packed(rows: list[list[int]], model: EncoderModel) -> PackedBatch:
    encodings = [Encoding(row, [0] * len(row)) for row in rows]
    return pack(encodings, model.config.encoder.positions)


@torch.inference_mode()
def logits(model: EncoderModel, rows: list[list[int]]) -> Tensor:
    return model(packed(rows, model))


@torch.inference_mode()
def their_logits(model: transformers.PreTrainedModel, rows: list[list[int]]) -> Tensor:
    return torch.cat([model(torch.tensor([row])).logits for row in rows])


def test_logits_are_those_of_transformers(
    theirs: transformers.PreTrainedModel, folder: Path
) -> None:
    model, _ = read_packed_model(folder, CPU)
    rows = random_rows()
    expected = their_logits(theirs, rows)
    torch.testing.assert_close(logits(model, rows), expected, rtol=1e-5, atol=1e-5)
    assert expected.std(dim=0).min() > 0.1, "the texts must differ"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_text_has_the_same_bits_alone_and_in_a_batch(folder: Path, precision: Precision) -> None:
    model, _ = read_packed_model(folder, CPU, precision)
    rows = random_rows()
    together = logits(model, rows)
    for count in (1, 2):
        with threads(count):
            assert torch.equal(torch.cat([logits(model, [row]) for row in rows]), together)
            assert torch.equal(logits(model, rows[::-1]).flip(0), together)


def test_transformers_refuses_such_a_batch(theirs: transformers.PreTrainedModel) -> None:
    """The inverse: the number of end tokens in its neighbour decides whether a text is computed."""
    rows = [[5, 6, 7, END], [5, END, 7, END]]
    with pytest.raises((ValueError, RuntimeError), match="same number of <eos>"):
        theirs(torch.tensor(rows))


@pytest.mark.parametrize(
    "broken", ["causal", "encoder rows of a neighbour", "cross norm", "first token"]
)
def test_each_part_of_the_decoder_counts(folder: Path, broken: str) -> None:
    """The inverse of parity: a decoder with a fault is not as near to transformers."""
    rows = random_rows()
    right = read_model(folder)
    expected = their_plain(right, rows)
    if broken == "causal":
        for block in right.decoder.blocks:
            object.__setattr__(block.spec.attention, "causal", False)
    elif broken == "cross norm":
        right.decoder.blocks[0].cross_norm.bias.data.zero_()
    elif broken == "first token":
        right.embeddings.word.weight.data[END] *= -1
    else:
        right.decoder.blocks[0].cross_attention.key.weight.data.roll(1, 0)
        right.decoder.blocks[0].cross_attention.value.weight.data.mul_(1.1)
    assert (their_plain(right, rows) - expected).abs().max() > 1e-3
    for block in right.decoder.blocks:
        object.__setattr__(block.spec.attention, "causal", True)


def their_plain(model: EncoderModel, rows: list[list[int]]) -> Tensor:
    """Compute the logits by plain torch operations, as in training, without dropout."""
    return logits(training_without_dropout(model), rows)


def training_without_dropout(model: EncoderModel) -> EncoderModel:
    for module in model.modules():
        if hasattr(module, "dropout"):
            module.dropout = Dropouts() if isinstance(module.dropout, Dropouts) else 0.0
    return model.train()


def test_gradients_are_those_of_transformers(
    theirs: transformers.PreTrainedModel, folder: Path
) -> None:
    rows = random_rows()[:6]
    model = training_without_dropout(read_model(folder))
    model(packed(rows, model)).square().sum().backward()
    theirs.zero_grad()
    for row in rows:
        theirs(torch.tensor([row])).logits.square().sum().backward()
    pairs = {
        "embeddings.word.weight": theirs.model.shared.weight,
        "decoder.position.weight": theirs.model.decoder.embed_positions.weight,
        "decoder.blocks.1.cross_attention.key.weight": (
            theirs.model.decoder.layers[1].encoder_attn.k_proj.weight
        ),
        "blocks.0.up.weight": theirs.model.encoder.layers[0].fc1.weight,
        "head.dense.weight": theirs.classification_head.dense.weight,
    }
    parameters = dict(model.named_parameters())
    for name, expected in pairs.items():
        assert expected.grad is not None
        found = parameters[name].grad
        assert found is not None, name
        torch.testing.assert_close(found, expected.grad, rtol=2e-4, atol=2e-4, msg=name)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_sequence_that_goes_on_is_read_at_its_last_end_token(
    theirs: transformers.PreTrainedModel, folder: Path, precision: Precision
) -> None:
    """As transformers reads it, and with the same bits next to sequences that end with it."""
    rows = random_rows()
    rows[1:1] = [[5, END, 7, 8], [END, 9], [5, END, 6, END, 7, *rows[-1][:120]]]
    model, _ = read_packed_model(folder, CPU, precision)
    together = logits(model, rows)
    alone = torch.cat([logits(model, [row]) for row in rows])
    assert torch.equal(together, alone)
    assert not torch.equal(together[1], logits(model, [[5, END]])[0])  # the encoder reads them all
    if precision == "fp32":
        for place in (1, 2, 3):
            expected = their_logits(theirs, [rows[place]])
            torch.testing.assert_close(together[place : place + 1], expected, rtol=0, atol=1e-5)


def test_a_neighbour_that_goes_on_changes_no_bit_for_heads_of_any_size(tmp_path: Path) -> None:
    """With heads of 7 the last of all rows has other bits than that row computed alone."""
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    random_bart(d_model=14, encoder_layers=1, decoder_layers=1, **heads).save_pretrained(tmp_path)
    model, _ = read_packed_model(tmp_path, CPU)
    generator = torch.Generator().manual_seed(1)
    for length in range(2, 48):
        row = [*torch.randint(3, 90, (length,), generator=generator).tolist(), END]
        assert torch.equal(logits(model, [row, [0, 5, END, 7, 8]])[:1], logits(model, [row]))


def test_a_sequence_without_an_end_token_is_rejected(folder: Path) -> None:
    model, _ = read_packed_model(folder, CPU)
    with pytest.raises(InputError, match="sequence 1: has no end token 2"):
        logits(model, [[5, END], [5, 6]])
    with pytest.raises(InputError, match="in training every sequence must end with the end tok"):
        logits(read_model(folder).train(), [[5, END], [5, END, 6]])


@pytest.mark.parametrize(
    ("key", "value"),
    [("normalize_before", True), ("add_final_layer_norm", True), ("decoder_start_token_id", 0)],
)
def test_settings_that_are_not_implemented_are_rejected_by_name(
    folder: Path, tmp_path: Path, key: str, value: object
) -> None:
    config = transformers.BartConfig.from_pretrained(folder)
    setattr(config, key, value)
    config.architectures = ["BartForSequenceClassification"]
    config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=key):
        read_config(tmp_path)


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An NLI checkpoint with a tokenizer."""
    path = tmp_path_factory.mktemp("bart-nli")
    write_bpe_folder(path, "roberta")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    config = transformers.BartConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
    )
    model = fill_randomly(transformers.BartForSequenceClassification(config))
    model.save_pretrained(path)
    return path


def test_pipelines_and_the_drop_in_model_take_it(text_folder: Path) -> None:
    texts = ["a new phone", "this is a text that is cut " * 9]
    zero_shot = ZeroShotClassifier.from_pretrained(text_folder)
    together = zero_shot(texts, ["tech", "sport"])
    assert [zero_shot([text], ["tech", "sport"])[0] for text in texts] == together
    assert together[1].truncated
    tokenizer = AutoTokenizer.from_pretrained(text_folder)
    model = AutoModelForSequenceClassification.from_pretrained(text_folder)
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        found = model(**inputs).logits
    expected = Classifier.from_pretrained(text_folder).logits(texts)
    assert torch.equal(found, torch.from_numpy(expected))
    with pytest.raises(InputError, match="not supported for models with a decoder"):
        model(**inputs, output_hidden_states=True)

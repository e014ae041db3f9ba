"""Hidden states, attention weights and AutoModel against transformers' own."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_checkpoints import (
    DECODERS,
    FAMILIES,
    ROTARY_FAMILIES,
    Tiny,
    TinyFolder,
    fill_randomly,
    pad_left,
    pad_right,
    random_ids,
    tiny_config,
)

from isobatch import AutoModel, AutoModelForSequenceClassification
from isobatch.errors import InputError, NewWeightsWarning

LENGTHS = [9, 3, 14, 40, 2]
CASES = [(family, "") for family in FAMILIES] + [("bert", "torch"), ("distilbert", "torch")]
"""Families with compiled kernels where there are any, and two with torch's own."""
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


@pytest.fixture(params=CASES, ids=lambda case: "-".join(filter(None, case)))
def tiny(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    family, forced = request.param
    if forced:
        monkeypatch.setenv("ISOBATCH_INSTRUCTION_SET", forced)
    return Tiny(family, num_labels=3, dropout=0.0)


@pytest.fixture
def both(tiny: Tiny, tiny_folder: TinyFolder) -> tuple[Any, Any]:
    folder = tiny_folder(tiny)
    ours = AutoModelForSequenceClassification.from_pretrained(folder)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager"
    )
    return ours, theirs.eval()


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=2e-5, rtol=0)


def test_attentions_of_deberta_with_linears_for_its_distances(tmp_path: Path) -> None:
    tiny = Tiny("deberta-v2", num_labels=3, dropout=0.0)
    config = tiny_config(tiny)
    config.share_att_key = False
    theirs = transformers.AutoModelForSequenceClassification.from_config(config)
    fill_randomly(theirs).eval().save_pretrained(tmp_path)
    ours = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids, mask = pad_right(random_ids([9], tiny), tiny.pad_token_id)
    found, expected = (model(ids, attention_mask=mask, **EVERYTHING) for model in (ours, theirs))
    for one, other in zip(found.attentions, expected.attentions, strict=True):
        close(one, other)


def test_states_are_those_of_transformers_and_zero_at_padding(
    both: tuple[Any, Any], tiny: Tiny
) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    ours, theirs = (model(ids, attention_mask=mask, **EVERYTHING) for model in both)
    assert list(ours) == list(theirs) == ["logits", "hidden_states", "attentions"]
    kept = mask.bool()
    for one, other in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        close(one[kept], other[kept])
        assert not one[~kept].any()
    pairs = kept[:, None, :, None] & kept[:, None, None, :]
    for one, other in zip(ours.attentions, theirs.attentions, strict=True):
        assert one.shape == other.shape
        close(one, other * pairs)
        assert not one[~pairs.expand_as(one)].any()


def test_states_change_no_bit_of_the_logits(both: tuple[Any, Any], tiny: Tiny) -> None:
    model = both[0]
    inputs = dict(
        zip(
            ("input_ids", "attention_mask"),
            pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id),
            strict=True,
        )
    )
    plain = model(**inputs).logits
    for option in EVERYTHING:
        assert torch.equal(model(**inputs, **{option: True}).logits, plain)
    as_tuple = model(**inputs, **EVERYTHING, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], plain)
    assert [len(part) for part in as_tuple[1:]] == [tiny.depth + 1, tiny.depth]


def test_a_configuration_that_requests_states_gives_them(
    tiny: Tiny, tiny_folder: TinyFolder
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_folder(tiny), output_hidden_states=True
    )
    ids = torch.tensor(random_ids([7], tiny))
    assert list(model(ids)) == ["logits", "hidden_states"]
    assert list(model(ids, output_hidden_states=False)) == ["logits"]


def test_gradients_through_hidden_states(both: tuple[Any, Any], tiny: Tiny) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    found = []
    for model in both:
        output = model(ids, attention_mask=mask, **EVERYTHING)
        states = [output.hidden_states[0], output.hidden_states[-1]]
        # As tokens' gradients, which explanations of a prediction use; and of the weights.
        gradients = torch.autograd.grad(output.logits.sum(), states, retain_graph=True)
        pairs = mask[:, None, :, None] * mask[:, None, None, :]
        weights = (output.attentions[1] * pairs).square().sum()
        (of_weights,) = torch.autograd.grad(weights, states[:1])
        found.append([each[mask.bool()] for each in (*gradients, of_weights)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_embeddings_in_place_of_ids(both: tuple[Any, Any], tiny: Tiny) -> None:
    ours, theirs = both
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    embeds = ours.get_input_embeddings()(ids)
    logits = ours(inputs_embeds=embeds, attention_mask=mask).logits
    assert torch.equal(logits, ours(ids, attention_mask=mask).logits)
    if tiny.model_type not in DECODERS:  # which then read the pads
        close(logits, theirs(inputs_embeds=embeds, attention_mask=mask).logits)
    left_ids, left_mask = pad_left(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    left = ours.get_input_embeddings()(left_ids)
    assert torch.equal(ours(inputs_embeds=left, attention_mask=left_mask).logits, logits)


def test_positions_that_the_caller_chooses(both: tuple[Any, Any], tiny: Tiny) -> None:
    if tiny.model_type in ROTARY_FAMILIES:
        pytest.skip("distances are counted in the packed sequence, and gaps are rejected")
    ours, theirs = both
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    plain = ours(ids, attention_mask=mask).logits
    columns = torch.arange(2, 2 + ids.shape[1])
    if tiny.model_type in (*ROTARY_FAMILIES, *DECODERS):
        shifted = ours(ids, attention_mask=mask, position_ids=columns[None]).logits
        assert torch.equal(shifted, plain), "distances are the same"
        with pytest.raises(InputError, match="those of the kept tokens must count up by one"):
            ours(ids, attention_mask=mask, position_ids=columns.flip(0)[None])
        return
    has_table = ours.packed.embeddings.position is not None
    for positions in (columns[None], columns.flip(0)[None].expand(ids.shape)):
        logits = ours(ids, attention_mask=mask, position_ids=positions).logits
        expected = theirs(ids, attention_mask=mask, position_ids=positions.expand(ids.shape))
        close(logits, expected.logits)
    assert torch.allclose(logits, plain) is not has_table


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "either input_ids or inputs_embeds"),
        ({"inputs_embeds": torch.zeros(1, 2)}, r"\[rows, columns, 32\]"),
        ({"inputs_embeds": torch.zeros(1, 2, 32).double()}, "float32, got torch.float64"),
        ({"input_ids": torch.ones(1, 2).long(), "inputs_embeds": torch.zeros(1, 2, 32)}, "either"),
        (
            {"input_ids": torch.ones(2, 2).long(), "position_ids": torch.tensor([[0, 600]])},
            "row 0, column 1: position_ids has 600, expected 0 to 511",
        ),
        (
            {"input_ids": torch.ones(2, 2).long(), "position_ids": torch.arange(2)},
            r"position_ids .*\[2\], expected \[2, 2\]",
        ),
    ],
)
def test_invalid_embeddings_and_positions_are_rejected(
    tiny_folder: TinyFolder, inputs: dict[str, torch.Tensor], words: str
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    with pytest.raises(InputError, match=words):
        model(**inputs)


def test_automodel_is_the_encoder_of_transformers(
    tiny: Tiny, tiny_folder: TinyFolder, tmp_path: Any
) -> None:
    has_new_pooler = tiny.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet")
    torch.manual_seed(3)
    if has_new_pooler:  # a classifier of these families has none
        with pytest.warns(NewWeightsWarning, match=r"(roberta|mpnet)\.pooler\.dense\.weight"):
            ours = AutoModel.from_pretrained(tiny_folder(tiny))
    else:
        ours = AutoModel.from_pretrained(tiny_folder(tiny))
    torch.manual_seed(3)
    theirs = transformers.AutoModel.from_pretrained(tiny_folder(tiny)).eval()
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    one, other = ours(ids, attention_mask=mask), theirs(ids, attention_mask=mask)
    assert list(one) == list(other)
    close(one.last_hidden_state[mask.bool()], other.last_hidden_state[mask.bool()])
    if "pooler_output" in one:
        close(one.pooler_output, other.pooler_output)
    assert {*ours.state_dict()} == {name for name, _ in theirs.named_parameters()}
    ours.save_pretrained(tmp_path)
    for again in (AutoModel, transformers.AutoModel):
        hidden = again.from_pretrained(tmp_path).eval()(ids, attention_mask=mask)[0]
        close(hidden[mask.bool()], one.last_hidden_state[mask.bool()])


def test_the_encoder_within_the_classifier(both: tuple[Any, Any], tiny: Tiny) -> None:
    model = both[0]
    ids = torch.tensor(random_ids([7, 7], tiny))
    encoder = getattr(model, model.base_model_prefix)
    assert model.base_model is encoder
    states = model(ids, output_hidden_states=True).hidden_states
    assert torch.equal(encoder(ids).last_hidden_state, states[-1])

"""The numbers of the page: padded against transformers, packed against Classifier.

Every family, on tiny random checkpoints written by transformers. Bits are compared without a
tolerance; only different computations of the same maths may differ, by 1e-5.
"""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
import torch
import transformers
from tiny_checkpoints import BERT_FAMILIES, Tiny, TinyFolder

from isobatch import Classifier
from isobatch.batching.packed import position_ids
from isobatch.errors import InputError, OptionError, UnsupportedModelError
from isobatch.lesson import SENTENCES
from isobatch.page import LessonPage
from isobatch.page.lesson_data import AttentionWeights, LessonData, LessonSentence
from isobatch.page.lesson_page import (
    MAX_CHARACTERS,
    MAX_SENTENCES,
    MAX_TOKENS,
    WEIGHT_SCALE,
    describe_attention,
)
from isobatch.page.random_batches import MAX_BATCH, NEIGHBOURS, NUM_BATCHES, draw_batches

TEXTS = ("Today is a nice day!", "But what about tomorrow? Im not sure.", "It doesn't work")
each_family = pytest.mark.parametrize("model_type", BERT_FAMILIES)


def logits_by_way(sentence: LessonSentence) -> dict[str, tuple[float, ...]]:
    return {result.way: result.logits for result in sentence.results}


def weights(
    attention: AttentionWeights, sentence: LessonSentence, lesson: LessonData
) -> np.ndarray:
    """[layers, heads, tokens, columns], as the page decodes them."""
    numbers = np.frombuffer(base64.b64decode(attention.weights), dtype="<u2") / WEIGHT_SCALE
    model = lesson.model
    shape = model.num_layers, model.num_heads, sentence.num_tokens, len(sentence.tokens)
    return numbers.reshape(shape)


def test_a_model_with_other_layers_is_rejected(folder_of: TinyFolder) -> None:
    with pytest.raises(
        UnsupportedModelError,
        match="the lesson shows BERT's layers, and those of nomic_bert are others",
    ):
        LessonPage.from_pretrained(folder_of(Tiny("nomic_bert")))


@each_family
def test_the_padded_model_computes_what_transformers_does(
    model_type: str, folder_of: TinyFolder
) -> None:
    folder = folder_of(Tiny(model_type, num_labels=3))
    lesson = LessonPage.from_pretrained(folder).data(TEXTS, random_batches=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    ids = torch.tensor([sentence.input_ids for sentence in lesson.sentences])
    mask = torch.tensor([sentence.attention_mask for sentence in lesson.sentences])
    with torch.inference_mode():
        forgotten = model(ids, output_attentions=True)
        masked = model(ids, attention_mask=mask, output_attentions=True)
        for row, sentence in enumerate(lesson.sentences):
            length = sentence.num_tokens
            ours = logits_by_way(sentence)
            alone = model(ids[row : row + 1, :length]).logits[0]
            theirs = {
                "alone": alone,
                "forgotten": forgotten.logits[row],
                "masked": masked.logits[row],
                "packed": alone,
                "packed_alone": alone,
            }
            for way, logits in theirs.items():
                assert ours[way] == pytest.approx(logits.tolist(), abs=1e-5), way
            for attention, output in (
                (sentence.unmasked, forgotten),
                (sentence.masked, masked),
            ):
                expected = torch.stack(output.attentions)[:, row, :, :length].double()
                seen = weights(attention, sentence, lesson)
                np.testing.assert_allclose(seen, expected, atol=1e-5 + 0.5 / WEIGHT_SCALE)
                leaks = expected[..., length:].sum(-1)
                np.testing.assert_allclose(attention.leaks, leaks, atol=1e-5)


@each_family
def test_unrounded_attention_is_within_1e_5_of_transformers(
    model_type: str, folder_of: TinyFolder
) -> None:
    """Before rounding to 16 bits, and at more tokens than a sentence has."""
    folder = folder_of(Tiny(model_type))
    page = LessonPage.from_pretrained(folder)
    batch = page.model.tokenize([*NEIGHBOURS[:9], TEXTS[1]], 48)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    for mask in (None, batch.attention_mask):
        ours = page.model.padded.forward(batch.input_ids, mask, keep_attention=True)
        with torch.inference_mode():
            theirs = model(batch.input_ids, attention_mask=mask, output_attentions=True)
        torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)
        assert ours.attention is not None
        torch.testing.assert_close(
            ours.attention, torch.stack(theirs.attentions), atol=1e-5, rtol=0
        )


@each_family
def test_packed_rows_have_the_bits_of_classifier_alone(
    model_type: str, folder_of: TinyFolder
) -> None:
    folder = folder_of(Tiny(model_type, num_labels=3))
    lesson = LessonPage.from_pretrained(folder).data(TEXTS)
    classifier = Classifier.from_pretrained(folder, precision="fp32")
    for sentence in lesson.sentences:
        alone = classifier.logits([sentence.text])[0]
        for result in sentence.results:
            if result.way in ("packed", "packed_alone"):
                assert result.bits == tuple(struct.pack(">f", value).hex() for value in alone)
                assert result.comparison.summary == "same bits as alone"
    assert lesson.random_batches is not None
    packed = lesson.random_batches.series[-1]
    assert packed.way == "packed"
    assert packed.num_moved == 0
    assert packed.differences == (0.0,) * NUM_BATCHES


def test_the_bundled_model_packed_and_alone(
    bundled_data: LessonData, bundled_classifier: Callable[[str], Classifier]
) -> None:
    alone = [bundled_classifier("fp32").logits([text])[0] for text in SENTENCES]
    for sentence, logits in zip(bundled_data.sentences, alone, strict=True):
        for result in sentence.results:
            if result.way.startswith("packed"):
                assert result.bits == tuple(struct.pack(">f", value).hex() for value in logits)


@each_family
def test_shares_sum_to_one_and_masked_padding_gets_exactly_zero(
    model_type: str, folder_of: TinyFolder
) -> None:
    lesson = LessonPage.from_pretrained(folder_of(Tiny(model_type))).data(
        TEXTS, random_batches=False
    )
    assert {sentence.num_tokens < len(sentence.tokens) for sentence in lesson.sentences} == {
        True,
        False,
    }
    for sentence in lesson.sentences:
        padded = sentence.num_tokens < len(sentence.tokens)
        for attention in (sentence.unmasked, sentence.masked):
            shares = weights(attention, sentence, lesson)
            np.testing.assert_allclose(shares.sum(-1), 1, atol=len(sentence.tokens) / WEIGHT_SCALE)
            on_pads = shares[..., sentence.num_tokens :].sum(-1)
            np.testing.assert_allclose(attention.leaks, on_pads, atol=1e-3)
            means = np.asarray(attention.leaks).mean(-1)
            np.testing.assert_allclose(attention.head_leaks, means, rtol=1e-5)
            assert attention.leak == pytest.approx(means.mean(), rel=1e-5)
        assert (sentence.unmasked.leak > 0) == padded
        assert not np.any(sentence.masked.leaks)
        assert sentence.masked.leak == 0
        assert not weights(sentence.masked, sentence, lesson)[..., sentence.num_tokens :].any()


@each_family
def test_a_forgotten_mask_moves_padded_rows(model_type: str, folder_of: TinyFolder) -> None:
    lesson = LessonPage.from_pretrained(folder_of(Tiny(model_type))).data(TEXTS)
    first = {result.way: result.comparison for result in lesson.sentences[0].results}
    assert first["forgotten"].max_difference > 1e-3
    assert first["masked"].max_difference < 1e-5
    assert first["packed"].same_bits
    assert lesson.random_batches is not None
    forgotten, masked, _ = lesson.random_batches.series
    assert forgotten.largest > 1e-3
    assert masked.largest < 1e-5
    for series in lesson.random_batches.series:
        assert len(series.differences) == len(series.ulps) == NUM_BATCHES
        still = [not difference for difference in series.differences]
        assert series.num_moved == NUM_BATCHES - sum(still)
        assert [not each for each in series.ulps] == still


def test_the_grid_is_what_the_tokenizer_pads(bundled_data: LessonData) -> None:
    first, second = bundled_data.sentences
    assert first.tokens[-3:] == ("[PAD]",) * 3
    assert first.input_ids[-3:] == (0, 0, 0)
    assert first.attention_mask == (1,) * 8 + (0,) * 3
    assert second.num_tokens == len(second.tokens) == len(first.tokens)
    assert first.tokens[:3] == ("[CLS]", "today", "is")
    assert bundled_data.model.pad_token == "[PAD]"


def test_pads_of_roberta_have_the_position_of_their_id(folder_of: TinyFolder) -> None:
    """Without a mask a pad is read at the position of its id, as transformers has it."""
    for model_type in ("roberta", "xlm-roberta", "camembert"):
        rule = LessonPage.from_pretrained(
            folder_of(Tiny(model_type))
        ).model.config.encoder.positions
        assert position_ids(np.array([[0, 9, 2, 1, 1]]), rule).tolist() == [[2, 3, 4, 1, 1]]


def test_random_batches_are_computed_by_default(folder_of: TinyFolder) -> None:
    page = LessonPage.from_pretrained(folder_of(Tiny("bert")))
    assert page.answer({"sentences": list(TEXTS)}) == asdict(page.data(TEXTS))


def test_the_cost_is_computed_once(folder_of: TinyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    page = LessonPage.from_pretrained(folder_of(Tiny("bert")))
    monkeypatch.setattr("isobatch.lesson.mask_cost.sample_texts", lambda: TEXTS)
    first = page.answer({"cost": True})
    assert first["cost"]["num_texts"] == len(TEXTS)
    monkeypatch.setattr("isobatch.page.lesson_page.measure_mask_cost", None)
    assert page.answer({"cost": True}) == first


def test_random_batches_can_be_left_out(bundled: LessonPage, bundled_data: LessonData) -> None:
    quick = bundled.answer({"sentences": list(SENTENCES), "random_batches": False})
    assert quick.pop("random_batches") is None
    whole = asdict(bundled_data)
    del whole["random_batches"]
    assert quick == whole


def test_draws_are_varied_and_bounded() -> None:
    drawn = draw_batches()
    assert len(drawn) == NUM_BATCHES
    sizes = {len(each.neighbours) + 1 for each in drawn}
    assert sizes == set(range(2, MAX_BATCH + 1))
    assert len(set(drawn)) == NUM_BATCHES
    assert len(set(NEIGHBOURS)) == len(NEIGHBOURS)
    for draw in drawn:
        assert draw.texts("needle")[draw.row] == "needle"


def test_excess_sentences_tokens_and_characters_are_cut_and_reported(bundled: LessonPage) -> None:
    lesson = bundled.data(["good " * 100, "fine", *["more"] * 10], random_batches=False)
    assert len(lesson.sentences) == MAX_SENTENCES
    assert lesson.limits.left_out == 4
    assert [sentence.cut for sentence in lesson.sentences] == [True] + [False] * 7
    assert len(lesson.sentences[0].tokens) == lesson.limits.max_tokens < MAX_TOKENS
    assert len(json.dumps(asdict(lesson))) < 8_000_000
    two = bundled.data(["good " * 100_000, "fine"], random_batches=False)
    assert two.limits.max_tokens == MAX_TOKENS
    assert len(two.sentences[0].text) == MAX_CHARACTERS
    assert two.sentences[0].cut
    exact = bundled.data(["a" * MAX_CHARACTERS, "fine"], random_batches=False).sentences[0]
    assert not exact.cut, "it has three tokens, and all of its characters"
    assert bundled.data(["a" * MAX_CHARACTERS + "b", "fine"], random_batches=False).sentences[0].cut


def test_a_model_of_many_labels_shows_the_highest(folder_of: TinyFolder) -> None:
    page = LessonPage.from_pretrained(folder_of(Tiny("bert", num_labels=28)))
    lesson = page.data(TEXTS[:2], random_batches=False)
    assert len(lesson.model.labels) == 28
    for sentence in lesson.sentences:
        alone = logits_by_way(sentence)["alone"]
        assert len(sentence.labels) == len(alone) == 6
        assert sentence.results[0].label == sentence.labels[alone.index(max(alone))]


def test_a_regression_model_has_one_number(folder_of: TinyFolder) -> None:
    tiny = Tiny("roberta", num_labels=1, problem_type="regression")
    lesson = LessonPage.from_pretrained(folder_of(tiny)).data(TEXTS[:2])
    result = lesson.sentences[0].results[0]
    assert result.score == result.logits[0]


def test_empty_sentences_are_sentences(bundled: LessonPage) -> None:
    lesson = bundled.data(["", "x"], random_batches=False)
    assert lesson.sentences[0].tokens == ("[CLS]", "[SEP]", "[PAD]")


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        {},
        {"sentences": "ab"},
        {"sentences": ["one"]},
        {"sentences": ["one", 2]},
        {"sentences": ["one", "\ud800"]},
        {"sentences": ["one", "two"], "random_batches": 1},
        {"sentences": ["one", ["a", "b"]]},
        {"cost": 1},
        {"cost": True, "sentences": ["one", "two"]},
    ],
)
def test_an_invalid_request_is_rejected(bundled: LessonPage, request_: object) -> None:
    with pytest.raises(InputError):
        bundled.answer(request_)


def test_one_sentence_is_no_batch(bundled: LessonPage) -> None:
    with pytest.raises(OptionError, match="two sentences"):
        bundled.data(SENTENCES[:1])
    with pytest.raises(OptionError, match="two sentences"):
        bundled.data("ab")
    with pytest.raises(InputError, match="a pair"):
        bundled.data(["a", ("b", "c")])  # type: ignore[list-item]


def test_no_path_of_this_machine_is_in_the_data(folder_of: TinyFolder) -> None:
    folder = folder_of(Tiny("bert"))
    lesson = LessonPage.from_pretrained(folder).data(TEXTS[:2], random_batches=False)
    assert lesson.model.checkpoint == folder.name
    assert str(folder.parent) not in json.dumps(asdict(lesson))


@pytest.mark.parametrize("model_type", ["modernbert", "qwen3"])
def test_other_layers_than_bert_s_are_refused(model_type: str, folder_of: TinyFolder) -> None:
    with pytest.raises(UnsupportedModelError, match=f"those of {model_type} are others"):
        LessonPage.from_pretrained(folder_of(Tiny(model_type)))


def test_only_an_exact_zero_is_shown_as_zero() -> None:
    weights = torch.tensor([[[[1.0 - 1e-9, 1e-9], [1.0, 0.0]]]])
    shown = describe_attention(weights, 2).weights
    assert np.frombuffer(base64.b64decode(shown), "<u2").tolist() == [65535, 1, 65535, 0]

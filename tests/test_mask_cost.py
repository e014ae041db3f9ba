"""The cost of a forgotten mask: its figures against the models' own logits, and its bounds."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from isobatch import Classifier
from isobatch.errors import InputError, OptionError
from isobatch.lesson import LessonCheckpoint, MaskCost, measure_mask_cost, sample_texts

LONG = "Under the dust there is a theatre of great beauty, and its owners know what they have."
TEXTS = (LONG, "A story that deserved a better film.", "", "Good.", "Not for me", "Not for us")


@pytest.fixture(scope="module")
def checkpoint() -> LessonCheckpoint:
    return LessonCheckpoint.from_pretrained()


@pytest.fixture(scope="module")
def cost(checkpoint: LessonCheckpoint) -> MaskCost:
    return measure_mask_cost(checkpoint, TEXTS, batch_size=4)


class AddingCheckpoint(LessonCheckpoint):
    """Counts: the logits are the number of words, and the columns that the mask does not hide.

    noise: is added to the logits of a masked batch of several texts.
    """

    def __init__(self, noise: float = 0.0) -> None:
        config = SimpleNamespace(id2label={0: "short", 1: "long"})
        model = SimpleNamespace(config=config, num_tokens=100)
        super().__init__(SimpleNamespace(model_max_length=100), model)
        self.noise = noise

    def inputs(self, texts: Sequence[str]) -> dict[str, Tensor]:
        lengths = [len(text.split()) for text in texts]
        mask = [[int(at < length) for at in range(max(lengths))] for length in lengths]
        return {"attention_mask": torch.tensor(mask)}

    def logits(self, inputs: Mapping[str, Tensor], *, masked: bool) -> Tensor:
        mask = inputs["attention_mask"]
        seen = mask.sum(1) if masked else torch.full((len(mask),), mask.shape[1])
        noise = self.noise if masked and len(mask) > 1 else 0.0
        return torch.stack([torch.full((len(mask),), 2.5), seen + noise], dim=1)


def test_the_figures_are_those_of_the_logits() -> None:
    cost = measure_mask_cost(AddingCheckpoint(), ["a", "b c d e", "f g", "h"], batch_size=3)
    assert (cost.num_batches, cost.num_padded, cost.num_pads) == (2, 2, 5)
    assert cost.forgotten.num_moved == cost.forgotten.num_flipped == 2
    assert (cost.forgotten.median, cost.forgotten.largest) == (1.0, 3.0)
    assert cost.masked.num_moved == cost.masked.num_flipped == cost.masked.largest == 0
    furthest = cost.furthest
    assert furthest is not None
    assert (furthest.index, furthest.num_tokens, furthest.num_pads) == (0, 1, 3)
    assert (furthest.neighbours, furthest.longest) == (("b c d e", "f g"), 0)
    assert (furthest.alone, furthest.forgotten) == ((2.5, 1.0), (2.5, 4.0))
    assert (furthest.label_alone, furthest.label_forgotten) == ("short", "long")
    assert furthest.replay_same_bits
    assert furthest.replay_moved == 3.0


def test_the_control_a_masked_batch_that_moves_is_seen() -> None:
    cost = measure_mask_cost(AddingCheckpoint(noise=0.25), ["a", "b c"])
    assert (cost.masked.num_moved, cost.masked.largest) == (2, 0.25)


def test_bins_hold_every_text_and_its_label() -> None:
    texts = ["word " * number for number in range(1, 60)]
    cost = measure_mask_cost(AddingCheckpoint(), texts, batch_size=59)
    assert sum(each.num_texts for each in cost.bins) == 59
    assert sum(each.num_flipped for each in cost.bins) == cost.forgotten.num_flipped == 2
    assert 12 <= len(cost.bins) <= 24
    assert cost.bins[-1].low <= cost.forgotten.largest < cost.bins[-1].high
    edges = [each.low for each in cost.bins] + [cost.bins[-1].high]
    assert edges == [5.0 * place for place in range(len(edges))]


def test_alone_and_masked_have_the_bits_of_classifier(cost: MaskCost) -> None:
    furthest = cost.furthest
    assert furthest is not None
    alone = Classifier.from_pretrained(precision="fp32").logits([furthest.text])[0]
    assert furthest.alone == furthest.masked == tuple(alone.tolist())
    assert furthest.forgotten != furthest.alone
    assert furthest.replay_same_bits
    assert cost.masked.num_moved == 0
    assert cost.forgotten.num_moved == cost.num_padded == 3


def test_equal_texts_give_equal_figures_and_the_order_counts(
    checkpoint: LessonCheckpoint, cost: MaskCost
) -> None:
    assert measure_mask_cost(checkpoint, list(TEXTS), batch_size=4) == cost
    assert measure_mask_cost(checkpoint, TEXTS[::-1], batch_size=4) != cost


def test_progress_ends_with_all_texts(checkpoint: LessonCheckpoint) -> None:
    shown: list[tuple[int, int]] = []
    measure_mask_cost(
        checkpoint, TEXTS[1:], batch_size=2, on_progress=lambda *done: shown.append(done)
    )
    assert shown == [(2, 5), (4, 5), (5, 5)]


def test_texts_that_are_cut_are_counted(checkpoint: LessonCheckpoint) -> None:
    longest = checkpoint.tokenizer.model_max_length - 2
    cost = measure_mask_cost(checkpoint, ["good " * longest, "good " * (longest + 1)])
    assert cost.num_truncated == 1


def test_texts_of_one_length_cost_nothing(checkpoint: LessonCheckpoint) -> None:
    cost = measure_mask_cost(checkpoint, ["good", "bad"])
    assert (cost.num_padded, cost.forgotten.num_moved) == (0, 0)
    assert (cost.bins, cost.furthest) == ((), None)


@pytest.mark.parametrize(
    ("texts", "batch_size", "error", "words"),
    [
        ([], 32, OptionError, "has no text"),
        (["one"], 32, OptionError, "has one text"),
        (["one", "two"], 1, OptionError, "Use 2 or more"),
        (["one", 2], 32, InputError, "text 1"),
        (["one", ("a", "b")], 32, InputError, "a pair"),
    ],
)
def test_what_cannot_be_padded_is_refused(
    texts: Any, batch_size: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        measure_mask_cost(AddingCheckpoint(), texts, batch_size=batch_size)


def test_the_sample_is_200_different_sentences_of_many_lengths() -> None:
    texts = sample_texts()
    assert len(set(texts)) == len(texts) == 200
    assert all(text == text.strip() and text for text in texts)
    lengths = {len(text.split()) for text in texts}
    assert min(lengths) == 1
    assert max(lengths) > 40
    assert len(lengths) >= 25

"""The lesson replayed on the bundled model, and on the published one where the hub is."""

import os

import pytest

from isobatch.checkpoint import locate_checkpoint
from isobatch.errors import CheckpointError, OptionError
from isobatch.lesson import SENTENCES, replay_lesson

PUBLISHED = "distilbert-base-uncased-finetuned-sst-2-english"


def test_every_step_compares_with_the_sentence_alone() -> None:
    single, masked_single, forgotten, masked = replay_lesson()
    assert single.rows[0].logits == masked_single.rows[0].logits == masked.rows[0].logits
    assert forgotten.rows[0].logits != single.rows[0].logits
    assert [row.verdict for row in masked.rows] == ["same bits as alone"] * 2
    assert forgotten.rows[0].verdict.startswith("moved by ")
    assert forgotten.rows[1].same_bits
    assert [row.label for row in masked.rows] == ["POSITIVE", "NEGATIVE"]


def test_a_lesson_needs_two_sentences() -> None:
    with pytest.raises(OptionError, match="two sentences"):
        replay_lesson(sentences=SENTENCES[:1])


@pytest.mark.hub
def test_the_published_logits() -> None:
    try:
        folder = locate_checkpoint(os.environ.get("ISOBATCH_LESSON_MODEL", PUBLISHED))
    except CheckpointError as error:
        pytest.skip(str(error))
    rounded = [
        [[round(value, 4) for value in row.logits] for row in step.rows]
        for step in replay_lesson(folder)
    ]
    first, second = [-4.3232, 4.6906], [3.9803, -3.2120]
    assert rounded == [[first], [first], [[-4.1957, 4.5675], second], [first, second]]

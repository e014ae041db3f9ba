"""The lesson of the forgotten attention mask, replayed on any checkpoint, and what it costs.

Four steps show it on two sentences, and `measure_mask_cost` on many texts in batches.
"""

from isobatch.lesson.four_steps import (
    SENTENCES,
    LessonCheckpoint,
    LessonRow,
    LessonStep,
    check_sentences,
    replay_lesson,
)
from isobatch.lesson.mask_cost import (
    BATCH_SIZE,
    MaskCost,
    MaskEffect,
    MoveBin,
    MovedText,
    measure_mask_cost,
    sample_texts,
)

__all__ = [
    "BATCH_SIZE",
    "SENTENCES",
    "LessonCheckpoint",
    "LessonRow",
    "LessonStep",
    "MaskCost",
    "MaskEffect",
    "MoveBin",
    "MovedText",
    "check_sentences",
    "measure_mask_cost",
    "replay_lesson",
    "sample_texts",
]

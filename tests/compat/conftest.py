"""Whole checkpoint folders, model and tokenizer: never write into them, copy them first."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_tokenizer, write_wordpiece_folder

Checkpoint = Callable[[Tiny], Path]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The folder of a Tiny with a tokenizer of its family; the vocabulary fits."""

    def write(tiny: Tiny) -> Path:
        folder = write_checkpoint(tmp_path_factory.mktemp(tiny.model_type), tiny)
        family = tiny.model_type
        if family in ("xlm-roberta", "camembert"):  # faster, and not under test
            return write_wordpiece_folder(folder, family)
        return write_tokenizer(folder, family)

    return cache(write)

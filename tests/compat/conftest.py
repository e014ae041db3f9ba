"""Whole checkpoint folders, model and tokenizer: never write into them, copy them first."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_bpe_folder, write_wordpiece_folder

Checkpoint = Callable[[Tiny], Path]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The folder of a Tiny with a tokenizer of its family; the vocabulary fits."""

    def write(tiny: Tiny) -> Path:
        folder = write_checkpoint(tmp_path_factory.mktemp(tiny.model_type), tiny)
        writer = write_bpe_folder if tiny.model_type == "roberta" else write_wordpiece_folder
        return writer(folder, tiny.model_type)

    return cache(write)

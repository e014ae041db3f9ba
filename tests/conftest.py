"""Fixtures: tiny checkpoint folders, each written once a session; transformers kept quiet."""

import os

# Before torch is loaded: beside a busy process, threads that spin make the tests ten times as slow.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
import transformers
from tiny_checkpoints import Tiny, write_checkpoint

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# The same examples on every run and on a busy machine: a test that fails, fails again.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

TinyFolder = Callable[[Tiny], Path]


@pytest.fixture(autouse=True)
def _audits_in_one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tiny models only: two threads that wait for each other are many times slower."""
    threads = torch.get_num_threads()
    if request.path.parent.name == "audit":
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """The folder of a tiny checkpoint: never write into it, copy it first."""
    made: dict[Tiny, Path] = {}

    def folder_of(tiny: Tiny) -> Path:
        if tiny not in made:
            made[tiny] = write_checkpoint(tmp_path_factory.mktemp(tiny.model_type), tiny)
        return made[tiny]

    return folder_of

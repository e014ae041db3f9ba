"""Fixtures: a lesson of the bundled model, a browser and tiny checkpoints, each made once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import devtools
import pytest
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_tokenizer

from isobatch.lesson import SENTENCES, MaskCost, measure_mask_cost
from isobatch.page import LessonData, LessonPage

COST_TEXTS = (
    "Under the dust and the bad wallpaper there is a theatre of great beauty, and the people who "
    "run it know exactly what they have.",
    "A story that deserved a better film.",
    "Good.",
    "Not for me, thank you.",
)


@pytest.fixture(scope="session")
def bundled() -> LessonPage:
    return LessonPage.from_pretrained()


@pytest.fixture(scope="session")
def bundled_data(bundled: LessonPage) -> LessonData:
    return bundled.data(SENTENCES)


@pytest.fixture(scope="session")
def bundled_cost(bundled: LessonPage) -> MaskCost:
    """The cost on a few texts, which the first pads, and of which two labels flip."""
    return measure_mask_cost(bundled.model.checkpoint, COST_TEXTS, source="few.txt")


@pytest.fixture(scope="session")
def browser_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[devtools.Page]:
    with devtools.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(browser_page: devtools.Page) -> Iterator[devtools.Page]:
    """The browser's page. A test fails on any message, exception or violation."""
    browser_page.messages.clear()
    yield browser_page
    assert browser_page.value("1") == 1, "pending browser messages have been read"
    assert browser_page.messages == []


@pytest.fixture(scope="session")
def folder_of(tiny_folder: TinyFolder, tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """The folder of a tiny checkpoint with a tokenizer of its family."""
    made: dict[Tiny, Path] = {}

    def folder_with_tokenizer(tiny: Tiny) -> Path:
        if tiny not in made:
            folder = tmp_path_factory.mktemp("page") / tiny.model_type
            shutil.copytree(tiny_folder(tiny), folder)
            made[tiny] = write_tokenizer(folder, tiny.model_type)
        return made[tiny]

    return folder_with_tokenizer

"""Fixtures: a lesson of the bundled model, a browser and tiny checkpoints, each made once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import devtools
import pytest
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_bpe_folder, write_unigram_folder, write_wordpiece_folder

from isobatch.lesson import SENTENCES
from isobatch.page import LessonData, LessonPage

WRITERS = {"roberta": write_bpe_folder} | dict.fromkeys(
    ("xlm-roberta", "camembert"), write_unigram_folder
)


@pytest.fixture(scope="session")
def bundled() -> LessonPage:
    return LessonPage.from_pretrained()


@pytest.fixture(scope="session")
def bundled_data(bundled: LessonPage) -> LessonData:
    return bundled.data(SENTENCES)


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
            made[tiny] = WRITERS.get(tiny.model_type, write_wordpiece_folder)(
                folder, tiny.model_type
            )
        return made[tiny]

    return folder_with_tokenizer

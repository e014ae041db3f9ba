"""Documentation that cannot drift: snippets run, generated parts are fresh, links lead on."""

import doctest
import re
import sys
import warnings
from pathlib import Path

import pytest

from isobatch.errors import MissingAttentionMaskWarning

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from scripts.write_docs import fresh_documents  # noqa: E402 - scripts/ is beside the package

DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("benchmarks/*.md"),
    *ROOT.glob("isobatch/bundled/*/*.md"),
]


def test_the_readme_s_snippets_run_and_print_what_it_says() -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingAttentionMaskWarning)
        failed, tried = doctest.testfile(
            str(ROOT / "README.md"), module_relative=False, optionflags=flags
        )
    assert tried > 10
    assert failed == 0


def test_generated_parts_are_fresh() -> None:
    for path, fresh in fresh_documents():
        assert path.read_text(encoding="utf-8") == fresh, f"{path} is stale: run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_commands_of_the_readme_exist_in_the_makefile() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    asked = set(re.findall(r"(?:^|`)make (\w+)", readme, flags=re.M))
    assert asked >= {"demo", "test", "bench"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.M) for target in asked)

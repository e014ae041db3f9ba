"""The site's hook and pages; `make check` builds the site itself, strictly."""

import logging
import re
from pathlib import Path

import pytest

import isobatch

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
from scripts.docstring_lists import list_parameters
from scripts.site_hook import PAGES, ROOT, resolve_links, separate_lists

REPOSITORY = "https://example.org/isobatch"


@pytest.mark.parametrize(
    ("document", "link", "resolved"),
    [
        ("docs/files.md", "[a](cli.md)", "[a](cli.md)"),
        ("docs/files.md", "[a](cli.md#isobatch-run)", "[a](cli.md#isobatch-run)"),
        ("docs/decisions/11-int8.md", "[a](../files.md)", "[a](../files.md)"),
        ("docs/serving.md", "[a](../benchmarks/README.md#x)", "[a](benchmarks/protocol.md#x)"),
        ("docs/decisions/11-int8.md", "[a](../../CHANGELOG.md)", "[a](../changelog.md)"),
        ("CONTRIBUTING.md", "[a](docs/glossary.md)", "[a](glossary.md)"),
        ("benchmarks/RESULTS.md", "[a](README.md)", "[a](protocol.md)"),
        ("benchmarks/RESULTS.md", "[a](../docs/files.md#b)", "[a](../files.md#b)"),
        ("docs/serving.md", "[a](../Dockerfile)", f"[a]({REPOSITORY}/blob/main/Dockerfile)"),
        ("docs/serving.md", "[a](../tests/claims)", f"[a]({REPOSITORY}/tree/main/tests/claims)"),
        ("docs/a.md", "[a](https://example.org/b.md)", "[a](https://example.org/b.md)"),
        ("docs/a.md", "[a](#b)", "[a](#b)"),
        ("docs/a.md", "```\n[a](../gone.py)\n```", "```\n[a](../gone.py)\n```"),
        ("docs/a.md", "`[a](../gone.py)`", "`[a](../gone.py)`"),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(document: str, link: str, resolved: str) -> None:
    assert resolve_links(link, document, REPOSITORY) == resolved


def test_without_the_repository_s_address_the_text_is_left() -> None:
    assert resolve_links("the [Dockerfile](../Dockerfile)", "docs/a.md", None) == "the Dockerfile"


@pytest.mark.parametrize("target", ["../gone.py", "../../outside.md"])
def test_a_link_without_a_target_is_a_warning(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mkdocs.hooks.site"):
        resolve_links(f"[a]({target})", "docs/a.md", REPOSITORY)
    assert target in caplog.text


def test_pages_from_outside_of_docs_exist() -> None:
    assert [name for name in PAGES if not (ROOT / name).is_file()] == []
    assert [place for place in PAGES.values() if (ROOT / "docs" / place).exists()] == []


def test_every_public_name_is_in_the_python_reference() -> None:
    page = Path(ROOT / "docs/python.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^::: isobatch\.(\w+)$", page, flags=re.M))
    assert {*isobatch.__all__} - {"__version__"} == documented


@pytest.mark.parametrize(
    ("markdown", "separated"),
    [
        ("A text:\n- a\n- b\n", "A text:\n\n- a\n- b\n"),
        ("**A text** of\n`two lines`:\n- a\n", "**A text** of\n`two lines`:\n\n- a\n"),
        ("- a\n  of two lines\n- b\n", "- a\n  of two lines\n- b\n"),
        ("```yaml\nkey:\n- a\n```\n", "```yaml\nkey:\n- a\n```\n"),
    ],
)
def test_a_list_after_a_paragraph_is_a_list(markdown: str, separated: str) -> None:
    assert separate_lists(markdown) == separated


def test_parameters_of_a_docstring_become_a_list() -> None:
    docstring = (
        "Load it.\n\nA path.\npath: a folder,\nor a hub id.\nsize: in bytes.\n"
        "Raises OptionError: for others."
    )
    assert list_parameters(docstring, ["path", "size"]) == (
        "Load it.\n\nA path.\n\n- `path`: a folder,\n  or a hub id.\n- `size`: in bytes.\n\n"
        "Raises OptionError: for others."
    )
    assert list_parameters(docstring, ["other"]) == docstring

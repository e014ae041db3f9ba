"""A hook of MkDocs: pages from outside of docs/, the lesson's page, and links into the repository.

Documents link to files as they are in the repository, so that they can be read there too.
Invariant: a link is a page of the site, a file of the repository, or a warning, which ends a
strict build.
"""

import logging
import posixpath
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.testing import CliRunner

from isobatch.cli import app

ROOT = Path(__file__).parent.parent
DOCS = "docs/"
DECISIONS = "docs/decisions/"
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks/protocol.md",
    "benchmarks/RESULTS.md": "benchmarks/results.md",
    "examples/README.md": "examples.md",
}
"""Documents outside of docs/, and their places in the site."""

LESSON = "lesson.html"
LESSON_MARK = "<!-- lesson page -->"
LESSON_FRAME = (
    f'<p><a href="../{LESSON}">Open the page by itself</a></p>\n'
    f'<iframe class="lesson" src="../{LESSON}" title="The lesson" loading="lazy"></iframe>'
)

_FENCE_OR_LINK = re.compile(
    r"^```.*?^```|`[^`\n]+`(?!\])|\[(?P<text>[^\[\]]*)\]\((?P<path>[^)\s:#]+)(?P<anchor>#[^)\s]*)?\)",
    flags=re.M | re.S,
)
_FENCE_OR_LIST = re.compile(
    r"^```.*?^```|^(?P<paragraph>(?!\s|[-*] |[|>#]|```)[^\n]+\n)(?=- )", flags=re.M | re.S
)
_GENERATED = re.compile(r"^<!-- (generated: \w+|end) -->\n", flags=re.M)
_log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents outside of docs/, and the lesson's page."""
    for name, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, LESSON, content=_lesson_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Resolve the links of a document, and put the lesson's page where it is marked."""
    places = {place: name for name, place in PAGES.items()}
    document = places.get(page.file.src_uri, DOCS + page.file.src_uri)
    text = _GENERATED.sub("\n", markdown).replace(LESSON_MARK, LESSON_FRAME)
    if document.startswith(DECISIONS) and not document.endswith("/README.md"):
        text += "\n\n[All decisions](README.md)\n"  # they are not in the navigation
    return resolve_links(separate_lists(text), document, config.repo_url)


def separate_lists(markdown: str) -> str:
    """Put an empty line between a paragraph and its list, which only GitHub does without."""
    return _FENCE_OR_LIST.sub(
        lambda found: found[0] + ("\n" if found["paragraph"] else ""), markdown
    )


def resolve_links(markdown: str, document: str, repo_url: str | None) -> str:
    """Return the Markdown of a document, by its path in the repository, with the site's links.

    A link to a file that is not a page leads to `repo_url`; without one its text is left.
    """
    page = _place(document) or document

    def resolve(found: re.Match[str]) -> str:
        if found["path"] is None:
            return found[0]
        text, anchor = found["text"], found["anchor"] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), found["path"]))
        if place := _place(target):
            return f"[{text}]({posixpath.relpath(place, posixpath.dirname(page))}{anchor})"
        if target.startswith("../") or not (ROOT / target).exists():
            _log.warning("%s: no such file: %s", document, found["path"])
            return text
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"[{text}]({repo_url}/{kind}/main/{target}{anchor})" if repo_url else text

    return _FENCE_OR_LINK.sub(resolve, markdown)


def _place(path: str) -> str | None:
    """Return the place in the site of a file of the repository, if it has one."""
    return PAGES.get(path) or (path.removeprefix(DOCS) if path.startswith(DOCS) else None)


def _lesson_page() -> str:
    """Return the page that the command writes."""
    with TemporaryDirectory() as folder:
        page = Path(folder) / LESSON
        ran = CliRunner().invoke(app, ["lesson", "--quiet", "--html", str(page)])
        if ran.exit_code:
            raise RuntimeError(f"isobatch lesson --html: exit code {ran.exit_code}\n{ran.output}")
        return page.read_text(encoding="utf-8")

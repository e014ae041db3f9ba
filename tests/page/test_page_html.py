"""The page as a file: no external resources, a matching policy, and no unescaped data.

Parsed with Python's own HTML parser, which shares nothing with the renderer.
"""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from page.conftest import COST_TEXTS

from isobatch.cli import main
from isobatch.errors import OptionError
from isobatch.lesson import SENTENCES, MaskCost
from isobatch.page import LessonData, LessonPage, content_security_policy, render_page
from isobatch.page.rendering import SCRIPTS

WEB = Path(str(files("isobatch.page").joinpath("web")))
OWN_SCRIPTS = [name for name in SCRIPTS if not name.startswith("vendor/")]
D3_SHA256 = "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1"


class Reader(HTMLParser):
    """Every element with its attributes, and the text of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inline.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in ("script", "style"):
            tag, attributes, text = self.inline[-1]
            self.inline[-1] = tag, attributes, text + data

    @property
    def policy(self) -> dict[str, list[str]]:
        """The directives of the page's own policy."""
        (content,) = [
            attributes["content"]
            for tag, attributes in self.elements
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        return directives(str(content))

    def hashes(self, kind: str) -> list[str]:
        """The sources that would allow each inline element of a kind that runs."""
        return [
            "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
            for tag, attributes, text in self.inline
            if tag == kind and "type" not in attributes
        ]

    @property
    def payload(self) -> dict[str, object]:
        (text,) = [text for _, attributes, text in self.inline if attributes.get("id") == "payload"]
        return dict(json.loads(text))


def directives(policy: str) -> dict[str, list[str]]:
    parts = [directive.split() for directive in policy.split(";")]
    return {name: sources for name, *sources in parts}


@pytest.fixture(scope="module")
def recorded(bundled_data: LessonData) -> str:
    return render_page(bundled_data)


@pytest.fixture(scope="module")
def live() -> str:
    return render_page(endpoint="/lesson")


def test_nothing_is_fetched_from_outside(recorded: str, live: str) -> None:
    for html in (recorded, live):
        for tag, attributes in Reader(html).elements:
            for name in ("src", "href", "action", "formaction", "srcset", "data", "poster"):
                value = attributes.get(name)
                assert value is None or value.startswith(("data:", "#")), f"<{tag} {name}={value}>"
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
    style = (WEB / "page.css").read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style


def test_own_scripts_name_no_address_and_make_no_markup() -> None:
    for name in OWN_SCRIPTS:
        text = (WEB / name).read_text(encoding="utf-8")
        assert "://" not in text, name
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\.html\(|\beval\b"
        assert not re.search(forbidden, text), name
        assert ("fetch(" in text) == (name == "live.js"), name


def test_the_policy_allows_what_is_on_the_page_and_nothing_else(recorded: str, live: str) -> None:
    for html, is_live in ((recorded, False), (live, True)):
        reader = Reader(html)
        policy = reader.policy
        assert policy["default-src"] == ["'none'"]
        assert policy["script-src"] == reader.hashes("script")
        assert policy["style-src"] == reader.hashes("style")
        assert len(policy["script-src"]) == len(SCRIPTS)
        assert policy["base-uri"] == policy["form-action"] == ["'none'"]
        assert policy.get("connect-src") == (["'self'"] if is_live else None)
        assert not [s for sources in policy.values() for s in sources if "unsafe" in s or s == "*"]
        assert html.index("Content-Security-Policy") < html.index("<style")


def test_the_header_says_what_the_page_says(live: str) -> None:
    header = directives(content_security_policy(live))
    assert header.pop("frame-ancestors") == ["'none'"]
    assert header == Reader(live).policy


def test_what_sentences_hold_stays_text(bundled: LessonPage) -> None:
    malicious = (
        "</script><script>alert(1)</script><style>*{}</style>",
        "<!--<script> & \u2028 {{ payload }} ]]>",
    )
    lesson = bundled.data(malicious, random_batches=False)
    html = render_page(lesson)
    reader = Reader(html)
    assert len(reader.inline) == len(SCRIPTS) + 2
    assert "alert(1)</script>" not in html
    payload = reader.payload
    data = payload["data"]
    assert isinstance(data, dict)
    assert [sentence["text"] for sentence in data["sentences"]] == list(malicious)
    assert data == json.loads(json.dumps(asdict(lesson)))
    assert len(content_security_policy(html).split("sha256")) == len(SCRIPTS) + 2


def test_equal_data_give_equal_bytes(bundled_data: LessonData, recorded: str) -> None:
    assert render_page(bundled_data) == recorded


def test_a_recorded_page_says_how_to_make_it_live(recorded: str, live: str) -> None:
    assert "<code>isobatch serve --page</code>" in recorded
    assert "isobatch serve" not in live
    assert Reader(recorded).payload["endpoint"] is None
    assert Reader(live).payload["endpoint"] == "/lesson"
    assert Reader(live).payload["sentences"] == list(SENTENCES)
    assert 'id="add"' not in recorded


def test_a_live_page_may_come_with_its_first_lesson(bundled_data: LessonData) -> None:
    payload = Reader(render_page(bundled_data, "/lesson")).payload
    assert payload["endpoint"] == "/lesson"
    assert payload["data"] == json.loads(json.dumps(asdict(bundled_data)))


@pytest.mark.parametrize("endpoint", ["//evil.example/x", "https://evil.example", "lesson", ""])
def test_an_endpoint_is_a_path_of_the_same_server(endpoint: str) -> None:
    with pytest.raises(OptionError, match="endpoint"):
        render_page(endpoint=endpoint)


def test_a_page_needs_data_or_an_endpoint() -> None:
    with pytest.raises(OptionError, match="data to show"):
        render_page()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(OptionError, match=r"'jinja2' is not installed.*pip install"):
        render_page(endpoint="/lesson")


def test_every_element_that_a_script_looks_up_exists(recorded: str, live: str) -> None:
    used = set()
    for name in OWN_SCRIPTS:
        text = (WEB / name).read_text(encoding="utf-8")
        used |= set(re.findall(r'byId\("([\w-]+)"\)', text))
    assert len(used) > 20, "the control: the pattern finds them"
    present = {attributes.get("id") for _, attributes in Reader(live).elements}
    assert used <= present
    only_live = {"add", "progress", "failure"}
    assert used - only_live <= {attributes.get("id") for _, attributes in Reader(recorded).elements}


def test_ids_are_unique_and_references_lead_somewhere(recorded: str, live: str) -> None:
    for html in (recorded, live):
        elements = Reader(html).elements
        ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
        assert len(set(ids)) == len(ids)
        for name in ("aria-labelledby", "aria-describedby", "for"):
            for _, attributes in elements:
                assert set((attributes.get(name) or "").split()) <= set(ids)


def test_scripts_stay_small_and_start_with_a_comment() -> None:
    assert {path.name for path in WEB.glob("*.js")} == set(OWN_SCRIPTS)
    for name in OWN_SCRIPTS:
        lines = (WEB / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 300, name
        assert max(map(len, lines)) <= 100, name
        assert lines[0].startswith("// "), name
        assert '"use strict";' in lines[:5], name


def test_the_library_is_the_published_one_with_its_licence() -> None:
    library = WEB / "vendor" / "d3.v7.min.js"
    assert hashlib.sha256(library.read_bytes()).hexdigest() == D3_SHA256
    assert "</script" not in library.read_text(encoding="utf-8")
    assert "Copyright 2010" in (WEB / "vendor" / "d3.LICENSE.txt").read_text(encoding="utf-8")


PAIRS = (
    *(
        (ink, ground, 4.5)
        for ink in ("ink", "quiet", "accent", "pad", "same")
        for ground in ("page", "panel")
    ),
    ("ink", "mark", 4.5),
    ("pad", "pad-panel", 4.5),
    ("on-accent", "accent", 4.5),
    ("page", "ink", 4.5),
    ("edge", "page", 3.0),
    ("edge", "panel", 3.0),
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_enough_contrast(theme: str) -> None:
    """WCAG 2: 4.5 for text, 3 for the edges of what can be used."""
    style = (WEB / "page.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in themes(style))
    assert light.keys() == dark.keys()
    colours = light if theme == "light" else dark
    for ink, ground, wanted in PAIRS:
        found = contrast(colours[ink], colours[ground])
        assert found >= wanted, f"{ink} on {ground}: {found:.2f}"


def themes(style: str) -> tuple[str, str]:
    light, _, rest = style.partition("@media (prefers-color-scheme: dark)")
    return light, rest.partition("* { box-sizing")[0]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_command_writes_the_page_and_equal_requests_have_equal_answers(
    bundled_data: LessonData,
    bundled_cost: MaskCost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "lesson.html"
    texts = [each for text in SENTENCES for each in ("-t", text)]
    few = tmp_path / "few.txt"
    few.write_text("\n".join(COST_TEXTS), encoding="utf-8")
    texts += ["--texts", str(few)]
    monkeypatch.setattr(sys, "argv", ["isobatch", "lesson", "--html", str(path), *texts])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    data = Reader(path.read_text(encoding="utf-8")).payload["data"]
    assert isinstance(data, dict)
    assert data == json.loads(json.dumps(asdict(replace(bundled_data, cost=bundled_cost))))
    assert [sentence["text"] for sentence in data["sentences"]] == list(SENTENCES)
    assert data["model"]["checkpoint"] == "the bundled model"


def test_the_command_takes_other_sentences(
    bundled_data: LessonData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: list[Sequence[str]] = []

    def note(page: LessonPage, sentences: Sequence[str]) -> LessonData:
        requested.append(sentences)
        return bundled_data

    monkeypatch.setattr(LessonPage, "data", note)
    monkeypatch.setattr("isobatch.lesson.measure_mask_cost", lambda *_, **__: None)
    path = tmp_path / "lesson.html"
    monkeypatch.setattr(
        sys, "argv", ["isobatch", "lesson", "--html", str(path), "-t", "a", "-t", "b c"]
    )
    with pytest.raises(SystemExit):
        main()
    assert [list(sentences) for sentences in requested] == [["a", "b c"]]


def test_the_command_says_where_it_cannot_write(
    bundled_data: LessonData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "absent" / "lesson.html"
    monkeypatch.setattr(LessonPage, "data", lambda page, sentences: bundled_data)
    monkeypatch.setattr(sys, "argv", ["isobatch", "lesson", "--html", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 6
    assert "cannot be written" in capsys.readouterr().err

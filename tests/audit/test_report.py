"""The page of an audit: its words, that it stays text, and that it is self-contained."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import pytest
from sample_reports import (
    HOSTILE,
    KERNELS,
    LEFT_OUT,
    MASK_DROPPED,
    STILL,
    buggy,
    drifting,
    exact,
    hostile,
    probe,
    report,
)

from isobatch.audit.report_data import AuditReport, Reproduction
from isobatch.audit.report_page import MovementStrip, Scale, describe_strips, render_page
from isobatch.audit.report_view import (
    MAX_NUMBERS,
    change,
    headline,
    meaning,
    num_left_out,
    number_rows,
    per_10000,
)
from isobatch.errors import OptionError

VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page's words, elements and attributes; every element must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def words_of(report: AuditReport) -> str:
    """The words of the page, in one line."""
    apart = re.sub("<(?=dd|dt|td|th|small)", " <", render_page(report))
    return " ".join(Page(apart).words.replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (buggy, "Your answers depend on the batch: 2 bugs"),
        (lambda: report(MASK_DROPPED), "Your answers depend on the batch: 1 bug"),
        (drifting, "Only the last digits move"),
        (exact, "Exact: no answer moved by a single bit"),
    ],
)
def test_the_verdict_comes_first(make: Callable[[], AuditReport], words: str) -> None:
    assert headline(make()) == words
    html = render_page(make())
    shown = words_of(make())
    assert shown.count(words) == 2, "in the title and in the first heading"
    assert re.search(rf"<h1>.*{re.escape(words)}</h1>", html)
    assert html.index("<h1>") < html.index("<h2")


def test_it_says_the_numbers_the_cause_the_fix_and_the_texts() -> None:
    words = words_of(buggy())
    for expected in (
        "3 labels of 64 flipped in the worst probe",
        "Results that moved 81.2 % 52 of 64, probe neighbours",
        "Labels that flipped 3 of 64 as 469 of 10,000; ",
        "Largest change of a score 0.431",
        "Largest change of a logit 1.02",
        "8 probes: 3 bug, 1 drift, 2 exact, 1 note, 1 not tested.",
        "Cause: A text answers differently",
        "Fix: Pass everything that the tokenizer gives: model(**inputs), not",
        "results that broke 2 of 8",
        "Today is a nice day!",
        "But what about tomorrow?",
        "NEGATIVE -4.32322 -4.19572 POSITIVE 4.69056 highest 4.56748 highest",
        "9.6 × 10⁻⁷",
        "a checkpoint, run by Hugging Face Transformers",
        "torch 2.13.0",
    ):
        assert expected in words, expected
    assert "`" not in words, "code is marked as code"


def test_an_exact_report_has_no_findings_and_says_what_could_not_run() -> None:
    words = words_of(exact())
    assert (
        "result stayed the same to the last bit, in 4 probes. 1 more probe could not run" in words
    )
    assert "Findings" not in words
    assert "Results that moved 0.0 %" in words


def test_nothing_tested_is_not_called_exact() -> None:
    nothing = report(probes=(probe("in-flight", "not tested"),))
    assert headline(nothing) == "Nothing was tested"
    assert "Exact" not in words_of(nothing)
    assert "Results that moved" not in words_of(nothing)


def test_a_label_that_flips_within_rounding_is_reported() -> None:
    assert KERNELS.movement is not None
    assert "no label changed" in meaning(drifting())
    flipped = replace(KERNELS, movement=replace(KERNELS.movement, flips=1))
    assert "even so, 1 label of 64 flipped" in meaning(report(flipped))


def test_notes_do_not_enter_the_numbers() -> None:
    noted = report(probes=(probe("neighbours", "exact", STILL), probe("no-mask", "note", LEFT_OUT)))
    assert "Results that moved 0.0 %" in words_of(noted)


def test_scores_only_are_said_to_be_scores() -> None:
    still = replace(STILL, max_logit=None)
    words = words_of(report(probes=(probe("neighbours", "exact", still),)))
    assert "this system returns scores only" in words
    assert "largest change of a score of one result" in words


def test_what_comes_from_outside_stays_text() -> None:
    html = render_page(hostile())
    page = Page(html)
    assert not page.open
    assert "script" not in page.tags
    assert page.words.count("<script>alert(1)</script>") > 20
    assert not set(html.encode()) & {0x00, 0x1B}


@pytest.mark.parametrize("make", [buggy, drifting, exact, hostile])
def test_the_page_fetches_nothing_and_its_ids_are_its_own(
    make: Callable[[], AuditReport],
) -> None:
    html = render_page(make())
    page = Page(html)
    assert not page.open
    assert not {"link", "img", "iframe", "object", "base", "form"} & {*page.tags}
    ids = [value for name, value in page.attributes if name == "id"]
    assert len({*ids}) == len(ids)
    targets = [value for name, value in page.attributes if name in ("src", "href")]
    assert {target.removeprefix("#") for target in targets} <= {*ids}
    assert {*re.findall(r"url\(#?([^)]*)\)", html)} <= {*ids}
    named = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert {*named} <= {*ids}
    assert "default-src 'none'" in html
    assert "//" not in html
    assert "@import" not in html


def test_pictures_take_the_colours_of_the_page_and_say_what_they_show() -> None:
    html = render_page(buggy())
    drawn = "".join(re.findall("<svg.*?</svg>", html, flags=re.S))
    assert {*re.findall("#[0-9a-f]{6}", drawn)} <= {"#ffffff"}
    assert drawn.count("<title") == 4, "three findings, and all probes"
    assert "neighbours (bug): 12 of 64 kept every bit, 52 moved by 0.0196 to 1.02." in html
    assert "empty-row (bug): 6 of 8 kept every bit, 2 became NaN or infinite." in html


def test_the_same_report_gives_the_same_bytes_whatever_the_settings() -> None:
    html = render_page(buggy())
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.grid": True}):
        assert render_page(buggy()) == html


@pytest.mark.parametrize("library", ["jinja2", "matplotlib.figure"])
def test_a_missing_library_names_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(OptionError, match=r'pip install "isobatch\[audit\]"'):
        render_page(buggy())


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.0123456, "0.0123"),
        (1e-4, "0.0001"),
        (2.44e-7, "2.4 × 10⁻⁷"),
        (5e-324, "4.9 × 10⁻³²⁴"),
        (123456.0, "123,456"),
        (float("inf"), "not finite"),
    ],
)
def test_changes_as_people_write_them(size: float | None, words: str) -> None:
    assert change(size).replace("\N{NO-BREAK SPACE}", " ") == words


def test_rates_are_not_rounded_to_nothing() -> None:
    assert [per_10000(rate) for rate in (0.0, 0.5, 3.0, 468.75, 10_000)] == [
        "0",
        "0.5",
        "3",
        "469",
        "10,000",
    ]


def answered(before: tuple[float, ...], after: tuple[float, ...]) -> Reproduction:
    return Reproduction("a", "b", ("alone", "together"), before, after)


def test_numbers_that_differ_are_shown_with_the_digits_that_differ() -> None:
    first, second = number_rows(answered((2.3841858, 1.0), (2.3841860, 1.0)), ("no", "yes"))
    assert (first.label, first.before.alike, first.before.other) == ("no", "2.38418", "58")
    assert (str(first.after), first.after.highest) == ("2.3841860", True)
    assert (second.before.other, second.after.other, second.before.highest) == ("", "", False)
    (close,) = number_rows(answered((0.1,), (0.1 + 1e-17 * 2,)), None)
    assert str(close.before) != str(close.after)
    assert close.label == "number 1"


def test_of_many_numbers_those_that_moved_furthest_are_shown() -> None:
    before = tuple(float(n) for n in range(20))
    after = tuple(value + (value > 11) * value for value in before)
    rows = number_rows(answered(before, after), None)
    assert [row.label for row in rows] == [f"number {n}" for n in range(15, 21)]
    assert num_left_out(answered(before, after)) == 20 - MAX_NUMBERS


def test_a_number_that_is_nan_or_missing_is_shown() -> None:
    (first, second) = number_rows(answered((1.0, 2.0), (float("nan"),)), None)
    assert str(first.after) == "NaN"
    assert str(second.after) == "no value"
    assert not first.after.highest


def test_the_scale_has_room_for_every_point() -> None:
    assert Scale.over([]) == Scale(-8, 0, False)
    assert Scale.over([0.0, 3e-12, 250.0, float("inf")]) == Scale(-12, 3, True)
    assert describe_strips([MovementStrip("still", (0.0,))]).endswith(
        "still: 1 of 1 kept every bit."
    )


def test_a_hostile_name_is_drawn_as_plain_text() -> None:
    drawn = "".join(re.findall("<svg.*?</svg>", render_page(hostile()), flags=re.S))
    assert "�" in Page(drawn).words
    assert HOSTILE not in drawn

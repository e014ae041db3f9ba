"""Formatting of texts and shares for pages and terminals.

Invariant: formatted texts can be written as UTF-8, HTML and XML, and a share is shown as 0 or 100 %
only where it is exact.
"""

import re

MAX_TEXT = 600
"""Maximum characters of a text in a report; longer ones are cut, with a note."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Replace characters that HTML, XML or UTF-8 cannot represent."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str) -> str:
    """Cut a text to MAX_TEXT characters, with a note."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … ({len(text):,} characters)"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: "1 bug", "3 bugs", "2 batches"; `plural` is `noun` + "s"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def one_line(name: str, longest: int) -> str:
    """Fit a name on one line; cut in the middle, as names often differ at their ends."""
    name = " ".join(printable(name).split())
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[1 - half :]}"


def percent(share: float | None) -> str:
    """Format a share as a percentage with non-breaking spaces; a dash for None."""
    if share is None:
        return "–"
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        shown = ">\N{NO-BREAK SPACE}99.9"
    elif shown == "0.0" and share > 0:
        shown = "<\N{NO-BREAK SPACE}0.1"
    return f"{shown}\N{NO-BREAK SPACE}%"

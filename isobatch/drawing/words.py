"""How texts and shares are shown to people, in pages and on terminals.

It knows nothing of where they are shown. Invariant: what is shown can be written as UTF-8, HTML and
XML, and no share is rounded to a perfect one, nor to nothing.
"""

import re

MAX_TEXT = 600
"""Characters of a text in a report; what is longer is cut, and says so."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """The text with a sign in the place of what neither HTML, XML nor UTF-8 can hold."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str) -> str:
    """The text, cut to what a reader will look at."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … ({len(text):,} characters)"


def one_line(name: str, longest: int) -> str:
    """One line for a picture; cut in the middle, as ends tell names apart too."""
    name = " ".join(printable(name).split())
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[1 - half :]}"


def percent(share: float | None) -> str:
    """A share as people read it; a dash where there is none.

    Never rounded to a perfect score, nor to nothing at all. Its spaces do not break.
    """
    if share is None:
        return "–"
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        shown = ">\N{NO-BREAK SPACE}99.9"
    elif shown == "0.0" and share > 0:
        shown = "<\N{NO-BREAK SPACE}0.1"
    return f"{shown}\N{NO-BREAK SPACE}%"

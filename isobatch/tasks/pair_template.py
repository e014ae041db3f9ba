"""PairTemplate: the text in which a language model reads a query and a text."""

import re
from dataclasses import dataclass

from isobatch.errors import OptionError

_PLACES = ("query", "text")
_PLACE = re.compile(r"\{(" + "|".join(_PLACES) + r")\}")


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """A template with {query} and {text}; all other braces are text, and no token is added."""

    template: str

    def __post_init__(self) -> None:
        """Raise OptionError unless both are there once."""
        given = self.template
        if not isinstance(given, str) or sorted(_PLACE.findall(given)) != [*_PLACES]:
            raise OptionError(
                "template must be a string that has {query} and {text} once each, got "
                f"{str(given)[:60]!r}"
            )

    def fill(self, query: str, text: str) -> tuple[str, tuple[int, int]]:
        """Return the whole text, and where in it the characters of `text` are."""
        before, first, between, _, after = _PLACE.split(self.template)
        if first == "query":
            start = len(before) + len(query) + len(between)
            return f"{before}{query}{between}{text}{after}", (start, start + len(text))
        whole = f"{before}{text}{between}{query}{after}"
        return whole, (len(before), len(before) + len(text))

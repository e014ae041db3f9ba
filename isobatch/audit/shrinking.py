"""From a pair of texts that shows a fault to the smallest pair that still does.

Words are taken away, many at a time and then one by one (the delta debugging of Zeller and
Hildebrandt, 2002, without its complements). It knows no model. Invariant: what is returned was seen
to show the fault, and no more tries were made than allowed.
"""

from collections.abc import Callable, Iterable

Shows = Callable[[str, str], bool]
"""Whether a text and its company show the fault."""


class Shrinker:
    """Tries pairs, at most `tries` of them, and remembers which it tried."""

    def __init__(self, shows: Shows, tries: int) -> None:
        self._shows = shows
        self._left = tries
        self._known: dict[tuple[str, str], bool] = {}

    def first(self, pairs: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
        """The first pair that shows it; None if there is none among those that may be tried."""
        return next((pair for pair in pairs if self.shows(*pair)), None)

    def smallest(self, text: str, company: str) -> tuple[str, str]:
        """The pair without the words that it shows the fault without."""
        company = self._without(company, lambda less: self.shows(text, less))
        text = self._without(text, lambda less: self.shows(less, company))
        return text, company

    def shows(self, text: str, company: str) -> bool:
        """Whether it is known, or found now, to show the fault; False once no try is left."""
        pair = text, company
        if pair not in self._known:
            if not self._left:
                return False
            self._left -= 1
            self._known[pair] = self._shows(text, company)
        return self._known[pair]

    @staticmethod
    def _without(text: str, shows: Callable[[str], bool]) -> str:
        words = text.split()
        size = len(words) // 2
        while size:
            start = 0
            while start < len(words):
                less = words[:start] + words[start + size :]
                if less and shows(" ".join(less)):
                    words = less
                else:
                    start += size
            size //= 2
        shorter = " ".join(words)
        return shorter if shows(shorter) else text

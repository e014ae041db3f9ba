"""Input texts: a caller's iterable as a list, or as parts of a stream."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from isobatch.errors import InputError
from isobatch.types import TextInput


def listed(texts: object) -> list[Any]:
    """Collect an iterable of texts; raises InputError for a single text and for other types."""
    return list(checked_iterable(texts))


def checked_iterable(texts: object) -> Iterable[Any]:
    """Return an iterable of texts; raises InputError for a single text and for other types."""
    if isinstance(texts, str | tuple):
        raise InputError("expected a list of texts, got a single one. Put it into a list")
    if isinstance(texts, Mapping | bytes) or not isinstance(texts, Iterable):
        raise InputError(
            "expected a text, a (text, text_pair) tuple or a list of them, "
            f"got {type(texts).__name__}"
        )
    return texts


def read_ahead(
    texts: Iterator[TextInput], max_texts: int
) -> tuple[list[TextInput], Exception | None]:
    """Read up to `max_texts`, with the error that ended the reading before that, if any."""
    found: list[TextInput] = []
    try:
        found.extend(islice(texts, max_texts))
    except Exception as error:  # noqa: BLE001  # raised by the caller
        return found, error
    return found, None

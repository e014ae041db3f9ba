"""TextField: the names that one of the APIs gives to its texts and to their truncation.

Invariant: an error about a text names its place in the body, and only fields that its API takes.
"""

from dataclasses import dataclass

from isobatch.errors import InputError, TooLongError
from isobatch.serve.http_errors import ErrorCode, RequestError

MAX_CHARACTERS_PER_TOKEN = 100
"""Of what is read with every text of a request, as a query and a hypothesis are: far more than any
tokenizer needs, and so little that no request multiplies its size by the number of its texts."""


@dataclass(frozen=True, slots=True)
class TextField:
    """The field that holds a request's texts.

    cut: the field and value that make a long text fit, and what they do with it.
    """

    name: str
    cut: str
    effect: str = "cut it"

    def error(
        self,
        error: InputError,
        index: int | None,
        code: ErrorCode = ErrorCode.TOKENIZATION,
    ) -> RequestError:
        """Say what is wrong with text `index`; None for a text without a list around it."""
        place = self.name if index is None else f"{self.name}[{index}]"
        if isinstance(error, TooLongError):
            return RequestError(
                ErrorCode.VALIDATION,
                f"{place}: {error.reason.partition('. ')[0]}. Shorten it, or send {self.cut} to "
                f"{self.effect}",
            )
        return RequestError(code, f"{place}: {error.reason}")

"""TextField: the names that one of the APIs gives to its texts and to their truncation.

Invariant: an error about a text names its place in the body, and only fields that its API takes.
"""

from dataclasses import dataclass

from isobatch.errors import InputError, TooLongError
from isobatch.serve.http_errors import ErrorCode, RequestError


@dataclass(frozen=True, slots=True)
class TextField:
    """The field that holds a request's texts; cut: the field and value that truncate them."""

    name: str
    cut: str

    def error(
        self,
        error: InputError,
        index: int | None,
        max_tokens: int,
        code: ErrorCode = ErrorCode.TOKENIZATION,
    ) -> RequestError:
        """Say what is wrong with text `index`; None for a text without a list around it."""
        place = self.name if index is None else f"{self.name}[{index}]"
        if isinstance(error, TooLongError):
            return RequestError(
                ErrorCode.VALIDATION,
                f"{place}: has more than {max_tokens} tokens, the maximum of this model. Shorten "
                f"it, or send {self.cut} to cut it",
            )
        return RequestError(code, f"{place}: {error.reason}")

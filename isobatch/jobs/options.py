"""What is asked of a job, as the user says it: of the model, and of the rows.

Nothing here depends on the files; both can be sent to another machine. Invariant: whoever holds the
same options, files and checkpoint gets the same bytes.
"""

from dataclasses import dataclass
from typing import Literal

from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.checkpoint.tokenizer import check_truncation
from isobatch.errors import OptionError
from isobatch.tasks import Classifier
from isobatch.types import Precision, Truncation

OnError = Literal["row", "stop"]
ON_ERROR: tuple[OnError, ...] = ("row", "stop")


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """Which columns are read and kept, and what is added.

    text_column: None finds the one obvious column. columns: those to keep; None keeps all.
    id_column: kept in any case, and names a row in messages. logits, scores: add all logits as one
    column, and one column for the score of each class. prefix: put before the added columns' names.
    truncation: "error" makes a text too long for the model a row with an error. on_error: "row"
    writes the reason into the row, "stop" ends the job there.
    """

    text_column: str | None = None
    pair_column: str | None = None
    id_column: str | None = None
    columns: tuple[str, ...] | None = None
    logits: bool = False
    scores: bool = False
    prefix: str = ""
    truncation: Truncation = "cut"
    on_error: OnError = "row"

    def __post_init__(self) -> None:
        check_truncation(self.truncation)
        if self.on_error not in ON_ERROR:
            raise OptionError(f"on_error must be 'row' or 'stop', got {self.on_error!r}")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which classifier answers; as Classifier.from_pretrained takes them."""

    model: str | None = None
    precision: Precision | Literal["auto"] | None = None
    device: str = "cpu"
    threads: int | None = None
    max_batch_tokens: int = MAX_BATCH_TOKENS

    def load(self) -> Classifier:
        """Load it; errors as in Classifier.from_pretrained."""
        return Classifier.from_pretrained(
            self.model,
            precision=self.precision,
            device=self.device,
            threads=self.threads,
            max_batch_tokens=self.max_batch_tokens,
        )

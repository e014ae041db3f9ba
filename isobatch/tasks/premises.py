"""Premises and hypotheses as ids: each is tokenized once, however many pairs it is in.

Invariant: a pair has the ids that the tokenizer gives to its two texts under "only_first", which
cuts the premise; a hypothesis is never cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isobatch.checkpoint.pair_layout import PairLayout
from isobatch.checkpoint.text_encoder import TextEncoder, input_error
from isobatch.errors import InputError, OptionError, TooLongError
from isobatch.tasks.candidate_labels import CandidateLabels
from isobatch.tasks.table_limits import TableLimits
from isobatch.types import Encoding, Truncation


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """The hypotheses of some labels as ids. room: tokens that each leaves for the premise."""

    candidates: CandidateLabels
    ids: tuple[tuple[int, ...], ...]
    room: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A text, or what a caller gave in its place, and the hypotheses that it is asked for."""

    text: object
    hypotheses: Hypotheses


@dataclass(frozen=True, slots=True, kw_only=True)
class PremiseEncoding(Encoding):
    """A text with the hypotheses that it is asked for; input_ids are those of the text alone.

    Its length is the number of tokens of all its pairs. cut_left: a long premise loses its start.
    """

    premise: Sequence[int]
    hypotheses: Hypotheses
    layout: PairLayout
    cut_left: bool

    def __len__(self) -> int:
        fixed = self.layout.num_special_tokens
        sizes = zip(self.hypotheses.ids, self.hypotheses.room, strict=True)
        return sum(fixed + len(ids) + min(len(self.premise), room) for ids, room in sizes)

    def pairs(self) -> Iterator[Encoding]:
        """Yield the pair of the premise with each hypothesis, in the order of the labels."""
        for ids, room in zip(self.hypotheses.ids, self.hypotheses.room, strict=True):
            cut = len(self.premise) > room
            kept = self.premise[-room:] if self.cut_left else self.premise[:room]
            yield self.layout.join(kept if cut else self.premise, ids, truncated=cut)


class PremiseEncoder:
    """Encodes texts with their hypotheses. Thread-safe: it is immutable after construction."""

    def __init__(self, encoder: TextEncoder, limits: TableLimits) -> None:
        self._encoder = encoder
        self._limits = limits
        self._layout = encoder.pair_layout()

    def hypotheses(self, candidates: CandidateLabels) -> Hypotheses:
        """Encode the hypothesis of each label.

        Raises OptionError for one that is too long, or that has a token without an embedding.
        """
        ids = self._encoder.token_ids(candidates.hypotheses())
        room = [self._room(*pair) for pair in zip(candidates.labels, ids, strict=True)]
        return Hypotheses(candidates, tuple(map(tuple, ids)), tuple(room))

    def _room(self, label: str, hypothesis: Sequence[int]) -> int:
        maximum = self._encoder.max_tokens
        if not hypothesis:
            raise OptionError(
                f"labels: the hypothesis of {label[:40]!r} has no tokens. Use a label or a "
                "template with characters that the tokenizer keeps"
            )
        room = maximum - self._layout.num_special_tokens - len(hypothesis)
        if room < 1:
            raise OptionError(
                f"labels: the hypothesis of {label[:40]!r} is too long: the maximum of this model "
                f"is {maximum} tokens, and it leaves none for the text. Shorten the label or the "
                "template"
            )
        checked = self._limits.checked(self._layout.join((), hypothesis), 0)
        if isinstance(checked, InputError):
            raise OptionError(f"labels: the hypothesis of {label[:40]!r}: {checked.reason}")
        return room

    def encode(
        self, questions: Sequence[Question], truncation: Truncation, first_index: int
    ) -> list[Encoding | InputError]:
        """Return the PremiseEncoding of each question, or the error that its text causes."""
        texts = [each.text for each in questions]
        errors = {
            index: error
            for index, text in enumerate(texts)
            if (error := _premise_error(text, first_index + index))
        }
        valid = [text for index, text in enumerate(texts) if index not in errors]
        ids = iter(self._encoder.token_ids([str(text) for text in valid]))
        return [
            errors.get(index)
            or self._checked(next(ids), each.hypotheses, truncation, first_index + index)
            for index, each in enumerate(questions)
        ]

    def _checked(
        self, premise: Sequence[int], hypotheses: Hypotheses, truncation: Truncation, index: int
    ) -> Encoding | InputError:
        whole = self._layout.join(premise, ())
        checked = self._limits.checked(whole, index) if len(whole) else whole
        if isinstance(checked, InputError):
            return checked
        room = min(hypotheses.room)
        if len(premise) > room and truncation == "error":
            label = hypotheses.candidates.labels[hypotheses.room.index(room)]
            return TooLongError(
                f"has more than {room} tokens, for which there is room next to the hypothesis of "
                f'{label[:40]!r}. Shorten it, or allow truncation="cut"',
                index,
            )
        return PremiseEncoding(
            whole.input_ids,
            whole.token_type_ids,
            len(premise) > room,
            premise=premise,
            hypotheses=hypotheses,
            layout=self._layout,
            cut_left=self._encoder.truncation_side == "left",
        )


def _premise_error(text: object, index: int) -> InputError | None:
    if isinstance(text, tuple):
        return InputError(
            "expected a text, got a tuple: the second text of a pair is made from each label. "
            "Pass the text alone",
            index,
        )
    if not isinstance(text, str):
        return InputError(
            f"expected a string, got {type(text).__name__}: {str(text)[:40]!r}", index
        )
    return input_error(text, index)

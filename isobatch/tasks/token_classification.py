"""Token classification: the entities of each text, from the logits of its tokens.

A text that is longer than the model is read in overlapping windows, never cut unless the caller
says so. Invariant: as for every pipeline, entities are a function of their own text alone.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast, overload

from isobatch.ambient import eager
from isobatch.batching.cache import Output
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.checkpoint import VectorOptions, locate_checkpoint
from isobatch.checkpoint.token_encoder import TokenEncoder, TokenEncoding, WordList
from isobatch.checkpoint.truncation import windows_of
from isobatch.checkpoint.windows import join_tokens
from isobatch.errors import InputError, OptionError
from isobatch.tasks.entities import (
    OUTSIDE,
    Aggregation,
    Entity,
    check_aggregation,
    check_ignored,
    find_entities,
    read_tags,
)
from isobatch.tasks.input_texts import listed
from isobatch.tasks.model_engines import engine_named
from isobatch.tasks.pipeline import Pipeline
from isobatch.tasks.row_format import Column, RowFormat
from isobatch.types import Encoding, EngineName, Precision, Task, Truncation

LABELS_SHOWN = 5
"""In repr(classifier)."""


@dataclass(frozen=True, slots=True)
class TokenPrediction:
    """The entities of one text, in its order.

    num_tokens: special ones included. num_windows: in which a text longer than the model was read.
    """

    entities: tuple[Entity, ...]
    truncated: bool = False
    num_tokens: int = field(default=0, repr=False)
    num_windows: int = field(default=1, repr=False)

    def to_dict(self) -> dict[str, object]:
        """Return the prediction as plain values, for JSON."""
        return {
            "entities": [entity.to_dict() for entity in self.entities],
            "num_tokens": self.num_tokens,
            "num_windows": self.num_windows,
            "truncated": self.truncated,
        }


@dataclass(frozen=True)
class EntityRows(RowFormat[TokenPrediction]):
    """One column, `entities`: the list of a text's entities, each with the keys of `to_dict`."""

    labels: tuple[str, ...]

    def columns(self, *, raw: bool, all_scores: bool) -> tuple[Column, ...]:
        return (Column("entities", "entities"),)

    def values(self, prediction: TokenPrediction, *, raw: bool, all_scores: bool) -> list[object]:
        return [[entity.to_dict() for entity in prediction.entities]]


class TokenClassifier(Pipeline[TokenPrediction]):
    """Finds entities, batch-invariantly. Load one by `from_pretrained`.

    Its outputs (`forward`) are the logits of each text, float32 [tokens, labels], special tokens
    included, and of all its tokens where it was read in windows.
    """

    task: ClassVar[Task] = "token-classification"
    not_bundled = "no model for tokens is bundled. Pass the folder or hub id of one"

    def __init__(self, *given: Any, truncation: Truncation = "window", **options: Any) -> None:
        """Take the arguments of Pipeline."""
        super().__init__(*given, truncation=truncation, **options)
        self._check_truncation(truncation)
        self._token_encoder = TokenEncoder(self._encoder)
        self._tags = read_tags(self.labels)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        precision: Precision | Literal["auto"] | None = None,
        device: str = "cpu",
        threads: int | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        truncation: Truncation = "window",
        revision: str | None = None,
        engine: EngineName = "native",
        group_equal_lengths: bool = False,
    ) -> Self:
        """Load a checkpoint as `Pipeline.from_pretrained` does; none for tokens is bundled.

        truncation: "window" reads a text that is longer than the model in windows, which share a
        quarter of their tokens, or as many as TextWindows(stride=…) says; "cut" truncates and marks
        it, "error" rejects it.
        """
        return cls._load(
            locate_checkpoint(path, revision),
            VectorOptions(),
            engine_named(engine, group_equal_lengths=group_equal_lengths),
            precision=precision,
            device=device,
            threads=threads,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
        )

    @overload  # type: ignore[override]
    def __call__(  # type: ignore[overload-overlap]  # a str is an iterable of str
        self,
        texts: str,
        aggregation: Aggregation = "simple",
        *,
        truncation: Truncation | None = None,
        is_split_into_words: Literal[False] = False,
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> TokenPrediction: ...
    @overload
    def __call__(
        self,
        texts: Iterable[object],
        aggregation: Aggregation = "simple",
        *,
        truncation: Truncation | None = None,
        is_split_into_words: Literal[False] = False,
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> list[TokenPrediction]: ...
    @overload
    def __call__(
        self,
        texts: Sequence[str] | Iterable[Sequence[str]],
        aggregation: Aggregation = "simple",
        *,
        truncation: Truncation | None = None,
        is_split_into_words: bool,
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> Any: ...
    @eager
    def __call__(
        self,
        texts: Any,
        aggregation: Aggregation = "simple",
        *,
        truncation: Truncation | None = None,
        is_split_into_words: bool = False,
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> TokenPrediction | list[TokenPrediction]:
        """Find the entities of one text, or of each of a list, in order.

        aggregation: one of AGGREGATIONS. is_split_into_words: each text is a list of words;
        characters are then those of the words joined by spaces. ignore_labels: left out.
        Raises InputError with the index of a text that is none, OptionError for other options.
        """
        self._check_options(aggregation, ignore_labels)
        alone, items = _listed_items(texts, is_split=is_split_into_words)
        encodings = self._encode(items, truncation)
        outputs = self.forward(encodings)
        predictions = [
            self.decode(*pair, aggregation, ignore_labels)
            for pair in zip(outputs, encodings, strict=True)
        ]
        return predictions[0] if alone else predictions

    def decode(
        self,
        output: Output,
        encoding: Encoding,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> TokenPrediction:
        """Turn the logits of one encoded text, [tokens, labels], into its entities."""
        self._check_options(aggregation, ignore_labels)
        encoded = cast("TokenEncoding", encoding)
        entities = find_entities(output, encoded, self._tags, aggregation, ignore_labels)
        return TokenPrediction(
            tuple(entities), encoding.truncated, len(encoding), encoding.num_windows
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.config.head.labels

    @property
    def row_format(self) -> EntityRows:
        return EntityRows(self.labels)

    def __repr__(self) -> str:
        shown = ", ".join(self.labels[:LABELS_SHOWN])
        if len(self.labels) > LABELS_SHOWN:
            shown += f", … ({len(self.labels)})"
        return (
            f"{type(self).__name__}({str(self.folder)!r}, "
            f"family={self.config.family.model_type!r}, precision={self.precision!r}, "
            f"labels=[{shown}])"
        )

    def _check_truncation(self, truncation: Truncation) -> None:
        self._encoder.check(truncation)
        windows = windows_of(truncation)
        if windows is not None and windows.pooling != "mean":
            raise OptionError(
                f"TextWindows(pooling={windows.pooling!r}) is for outputs of whole texts: each "
                "token has the logits of one window. Leave pooling out"
            )

    def _check_options(self, aggregation: Aggregation, ignore_labels: Collection[str]) -> None:
        check_aggregation(aggregation, finds_words=self._token_encoder.finds_words)
        check_ignored(ignore_labels, self._tags, aggregation)

    def _combine(self, outputs: Sequence[Output], encoding: Encoding) -> Output:
        """Return the logits of the whole text's tokens."""
        return join_tokens(cast("TokenEncoding", encoding).cuts, outputs)

    def _encode_part(
        self, texts: Sequence[object], truncation: Truncation, first_index: int
    ) -> list[Encoding | InputError]:
        """Encode texts, or WordLists, with the characters and words of their tokens."""
        self._check_truncation(truncation)
        return [
            self._token_encoder.encode(text, truncation, index)
            for index, text in enumerate(texts, first_index)
        ]


def _listed_items(texts: object, *, is_split: bool) -> tuple[bool, list[Any]]:
    """Return whether there is one text, and the texts or WordLists."""
    if not is_split:
        return isinstance(texts, str | tuple), [texts] if isinstance(
            texts, str | tuple
        ) else listed(texts)
    words = listed(texts)
    alone = bool(words) and not any(isinstance(each, list | tuple) for each in words)
    lists = [words] if alone else words
    for index, each in enumerate(lists):
        if not isinstance(each, list | tuple):
            raise InputError(f"expected a list of words, got {type(each).__name__}", index)
    return alone, [WordList(each) for each in lists]

"""Classification: a label and scores for each text, from the logits of the checkpoint's head."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from isobatch.ambient import eager
from isobatch.batching.cache import Output
from isobatch.checkpoint.sentence_modules import MODULES
from isobatch.checkpoint.sentence_settings import read_sentence_encoder
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.errors import OptionError
from isobatch.tasks.input_texts import listed
from isobatch.tasks.model_engines import PipelineConfig, TokenizerReader
from isobatch.tasks.pipeline import Pipeline
from isobatch.tasks.row_format import Column, RowFormat
from isobatch.tasks.scores import rank_logits, score_logits
from isobatch.types import Encoding, ScoreActivation, TextInput, Truncation

_NOT_GIVEN = object()

LABELS_SHOWN = 5
"""In repr(classifier)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The classification of one text.

    `label` is that of the highest logit, and `score` its score; `scores` has every label in the
    order of the checkpoint. For a regression checkpoint both are the plain number. `num_tokens`
    counts those of all windows, in which a text longer than the model may be read.
    """

    label: str
    score: float
    logits: tuple[float, ...]
    truncated: bool
    num_tokens: int = field(repr=False)
    scores: dict[str, float] = field(repr=False)
    num_windows: int = field(default=1, repr=False)

    def to_dict(self) -> dict[str, object]:
        """Return the prediction as plain values, for JSON."""
        return {
            "label": self.label,
            "score": self.score,
            "scores": dict(self.scores),
            "logits": list(self.logits),
            "num_tokens": self.num_tokens,
            "truncated": self.truncated,
            "num_windows": self.num_windows,
        }


@dataclass(frozen=True)
class ClassificationRows(RowFormat[Prediction]):
    """`label` and `score`, with `logits` and `score_LABEL` if requested."""

    labels: tuple[str, ...]

    def columns(self, *, raw: bool, all_scores: bool) -> tuple[Column, ...]:
        columns = [Column("label", "text"), Column("score", "number")]
        if raw:
            columns.append(Column("logits", "numbers"))
        if all_scores:
            columns += [Column(f"score_{label}", "number") for label in self.labels]
        return tuple(columns)

    def values(self, prediction: Prediction, *, raw: bool, all_scores: bool) -> list[object]:
        values: list[object] = [prediction.label, prediction.score]
        if raw:
            values.append(list(prediction.logits))
        if all_scores:
            values.extend(prediction.scores.values())
        return values


class Classifier(Pipeline[Prediction]):
    """A text classifier whose predictions are batch-invariant. Load one by `from_pretrained`."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an iterable of str
        self, texts: TextInput, *, truncation: Truncation | None = None
    ) -> Prediction: ...
    @overload
    def __call__(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> list[Prediction]: ...
    @overload
    def __call__(
        self,
        texts: TextInput | Iterable[TextInput],
        *,
        truncation: Truncation | None = None,
        top_k: int | None,
    ) -> list[dict[str, object]] | list[list[dict[str, object]]]: ...
    def __call__(
        self,
        texts: TextInput | Iterable[TextInput],
        *,
        truncation: Truncation | None = None,
        top_k: Any = _NOT_GIVEN,
    ) -> object:
        """Predict as every pipeline does, or, with top_k, as the method `top_k` does."""
        if top_k is _NOT_GIVEN:
            return super().__call__(texts, truncation=truncation)
        return self.top_k(texts, top_k, truncation=truncation)

    @classmethod
    def _read_encoder(
        cls, folder: Path, config: PipelineConfig, read: TokenizerReader
    ) -> TextEncoder:
        """Read the tokenizer; a folder of sentence-transformers has further settings of it."""
        if (folder / MODULES).is_file() and config.head.answers is None:
            return read_sentence_encoder(folder, config.encoder.max_tokens, read)
        return super()._read_encoder(folder, config, read)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.config.head.labels

    @property
    def score_activation(self) -> ScoreActivation:
        """The function that turns logits into scores."""
        return self.config.head.score_activation

    @eager
    def logits(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> NDArray[np.float32]:
        """Return the logits of a list of texts, float32 [texts, num_labels], in order."""
        outputs = self.forward(self._encode(listed(texts), truncation))
        return np.stack(outputs) if outputs else np.empty((0, len(self.labels)), np.float32)

    @eager
    def predict_proba(
        self, texts: Iterable[TextInput], *, truncation: Truncation | None = None
    ) -> NDArray[np.float64]:
        """Return the scores of a list of texts, [texts, num_labels], as scikit-learn does.

        Raises OptionError for a regression checkpoint, whose scores are not probabilities.
        """
        activation = self.score_activation
        if activation == "none":
            raise OptionError(
                "predict_proba: this checkpoint is a regression, without probabilities. Use logits"
            )
        rows = [score_logits(row, activation) for row in self.logits(texts, truncation=truncation)]
        return np.array(rows, np.float64).reshape(-1, len(self.labels))

    def top_k(
        self,
        texts: TextInput | Iterable[TextInput],
        k: int | None = None,
        *,
        truncation: Truncation | None = None,
    ) -> list[dict[str, object]] | list[list[dict[str, object]]]:
        """Return the k best labels with their scores, of one text or of each of a list.

        Each is {"label": …, "score": …}, the best first, as from transformers' pipeline with
        top_k=k; None for all labels. Raises OptionError for another k, InputError as a call does.
        """
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
            raise OptionError(f"top_k must be an integer of at least 1, or None, got {k!r}")
        single = isinstance(texts, str | tuple)
        several: list[TextInput] = [texts] if single else listed(texts)  # type: ignore[list-item]
        rows = self.logits(several, truncation=truncation)
        best = [self.ranked(row)[:k] for row in rows]
        return best[0] if single else best

    def __repr__(self) -> str:
        shown = ", ".join(self.labels[:LABELS_SHOWN])
        if len(self.labels) > LABELS_SHOWN:
            shown += f", … ({len(self.labels)})"
        return (
            f"{type(self).__name__}({str(self.folder)!r}, "
            f"family={self.config.family.model_type!r}, precision={self.precision!r}, "
            f"labels=[{shown}])"
        )

    def decode(self, output: Output, encoding: Encoding) -> Prediction:
        """Turn the logits of one encoded text into its prediction."""
        labels = self.labels
        logits: list[float] = output.tolist()
        scores = score_logits(logits, self.score_activation)
        best = rank_logits(logits)[0]
        return Prediction(
            label=labels[best],
            score=scores[best],
            logits=tuple(logits),
            truncated=encoding.truncated,
            num_tokens=len(encoding),
            scores=dict(zip(labels, scores, strict=True)),
            num_windows=encoding.num_windows,
        )

    @property
    def row_format(self) -> "ClassificationRows":
        return ClassificationRows(self.labels)

    @eager
    def ranked(
        self, output: Output, activation: ScoreActivation | None = None
    ) -> list[dict[str, object]]:
        """Return every label with its score as JSON values, that of the highest logit first.

        Equal logits keep the checkpoint's order. activation: None for the checkpoint's own.
        """
        scores = score_logits(output, activation or self.score_activation)
        return [
            {"label": self.labels[index], "score": scores[index]} for index in rank_logits(output)
        ]

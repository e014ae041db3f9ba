"""Zero-shot classification: labels of the caller, scored by a model of natural language inference.

A text is the premise, and each label makes a hypothesis. A text and its hypotheses are pairs that
are computed like any others; only the premise is cut. Invariant: the logits of a text and a label
are a function of the two, the template, the checkpoint and the machine alone, and so is the score
under multi_label.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast, overload

import numpy as np

from isobatch.ambient import default_float_environment, eager
from isobatch.batching.cache import Output, OutputCache
from isobatch.errors import InputError, MissingHeadError, OptionError
from isobatch.precision import ChosenPrecision
from isobatch.tasks.candidate_labels import (
    DEFAULT_TEMPLATE,
    CandidateLabels,
    LabelLists,
    NliLabels,
    find_nli_labels,
    read_labels_of_texts,
)
from isobatch.tasks.classification import ClassificationRows, Prediction
from isobatch.tasks.input_texts import listed
from isobatch.tasks.isolation import encode_each
from isobatch.tasks.model_engines import PipelineConfig
from isobatch.tasks.pipeline import Pipeline
from isobatch.tasks.premises import Hypotheses, PremiseEncoder, PremiseEncoding, Question
from isobatch.tasks.row_format import RowFormat
from isobatch.tasks.scores import rank_logits, score_logits
from isobatch.types import Encoding, TextInput, Truncation

_TRUNCATIONS = ("cut", "error")

PAIRS_AT_ONCE = 4096
"""Pairs that exist at the same time: enough to fill batches with pairs of one length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotPrediction(Prediction):
    """The labels of one text: a classification over the caller's labels, in their order.

    logits: the scores are computed from these, one number a label: the logit of entailment, or,
    where labels are independent, that less the logit of contradiction. nli_logits: the model's own
    logits for each label, in the order of the checkpoint's labels.
    """

    nli_logits: tuple[tuple[float, ...], ...] = field(repr=False)

    @property
    def ranked(self) -> tuple[tuple[str, float], ...]:
        """Each label with its score, the best first: by logits, and equal ones in their order."""
        pairs = list(self.scores.items())
        return tuple(pairs[index] for index in rank_logits(self.logits))

    def to_dict(self) -> dict[str, object]:
        """Return the prediction as plain values, for JSON."""
        values = Prediction.to_dict(self)
        return values | {"nli_logits": [list(row) for row in self.nli_logits]}


class ZeroShotClassifier(Pipeline[ZeroShotPrediction]):
    """Classifies texts by labels that are given with them. Load one by `from_pretrained`.

    Its checkpoint is trained on natural language inference. labels: a list for all texts, or a
    list of labels for each text. template: has {} in the place of the label; "This example is {}."
    by default. multi_label: labels are scored each by itself, instead of against each other.
    """

    not_bundled = (
        "no model for zero-shot classification is bundled. Pass the folder or hub id of one that "
        "is trained on natural language inference"
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what Pipeline takes. Raises MissingHeadError for a model of another kind."""
        super().__init__(*arguments, **options)
        _check_truncation(self.truncation)
        self._nli = _nli_labels(self.folder, self.config)
        self._premises = PremiseEncoder(self._encoder, self._limits)
        self._fixed: Hypotheses | None = None

    @classmethod
    def from_classifier(cls, classifier: Pipeline[Prediction]) -> Self:
        """Return one that shares the model of `classifier`. Raises MissingHeadError as loading.

        It has no windows: where `classifier` reads long texts in them, it rejects long texts.
        """
        truncation = classifier.truncation
        return cls(
            classifier._model,
            classifier._encoder,
            classifier.choices,
            folder=classifier.folder,
            precision=ChosenPrecision(classifier.precision, classifier.precision_reason),
            max_batch_tokens=classifier.max_batch_tokens,
            truncation=truncation if truncation in _TRUNCATIONS else "error",
        )

    @classmethod
    def _check_config(cls, folder: Path, config: PipelineConfig) -> None:
        _nli_labels(folder, config)

    def for_labels(
        self, labels: Sequence[str], template: str = DEFAULT_TEMPLATE, multi_label: bool = False
    ) -> Self:
        """Return a pipeline with these labels, which shares the model. OptionError as a call."""
        (own,) = read_labels_of_texts(labels, 1, single=True)
        made = copy(self)
        made._fixed = self._premises.hypotheses(CandidateLabels(own, template, multi_label))
        return made

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an iterable of str
        self,
        texts: TextInput,
        labels: LabelLists | None = None,
        template: str | None = None,
        multi_label: bool | None = None,
        *,
        truncation: Truncation | None = None,
    ) -> ZeroShotPrediction: ...
    @overload
    def __call__(
        self,
        texts: Iterable[TextInput],
        labels: LabelLists | None = None,
        template: str | None = None,
        multi_label: bool | None = None,
        *,
        truncation: Truncation | None = None,
    ) -> list[ZeroShotPrediction]: ...
    def __call__(
        self,
        texts: TextInput | Iterable[TextInput],
        labels: LabelLists | None = None,
        template: str | None = None,
        multi_label: bool | None = None,
        *,
        truncation: Truncation | None = None,
    ) -> ZeroShotPrediction | list[ZeroShotPrediction]:
        """Classify one text, or each of a list, in order.

        None for labels, template or multi_label: those of `for_labels`. Raises OptionError for
        labels or a template that are not valid and for a hypothesis that is too long, and
        InputError with the index of the first item that is not a text, before computing anything.
        """
        if isinstance(texts, str | tuple):
            questions = self._questions([texts], labels, template, multi_label, single=True)
            return self._predict(self._encode(questions, truncation))[0]
        return self.predict(texts, labels, template, multi_label, truncation=truncation)

    def predict(
        self,
        texts: Iterable[TextInput],
        labels: LabelLists | None = None,
        template: str | None = None,
        multi_label: bool | None = None,
        *,
        truncation: Truncation | None = None,
    ) -> list[ZeroShotPrediction]:
        """Classify a list of texts, in order; arguments and errors are those of a call."""
        questions = self._questions(listed(texts), labels, template, multi_label)
        return self._predict(self._encode(questions, truncation))

    def predict_or_errors(
        self,
        texts: Iterable[object],
        labels: LabelLists | None = None,
        template: str | None = None,
        multi_label: bool | None = None,
        *,
        truncation: Truncation | None = None,
        cache: OutputCache | None = None,
    ) -> list[ZeroShotPrediction | InputError]:
        """Return for each text, in order, its prediction, or the error that it causes."""
        encodings = self.tokenize(texts, labels, template, multi_label, truncation=truncation)
        return self._predictions(encodings, cache)

    def tokenize(
        self,
        texts: Iterable[object],
        labels: LabelLists | None = None,
        template: str | None = None,
        multi_label: bool | None = None,
        *,
        truncation: Truncation | None = None,
    ) -> list[Encoding | InputError]:
        """Return for each text its PremiseEncoding, or the error that it causes."""
        questions = self._questions(listed(texts), labels, template, multi_label)
        return self._tokenize(questions, truncation)

    def forward_or_errors(
        self, encodings: Sequence[Encoding], cache: OutputCache | None = None
    ) -> list[Output | InputError]:
        """Return for each text the model's logits [labels, logits], or why there are none.

        Equal pairs are computed once.
        """
        cache = OutputCache() if cache is None else cache
        outputs: list[Output | InputError] = []
        for part in _parts(cast("Sequence[PremiseEncoding]", encodings)):
            pairs = [list(encoding.pairs()) for encoding in part]
            flat = [pair for each in pairs for pair in each]
            texts = [text for text, each in enumerate(pairs) for _ in each]
            rows = iter(cache.get_or_compute(flat, self._outputs, texts))
            outputs += [_stacked([next(rows) for _ in each]) for each in pairs]
        return outputs

    def decode(self, output: Output, encoding: Encoding) -> ZeroShotPrediction:
        """Turn the logits [labels, logits] of one text into its prediction."""
        assert isinstance(encoding, PremiseEncoding)
        candidates = encoding.hypotheses.candidates
        rows: list[list[float]] = output.tolist()
        logits = [row[self._nli.entailment] for row in rows]
        if candidates.are_independent:
            with default_float_environment():
                logits = [row[self._nli.entailment] - row[self._nli.contradiction] for row in rows]
        scores = score_logits(logits, "sigmoid" if candidates.are_independent else "softmax")
        best = rank_logits(logits)[0]
        return ZeroShotPrediction(
            label=candidates.labels[best],
            score=scores[best],
            logits=tuple(logits),
            truncated=encoding.truncated,
            num_tokens=len(encoding),
            scores=dict(zip(candidates.labels, scores, strict=True)),
            nli_logits=tuple(tuple(row) for row in rows),
        )

    @property
    def row_format(self) -> RowFormat[ZeroShotPrediction]:
        """The columns of a classification over the labels of `for_labels`."""
        rows = ClassificationRows(self._fixed_hypotheses().candidates.labels)
        return cast("RowFormat[ZeroShotPrediction]", rows)

    def __repr__(self) -> str:
        labels = self._fixed.candidates.labels if self._fixed else ()
        return (
            f"{type(self).__name__}({str(self.folder)!r}, "
            f"family={self.config.family.model_type!r}, precision={self.precision!r}, "
            f"labels={list(labels)})"
        )

    def _fixed_hypotheses(self) -> Hypotheses:
        if self._fixed is None:
            raise OptionError("labels: none were given. Pass a list of labels")
        return self._fixed

    def _questions(
        self,
        texts: Sequence[object],
        labels: LabelLists | None,
        template: str | None,
        multi_label: bool | None,
        *,
        single: bool = False,
    ) -> list[Any]:
        """Return each text with its hypotheses, which are tokenized once for equal labels."""
        fixed = self._fixed_hypotheses().candidates if labels is None else None
        default = fixed or (self._fixed.candidates if self._fixed else None)
        if template is None:
            template = default.template if default else DEFAULT_TEMPLATE
        if multi_label is None:
            multi_label = default.multi_label if default else False
        if labels is None:
            lists = [self._fixed_hypotheses().candidates.labels] * len(texts)
        else:
            lists = read_labels_of_texts(labels, len(texts), single=single)
        made = {
            each: self._premises.hypotheses(CandidateLabels(each, template, multi_label))
            for each in dict.fromkeys(lists)
        }
        return [Question(text, made[each]) for text, each in zip(texts, lists, strict=True)]

    @eager
    def _tokenize(
        self, texts: Sequence[object], truncation: Truncation | None, first_index: int = 0
    ) -> list[Encoding | InputError]:
        """Encode questions, or texts that are asked for the labels of `for_labels`."""
        how = self.truncation if truncation is None else truncation
        _check_truncation(how)
        questions = [
            each if isinstance(each, Question) else Question(each, self._fixed_hypotheses())
            for each in texts
        ]

        def encode(part: Sequence[object], first: int) -> list[Encoding | InputError]:
            return self._premises.encode(cast("Sequence[Question]", part), how, first)

        with default_float_environment():  # Unigram adds log-probabilities
            return encode_each(encode, questions, first_index)


def _check_truncation(truncation: Truncation) -> None:
    if truncation not in _TRUNCATIONS:
        raise OptionError(
            f"truncation {truncation!r} is not supported for zero-shot classification. Use 'cut' "
            "or 'error'"
        )


def _nli_labels(folder: Path, config: PipelineConfig) -> NliLabels:
    labels = config.head.labels
    found = find_nli_labels(labels)
    if found is None:
        raise MissingHeadError(
            f'{folder}: zero-shot classification needs a label that begins with "entail" and one '
            f'that begins with "contradict"; config.json has {", ".join(labels[:10])}. If the '
            "model was trained on natural language inference, write these names into id2label; "
            "otherwise load it with isobatch.Classifier (isobatch run without --labels), or use "
            "another checkpoint"
        )
    return found


def _parts(encodings: Sequence[PremiseEncoding]) -> Iterator[list[PremiseEncoding]]:
    """Cut into parts of at most PAIRS_AT_ONCE pairs, or of one text."""
    part: list[PremiseEncoding] = []
    num_pairs = 0
    for encoding in encodings:
        own = len(encoding.hypotheses.ids)
        if part and num_pairs + own > PAIRS_AT_ONCE:
            yield part
            part, num_pairs = [], 0
        part.append(encoding)
        num_pairs += own
    if part:
        yield part


def _stacked(rows: Sequence[Output | InputError]) -> Output | InputError:
    """Return the logits of all pairs of a text, or the first error."""
    for row in rows:
        if isinstance(row, InputError):
            return row
    return np.stack(cast("Sequence[Output]", rows))

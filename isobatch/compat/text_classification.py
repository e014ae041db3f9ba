"""pipeline("text-classification"): transformers' pipeline over the drop-in tokenizer and model.

The shapes of answers are those of transformers 5. Invariant: an answer does not depend on
batch_size or on the other texts, and labels are ranked by logits, so that equal rounded scores
never decide.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from types import GeneratorType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, IterableDataset

from isobatch.ambient import eager, isolated
from isobatch.checkpoint.score_functions import score_activation
from isobatch.compat.arguments import reject_unsupported
from isobatch.compat.model import PaddedClassifier
from isobatch.compat.tokenizer import Tokenizer
from isobatch.compat.tokenizer_calls import CALL_OPTIONS
from isobatch.errors import InputError, OptionError
from isobatch.tasks import rank_logits, score_logits
from isobatch.types import ScoreActivation

LIST_BATCH = 32
"""Texts of a list that are computed together unless batch_size says otherwise."""

_ACTIVATIONS: Mapping[object, ScoreActivation] = {
    "none": "none",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
}
_LEGACY = object()
"""top_k was not passed: the answer is one label, in the shapes of old versions."""

_CALL_OPTIONS = ("top_k", "function_to_apply", "batch_size", "num_workers", *CALL_OPTIONS)
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "return_all_scores": (None, False),
    "framework": (None, "pt"),
    "use_fast": (None, True),
    "feature_extractor": (None,),
    "image_processor": (None,),
    "processor": (None,),
    "pipeline_class": (None,),
    "token": (None,),
    "return_tensors": (None,),
}
_ADVICE = {"return_all_scores": "Use top_k=None, which also ranks the labels"}

_NONE_CHANGES_NOTHING = (
    *("function_to_apply", "batch_size", "num_workers"),
    *("aggregation_strategy", "ignore_labels", "stride"),
)

Answer = dict[str, Any] | list[dict[str, Any]]
AnswerT = TypeVar("AnswerT")


class TextClassificationPipeline:
    """Text → [{"label": ..., "score": ...}]; see `__call__`. Create one by `pipeline`."""

    def __init__(
        self,
        model: PaddedClassifier,
        tokenizer: Tokenizer,
        *,
        device: int | str | torch.device | None = None,
        task: str = "text-classification",
        **options: Any,
    ) -> None:
        _check_options("pipeline", options)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.task = task
        self.framework = "pt"
        self._options = options
        if device is not None:
            on_cpu = isinstance(device, int) and device < 0
            model.to(torch.device("cpu" if on_cpu else device))

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Classify a text, a pair as {"text": ..., "text_pair": ...}, or several of either.

        A text gives a list of one answer, a dict one answer, a list a list of answers; a generator
        or a dataset gives an iterator, which reads batch_size texts ahead. An answer is the best
        label with its score, or with top_k a list of the best ones; top_k=None ranks all.
        function_to_apply: "softmax", "sigmoid" or "none" in place of the checkpoint's own. Other
        options are those of the tokenizer, such as truncation=True.
        Raises InputError with the index of the text, OptionError for other options.
        """
        _check_options("pipe(...)", options)
        merged = merged_options(self._options, options)
        size = merged.get("batch_size")
        if isinstance(inputs, str | Mapping):
            answer = next(self._answers(iter([inputs]), merged, 1))
            return [answer] if isinstance(inputs, str) and "top_k" not in options else answer
        if isinstance(inputs, GeneratorType | Dataset | Iterator):
            return answers_for(inputs, self._answers(dataset_items(inputs), merged, size or 1))
        if isinstance(inputs, tuple) or not isinstance(inputs, Iterable):
            raise InputError(
                f"pipe(...) takes a text, a dict, a list, a generator or a dataset, got "
                f'{type(inputs).__name__}; a pair is {{"text": "...", "text_pair": "..."}}'
            )
        return list(self._answers(iter(inputs), merged, size or LIST_BATCH))

    predict = transform = __call__

    def save_pretrained(
        self, save_directory: str | Path, *positional: object, **options: Any
    ) -> None:
        """Save model and tokenizer, for this package and for transformers."""
        self.model.save_pretrained(save_directory, *positional, **options)
        self.tokenizer.save_pretrained(save_directory)

    def _answers(
        self, items: Iterator[object], options: Mapping[str, Any], size: int
    ) -> Iterator[Answer]:
        """Yield the answer of each item, computing `size` of them together."""
        numbers = count()
        calls = {name: value for name, value in options.items() if name in CALL_OPTIONS}
        calls.pop("return_attention_mask", None)
        while window := list(islice(items, size)):
            rows = [self._encode(item, next(numbers), calls) for item in window]
            for logits in self._logits(rows):
                yield self._answer(logits, options)

    @eager
    @torch.inference_mode()
    def _logits(self, rows: Sequence[Mapping[str, Tensor]]) -> list[list[float]]:
        """Compute rows of tensors; they are padded here, so that no pad token is needed."""
        with isolated(self.device.type):
            padded = {
                name: pad_sequence([row[name] for row in rows], batch_first=True).to(self.device)
                for name in rows[0]
            }
            output = self.model(
                **padded, output_attentions=False, output_hidden_states=False, return_dict=True
            )
            logits: list[list[float]] = output.logits.tolist()
        return logits

    def _encode(self, item: object, index: int, calls: Mapping[str, Any]) -> dict[str, Tensor]:
        """Tokenize one item; InputError with its index."""
        try:
            with isolated():
                row = self.tokenizer(**_text_of(item), **calls, return_attention_mask=True)
        except OptionError:
            raise
        except InputError as error:
            raise InputError(error.reason.removeprefix("text 0: "), index) from None
        limit = self.model.num_tokens
        if len(row["input_ids"]) > limit:
            raise InputError(
                f"has {len(row['input_ids'])} tokens, but the model accepts {limit}; pass "
                f"truncation=True, max_length={limit}",
                index,
            )
        names = [name for name in self.tokenizer.model_input_names if name in row]
        with isolated():
            return {name: torch.tensor(row[name]) for name in {*names, "attention_mask"}}

    @eager
    def _answer(self, logits: Sequence[float], options: Mapping[str, Any]) -> Answer:
        """Rank the labels by logit: no activation changes the order."""
        labels = self.model.config.id2label
        scores = score_logits(logits, self._activation(options.get("function_to_apply")))
        ranked = [{"label": labels[i], "score": scores[i]} for i in rank_logits(logits)]
        top_k = options.get("top_k", _LEGACY)
        return ranked[0] if top_k is _LEGACY else ranked[: cast("int | None", top_k)]

    def _activation(self, requested: object) -> ScoreActivation:
        if requested is not None:
            return _activation_named(requested)
        config = self.model.config
        return score_activation(config.problem_type, config.num_labels)


def _check_options(place: str, options: Mapping[str, Any]) -> None:
    others = {name: value for name, value in options.items() if name not in _CALL_OPTIONS}
    reject_unsupported(place, others, _CALL_OPTIONS, _NEUTRAL, _ADVICE)
    for name in ("top_k", "batch_size", "num_workers"):
        value = options.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and value >= (0 if name == "num_workers" else 1)):
            raise OptionError(f"{place}: {name} must be a positive integer or None, got {value!r}")
    if options.get("function_to_apply") is not None:
        _activation_named(options["function_to_apply"])


def _activation_named(requested: object) -> ScoreActivation:
    name = str(getattr(requested, "value", requested)).lower()
    if name not in _ACTIVATIONS:
        raise OptionError(
            f"function_to_apply must be one of {', '.join(map(str, _ACTIVATIONS))}; "
            f"got {requested!r}"
        )
    return _ACTIVATIONS[name]


def merged_options(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Join the options of a call to the pipeline's own; as in transformers, None leaves some."""
    stated = {
        name: value
        for name, value in given.items()
        if value is not None or name not in _NONE_CHANGES_NOTHING
    }
    return {**own, **stated}


def answers_for(inputs: Any, answers: Iterator[AnswerT]) -> Iterator[AnswerT]:
    """Give the answers to a dataset of known size that size, which progress bars ask for."""
    if isinstance(inputs, Dataset) and hasattr(inputs, "__len__"):
        return _SizedAnswers(answers, len(inputs))
    return answers


class _SizedAnswers(Iterator[AnswerT]):
    """An iterator with the number of its answers."""

    def __init__(self, answers: Iterator[AnswerT], size: int) -> None:
        self._answers = answers
        self._size = size

    def __next__(self) -> AnswerT:
        return next(self._answers)

    def __len__(self) -> int:
        return self._size


def dataset_items(inputs: Any) -> Iterator[object]:
    """Iterate over a dataset, which may have only indices, or an iterator."""
    if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
        indexed = cast("Sequence[object]", inputs)
        return (indexed[index] for index in range(len(indexed)))
    return iter(inputs)


def _text_of(item: object) -> dict[str, Any]:
    """The arguments of the tokenizer; [[text, text_pair]] is a pair in old scripts."""
    if isinstance(item, str):
        return {"text": item}
    if (
        isinstance(item, list)
        and len(item) == 1
        and isinstance(item[0], list)
        and len(item[0]) == 2
    ):
        item = dict(zip(("text", "text_pair"), item[0], strict=True))
    if isinstance(item, Mapping):
        unknown = [key for key in item if key not in ("text", "text_pair")]
        texts = [value for value in item.values() if value is not None]
        if not unknown and "text" in item and all(isinstance(value, str) for value in texts):
            return dict(item)
    shown = f"keys {list(item)}" if isinstance(item, Mapping) else type(item).__name__
    raise InputError(
        f'must be a string, or {{"text": "...", "text_pair": "..."}} with two strings; got {shown}'
    )

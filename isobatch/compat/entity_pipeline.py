"""pipeline("token-classification"), also called "ner": transformers' pipeline over our decoding.

Answers have transformers' keys. Invariant: an answer does not depend on batch_size or on the other
texts, and a text longer than the model is read in windows, never cut.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from types import GeneratorType
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from isobatch.ambient import default_float_environment, eager, isolated
from isobatch.batching.cache import Output
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.checkpoint.token_encoder import TokenEncoder, TokenEncoding, WordList
from isobatch.checkpoint.windows import join_tokens
from isobatch.compat.arguments import reject_unsupported
from isobatch.compat.model import PaddedTokenClassifier
from isobatch.compat.text_classification import (
    LIST_BATCH,
    answers_for,
    dataset_items,
    merged_options,
)
from isobatch.compat.tokenizer import Tokenizer
from isobatch.errors import InputError, OptionError
from isobatch.tasks.entities import (
    OUTSIDE,
    Entity,
    check_aggregation,
    check_ignored,
    find_entities,
    read_tags,
)
from isobatch.types import Encoding, TextWindows, Truncation

_OPTIONS = (
    "aggregation_strategy",
    "ignore_labels",
    "stride",
    "is_split_into_words",
    "batch_size",
    "num_workers",
)
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "offset_mapping": (None,),
    "delimiter": (None, " "),
    "framework": (None, "pt"),
    "use_fast": (None, True),
    "feature_extractor": (None,),
    "image_processor": (None,),
    "processor": (None,),
    "pipeline_class": (None,),
    "token": (None,),
    "grouped_entities": (None,),
    "ignore_subwords": (None,),
    "truncation": (None, False),
}
_ADVICE = {
    "grouped_entities": 'Use aggregation_strategy="simple"',
    "ignore_subwords": 'Use aggregation_strategy="first"',
    "truncation": "Remove it: a text longer than the model is read in windows",
}


class TokenClassificationPipeline:
    """Text → the entities in it, a dict each; see `__call__`. Create one by `pipeline`."""

    def __init__(
        self,
        model: PaddedTokenClassifier,
        tokenizer: Tokenizer,
        *,
        device: int | str | torch.device | None = None,
        task: str = "token-classification",
        **options: Any,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.task = task
        self.framework = "pt"
        self._followed: object = None
        self._options = options
        self._check("pipeline", options)
        if device is not None:
            on_cpu = isinstance(device, int) and device < 0
            model.to(torch.device("cpu" if on_cpu else device))

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Find the entities of a text, or of each of a list, a generator or a dataset.

        A text gives a list of dicts: "entity", "score", "index", "word", "start" and "end", or
        under an aggregation_strategy other than "none" "entity_group" in place of "entity" and
        "index". "word" is text[start:end]. stride: tokens that two windows of a long text share.
        is_split_into_words: a text is a list of words, which are joined by spaces.
        Raises InputError with the index of the text, OptionError for other options.
        """
        merged = merged_options(self._options, options)
        self._check("pipe(...)", merged)
        split = bool(merged.get("is_split_into_words"))
        size = merged.get("batch_size")
        if isinstance(inputs, str):
            return next(self._answers(iter([inputs]), merged, 1))
        if isinstance(inputs, GeneratorType | Dataset | Iterator):
            return answers_for(inputs, self._answers(dataset_items(inputs), merged, size or 1))
        if isinstance(inputs, Mapping | bytes) or not isinstance(inputs, Iterable):
            raise InputError(
                "pipe(...) takes a text, a list, a generator or a dataset, got "
                f"{type(inputs).__name__}"
            )
        items = list(inputs)
        if not items:
            raise InputError("pipe(...): the list of texts is empty")
        if split and not all(isinstance(each, list) for each in items):
            items = [items]  # one text, whose answer is in a list, as in transformers
        return list(self._answers(iter(items), merged, size or LIST_BATCH))

    predict = transform = __call__

    def save_pretrained(self, save_directory: Any, *positional: object, **options: Any) -> None:
        """Save model and tokenizer, for this package and for transformers."""
        self.model.save_pretrained(save_directory, *positional, **options)
        self.tokenizer.save_pretrained(save_directory)

    def _follow(self) -> None:
        """Read labels and tokenizer again if they were changed after the last call."""
        labels = (*self.model.config.id2label.values(),)
        limits = (self.tokenizer.model_max_length, self.tokenizer.truncation_side)
        state = (self.tokenizer, labels, limits)
        if state == self._followed:
            return
        checkpoint = self.tokenizer.checkpoint_tokenizer()
        self._encoder = TokenEncoder(TextEncoder(checkpoint, self.model.num_tokens))
        self._tags = read_tags(labels)
        self._followed = state

    def _check(self, place: str, options: Mapping[str, Any]) -> None:
        self._follow()
        others = {name: value for name, value in options.items() if name not in _OPTIONS}
        reject_unsupported(place, others, _OPTIONS, _NEUTRAL, _ADVICE)
        check_aggregation(_strategy(options), finds_words=self._encoder.finds_words)
        check_ignored(_ignored(options), self._tags, _strategy(options))
        self._encoder.encoder.check(_truncation(options))
        for name in ("batch_size", "num_workers"):
            value = options.get(name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and value >= (0 if name == "num_workers" else 1)):
                raise OptionError(f"{place}: {name} must be a positive integer, got {value!r}")

    def _answers(
        self, items: Iterator[object], options: Mapping[str, Any], size: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the entities of each item, computing `size` of them together."""
        numbers, strategy = count(), _strategy(options)
        while window := list(islice(items, size)):
            encodings = [self._encode(item, next(numbers), options) for item in window]
            for encoding, logits in zip(encodings, self._logits(encodings), strict=True):
                found = find_entities(logits, encoding, self._tags, strategy, _ignored(options))
                yield [_answer(entity, grouped=strategy != "none") for entity in found]

    def _encode(self, item: object, index: int, options: Mapping[str, Any]) -> TokenEncoding:
        if options.get("is_split_into_words"):
            item = WordList(item) if isinstance(item, list) else item
        with isolated(), default_float_environment():
            encoding = self._encoder.encode(item, _truncation(options), index)
        if isinstance(encoding, InputError):
            raise encoding
        return encoding

    @eager
    @torch.inference_mode()
    def _logits(self, encodings: Sequence[TokenEncoding]) -> list[Output]:
        """Compute [tokens, labels] of each text; its windows are rows of the padded batch."""
        rows = [row for encoding in encodings for row in encoding.windows()]
        outputs = iter(self._row_logits(rows))
        joined = []
        for encoding in encodings:
            parts = list(islice(outputs, len(encoding.window_lengths) or 1))
            joined.append(join_tokens(encoding.cuts, parts) if encoding.cuts else parts[0])
        return joined

    def _row_logits(self, rows: Sequence[Encoding]) -> list[Output]:
        with isolated(self.device.type):
            ids, types = (
                pad_sequence([torch.tensor(list(getattr(row, name))) for row in rows], True)
                for name in ("input_ids", "token_type_ids")
            )
            ones = [torch.ones(len(row), dtype=torch.int64) for row in rows]
            mask = pad_sequence(ones, batch_first=True)
            output = self.model(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                token_type_ids=types.to(self.device),
                output_attentions=False,
                output_hidden_states=False,
                return_dict=True,
            )
            logits = output.logits.cpu().numpy()
        return [each[: len(row)] for each, row in zip(logits, rows, strict=True)]


def _strategy(options: Mapping[str, Any]) -> Any:
    named = options.get("aggregation_strategy")
    return "none" if named is None else str(getattr(named, "value", named)).lower()


def _ignored(options: Mapping[str, Any]) -> Any:
    ignored = options.get("ignore_labels")
    return OUTSIDE if ignored is None else ignored


def _truncation(options: Mapping[str, Any]) -> Truncation:
    return TextWindows(options.get("stride"))


def _answer(entity: Entity, *, grouped: bool) -> dict[str, Any]:
    """The entity with the keys, and in the order, of transformers."""
    place: dict[str, Any] = {"start": entity.start, "end": entity.end}
    if grouped:
        return {"entity_group": entity.label, "score": entity.score, "word": entity.text} | place
    named = {"entity": entity.label, "score": entity.score, "index": entity.index}
    return named | {"word": entity.text} | place

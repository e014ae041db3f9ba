"""Reranking: how well each text answers a query, from a checkpoint with one label.

Invariant: texts are ranked by their logits, which no score saturates, and each logit is a function
of its own pair alone: a text has the same rank among the same texts in every batch and order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from isobatch.ambient import eager
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.checkpoint import VectorOptions, locate_checkpoint, read_answer_tokens
from isobatch.checkpoint.text_encoder import input_error
from isobatch.checkpoint.truncation import windows_of
from isobatch.errors import InputError, MissingHeadError, OptionError
from isobatch.tasks import model_engines as engines
from isobatch.tasks.classification import LABELS_SHOWN, Classifier
from isobatch.tasks.input_texts import listed
from isobatch.tasks.pair_template import PairTemplate
from isobatch.tasks.scores import rank_logits
from isobatch.types import Encoding, EngineName, Precision, Truncation


@dataclass(frozen=True, slots=True)
class Ranked:
    """A text at its rank. index: its place in the caller's list.

    num_windows: in how many windows the pair was read; 1 for one that is not longer than the model.
    """

    index: int
    score: float
    logit: float
    text: str
    truncated: bool
    num_windows: int = 1

    def to_dict(self) -> dict[str, object]:
        """Return the values as they are, for JSON."""
        return {
            "index": self.index,
            "score": self.score,
            "logit": self.logit,
            "text": self.text,
            "num_windows": self.num_windows,
            "truncated": self.truncated,
        }


class Reranker(Classifier):
    """A cross-encoder: reads a query and a text together. Load one by `from_pretrained`.

    A call takes (query, text) tuples, and gives predictions as Classifier does.
    """

    not_bundled = "no reranker is bundled. Pass the folder or hub id of one"
    _template: PairTemplate | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        template: str | None = None,
        true_token: str | None = None,
        false_token: str | None = None,
        precision: Precision | Literal["auto"] | None = None,
        device: str = "cpu",
        threads: int | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        truncation: Truncation = "cut",
        revision: str | None = None,
        engine: EngineName = "native",
        group_equal_lengths: bool = False,
    ) -> Self:
        """Load a checkpoint as Classifier does, or a language model that answers by a token.

        template: the text that the model reads, with {query} and {text}, and with every special
        token; where it is too long, the text is cut. true_token, false_token: of a language model
        (Qwen3-Reranker: "yes" and "no"), whose logit is that of the first less that of the second
        after the whole text; by default those of the LogitScore of sentence-transformers.
        Raises OptionError for a language model without a template, and for a template with
        truncation="window".
        """
        folder = locate_checkpoint(path, revision)
        answers = read_answer_tokens(folder, true_token, false_token)
        filled = None if template is None else PairTemplate(template)
        if filled is not None:
            _refuse_windows(truncation)
        if answers is not None and filled is None:
            shows = (folder / "chat_template.jinja").is_file()
            place = "card says and its chat_template.jinja shows" if shows else "card says"
            raise OptionError(
                f"{folder}: a language model that answers by a token ranks nearly at random "
                "without the text that it was trained with. Pass that as template=, with {query} "
                f"and {{text}}, as the model's {place}"
            )
        if answers is not None and engine != "native":
            raise OptionError(
                f"{folder}: language models that answer by a token are computed by Isobatch "
                f"itself. Omit engine={engine!r}"
            )
        reranker = cls._load(
            folder,
            answers or VectorOptions(),
            engines.engine_named(engine, group_equal_lengths=group_equal_lengths),
            precision=precision,
            device=device,
            threads=threads,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
        )
        reranker._template = filled
        return reranker

    @property
    def template(self) -> str | None:
        """The text that the model reads, with {query} and {text}; None for a pair as it is."""
        return None if self._template is None else self._template.template

    @property
    def answers(self) -> str | None:
        """The tokens whose logits make the score of a language model; None for other models."""
        answers = self.config.head.answers
        if answers is None:
            return None
        true, false = (
            None if each is None else repr(self._encoder.token(each))
            for each in (answers.true, answers.false)
        )
        return f"{true}" if false is None else f"{true} less {false}"

    def rank(
        self,
        query: str,
        texts: Iterable[str],
        top_k: int | None = None,
        *,
        truncation: Truncation | None = None,
    ) -> list[Ranked]:
        """Return the texts, or the best `top_k` of them, the best for `query` first.

        By their logits; texts with equal ones keep their order. Scores are those of the
        checkpoint's rule, never scaled by the other texts. Raises OptionError for another top_k,
        and InputError for a query, or with its index for a text, that is not a string.
        """
        if top_k is not None and (
            not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1
        ):
            raise OptionError(f"top_k must be an integer of at least 1, or None, got {top_k!r}")
        if not isinstance(query, str):
            raise InputError(f"query: expected a string, got {type(query).__name__}")
        given = listed(list(texts) if isinstance(texts, tuple) else texts)
        _check_strings(given)
        predictions = self.predict([(query, text) for text in given], truncation=truncation)
        best = rank_logits([each.logits[0] for each in predictions])[:top_k]
        return [
            Ranked(
                index=index,
                score=predictions[index].score,
                logit=predictions[index].logits[0],
                text=given[index],
                truncated=predictions[index].truncated,
                num_windows=predictions[index].num_windows,
            )
            for index in best
        ]

    @classmethod
    def _check_config(cls, folder: Path, config: engines.PipelineConfig) -> None:
        labels = config.head.labels
        if len(labels) != 1:
            shown = ", ".join(labels[:LABELS_SHOWN]) + ", …" * (len(labels) > LABELS_SHOWN)
            raise MissingHeadError(
                f"{folder}: has {len(labels)} labels ({shown}), and a reranker has one. Load it "
                "with isobatch.Classifier (isobatch run without --query), or use another checkpoint"
            )

    @eager
    def _tokenize(
        self, texts: Sequence[object], truncation: Truncation | None, first_index: int = 0
    ) -> list[Encoding | InputError]:
        """Encode pairs; a single text is an error, as ["query", "text"] would be two of them."""
        results = super()._tokenize(texts, truncation, first_index)
        return [
            _single(index) if isinstance(text, str) else result
            for index, (text, result) in enumerate(zip(texts, results, strict=True), first_index)
        ]

    def _encode_part(
        self, texts: Sequence[object], truncation: Truncation, first_index: int
    ) -> list[Encoding | InputError]:
        if self._template is None:
            return super()._encode_part(texts, truncation, first_index)
        _refuse_windows(truncation)
        return [
            self._filled(text, truncation, index) for index, text in enumerate(texts, first_index)
        ]

    def _filled(self, pair: object, truncation: Truncation, index: int) -> Encoding | InputError:
        if error := input_error(pair, index):
            return error
        if not isinstance(pair, tuple) or self._template is None:
            return _single(index)
        text, part = self._template.fill(*pair)
        return self._encoder.encode_filled(text, part, truncation, index)


def _refuse_windows(truncation: Truncation) -> None:
    """Raise OptionError for windows, each of which would need the template."""
    if windows_of(truncation):
        raise OptionError(
            'truncation="window" (--truncation window) is not supported with a template '
            '(--template). Use "cut" or "error"'
        )


def _single(index: int) -> InputError:
    return InputError(
        "expected a (query, text) tuple, got a single text. Write (query, text), or call rank()",
        index,
    )


def _check_strings(texts: Sequence[object]) -> None:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"expected a string, got {type(text).__name__}: {str(text)[:40]!r}", index
            )

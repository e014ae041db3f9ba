"""Embeddings: a vector for each text, pooled and normalized as the checkpoint's files say.

Invariant: the vector for a text is a function of the prompt and the text, and pooling is stated by
a file or by the caller, never guessed.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isobatch.ambient import eager
from isobatch.batching.cache import Output
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.checkpoint import POOLINGS, VectorOptions, locate_checkpoint
from isobatch.checkpoint.sentence_settings import read_sentence_encoder, read_sentence_settings
from isobatch.checkpoint.text_encoder import TextEncoder, input_error
from isobatch.errors import InputError, OptionError
from isobatch.specification import NormalizeStep
from isobatch.tasks.input_texts import listed
from isobatch.tasks.model_engines import PipelineConfig, TokenizerReader, engine_named
from isobatch.tasks.pipeline import Pipeline
from isobatch.tasks.row_format import Column, RowFormat
from isobatch.tasks.similarity import similarities
from isobatch.types import Encoding, EngineName, Precision, Task, TextInput, Truncation

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The embedding of one text: `vector` is float32 [size] and cannot be written to.

    Two are equal if their vectors have the same bits. num_windows: 1 for a text that is not longer
    than the model.
    """

    vector: Vectors = field(repr=False)
    truncated: bool
    num_tokens: int
    num_windows: int = 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embedding):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.vector.tobytes(), self.truncated, self.num_tokens, self.num_windows

    def to_dict(self) -> dict[str, object]:
        """Return the embedding as plain values, for JSON."""
        return {
            "embedding": self.vector.tolist(),
            "num_tokens": self.num_tokens,
            "num_windows": self.num_windows,
            "truncated": self.truncated,
        }


@dataclass(frozen=True)
class EmbeddingRows(RowFormat[Embedding]):
    """`embedding`, of `size` numbers; there are no scores to add."""

    size: int
    labels: tuple[str, ...] = ()

    def columns(self, *, raw: bool, all_scores: bool) -> tuple[Column, ...]:
        return (Column("embedding", "vector", self.size),)

    def values(self, prediction: Embedding, *, raw: bool, all_scores: bool) -> list[object]:
        return [prediction.vector]


class Embedder(Pipeline[Embedding]):
    """An embedding model whose vectors are batch-invariant. Load one by `from_pretrained`.

    prompts: the texts that can be put in front of others, by name. default_prompt_name: the one
    that is used if none is named. similarity_function: the one that the model is made for,
    "cosine" where the folder says none.
    """

    task: ClassVar[Task] = "feature-extraction"
    not_bundled = (
        "no embedding model is bundled. Pass the folder or hub id of one, or pooling= "
        "(--pooling) for vectors of the bundled classifier"
    )

    def __init__(self, *args: Any, folder: Path, **kwargs: Any) -> None:
        """Take the arguments of Pipeline."""
        super().__init__(*args, folder=folder, **kwargs)
        settings = read_sentence_settings(folder)
        self.prompts: Mapping[str, str] = settings.prompts
        self.default_prompt_name = name = settings.default_prompt
        self.similarity_function = settings.similarity
        self._prompt = "" if name is None else self.prompts[name]

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        precision: Precision | Literal["auto"] | None = None,
        device: str = "cpu",
        threads: int | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        truncation: Truncation = "cut",
        revision: str | None = None,
        engine: EngineName = "native",
        group_equal_lengths: bool = False,
    ) -> Self:
        """Load an embedding model: a folder or a hub id.

        pooling: "mean", "cls" (the first token), "last" or "max", in place of what the folder says.
        A folder that says nothing needs it: any encoder can be loaded, without its head.
        normalize: whether vectors get the length 1; None for what the folder says. The others are
        as in Pipeline. Raises as there, MissingHeadError where pooling is not stated, and
        OptionError without a path: no embedding model is bundled.
        """
        return cls._load(
            locate_checkpoint(path, revision),
            VectorOptions(pooling, normalize),
            engine_named(engine, group_equal_lengths=group_equal_lengths),
            precision=precision,
            device=device,
            threads=threads,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
        )

    @classmethod
    def _read_encoder(
        cls, folder: Path, config: PipelineConfig, read: TokenizerReader
    ) -> TextEncoder:
        return read_sentence_encoder(folder, config.encoder.max_tokens, read)

    @property
    def size(self) -> int:
        """Numbers of a vector."""
        return self.config.head.spec.output_size(self.config.encoder.hidden_size)

    @property
    def pooling(self) -> tuple[str, ...]:
        """How the vectors of tokens become one; the results of several are joined."""
        names = {pool: name for name, pool in POOLINGS.items()}
        return tuple(names[pool] for pool in self.config.head.spec.pools)

    @property
    def normalizes(self) -> bool:
        """Whether vectors have the length 1."""
        steps = self.config.head.spec.steps
        return bool(steps) and isinstance(steps[-1], NormalizeStep)

    @eager
    def __call__(  # type: ignore[override]  # an array, and not a list of predictions
        self,
        texts: TextInput | Iterable[TextInput],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncation: Truncation | None = None,
    ) -> Vectors:
        """Return the vector of one text, float32 [size], or of each of a list, [texts, size].

        prompt_name: one of `prompts`, put in front of each text; prompt: the same as a text; ""
        for none. A tuple of two texts is a pair. Raises OptionError for an unknown name, and
        InputError with the index of the first item that is not a text, before computing anything.
        """
        single = isinstance(texts, str | tuple)
        several: list[TextInput] = [texts] if single else listed(texts)  # type: ignore[list-item]
        embedder = self.with_prompt(prompt_name=prompt_name, prompt=prompt)
        outputs = embedder.forward(embedder._encode(several, truncation))
        vectors = np.stack(outputs) if outputs else np.empty((0, self.size), np.float32)
        return vectors[0] if single else vectors

    def with_prompt(self, *, prompt_name: str | None = None, prompt: str | None = None) -> Self:
        """Return this embedder with another prompt for all methods; the model is shared.

        Without either it is itself. Raises OptionError for an unknown name, and for both at once.
        """
        if prompt_name is None and prompt is None:
            return self
        other = copy(self)
        other._prompt = self._chosen_prompt(prompt_name, prompt)
        return other

    def tokenize(
        self,
        texts: Iterable[object],
        *,
        truncation: Truncation | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> list[Encoding | InputError]:
        """Return for each text, in order, its encoding with the prompt, or the error it causes."""
        embedder = self.with_prompt(prompt_name=prompt_name, prompt=prompt)
        return embedder._tokenize(listed(texts), truncation)

    def similarity(self, first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
        """Return the similarity of each vector of `first` to each of `second`, in double precision.

        [rows, size] and [columns, size] give [rows, columns]; a single vector is a row. By
        `similarity_function`; distances are negative, so that higher is more similar. Its bits are
        those of the pair alone, and the cosine of equal vectors is exactly 1.0.
        """
        return similarities(first, second, self.similarity_function)

    def decode(self, output: Output, encoding: Encoding) -> Embedding:
        """Return the vector of one encoded text as its embedding."""
        vector = output.view()
        vector.flags.writeable = False  # a cache may hold the same numbers
        return Embedding(vector, encoding.truncated, len(encoding), encoding.num_windows)

    @property
    def row_format(self) -> EmbeddingRows:
        return EmbeddingRows(self.size)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self.folder)!r}, "
            f"family={self.config.family.model_type!r}, precision={self.precision!r}, "
            f"pooling={'+'.join(self.pooling)!r}, normalizes={self.normalizes}, size={self.size})"
        )

    def _tokenize(
        self, texts: Sequence[object], truncation: Truncation | None, first_index: int = 0
    ) -> list[Encoding | InputError]:
        prompted = [_prompted(self._prompt, text) for text in texts] if self._prompt else texts
        return super()._tokenize(prompted, truncation, first_index)

    def _encode_part(
        self, texts: Sequence[object], truncation: Truncation, first_index: int
    ) -> list[Encoding | InputError]:
        return self._encoder.encode_or_errors(texts, truncation, first_index, prompt=self._prompt)

    def _chosen_prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        if prompt_name is None or prompt is not None:
            if prompt_name is not None:
                raise OptionError("prompt and prompt_name are two ways to say the same. Omit one")
            if input_error(prompt, 0) or not isinstance(prompt, str):
                raise OptionError(f"prompt must be a text, got {prompt!r}")
            return prompt
        if not isinstance(prompt_name, str) or prompt_name not in self.prompts:
            known = ", ".join(map(repr, self.prompts)) or "this model has none"
            raise OptionError(
                f"prompt_name {prompt_name!r} is not one of the model's ({known}). Pass the text "
                "itself as prompt= (--prompt)"
            )
        return self.prompts[prompt_name]


def _prompted(prompt: str, text: object) -> object:
    """Put the prompt before a text, or the first of a pair; leave what is an error as it is."""
    if input_error(text, 0):
        return text
    return prompt + text if isinstance(text, str) else (prompt + text[0], text[1])  # type: ignore[index]

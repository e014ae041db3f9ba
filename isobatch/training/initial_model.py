"""The model that a training starts from: a checkpoint's encoder, with a head for the labels.

A head that already predicts these labels is kept; otherwise its last layer is drawn. Invariant: the
weights are a function of the checkpoint, the labels and the seed, and only the head may be new:
every tensor of the encoder comes from the file, or the checkpoint is rejected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from isobatch.ambient import isolated
from isobatch.checkpoint import (
    Family,
    HeadConfig,
    checkpoint_name,
    locate_checkpoint,
    parse_config,
    read_config,
    read_raw_config,
    stored_shapes,
)
from isobatch.checkpoint.checkpoint_tokenizer import CheckpointTokenizer, read_tokenizer
from isobatch.checkpoint.hub_snapshot import hub_source
from isobatch.checkpoint.text_encoder import TextEncoder
from isobatch.checkpoint.weight_files import list_names
from isobatch.compat.pretrained import read_stored_weights
from isobatch.drawing.display_text import percent
from isobatch.errors import CheckpointError, InputError
from isobatch.model import EncoderModel, parameter_shapes, select_kernels
from isobatch.tasks.table_limits import TableLimits
from isobatch.training.recipe import TrainingTask
from isobatch.types import Encoding, ScoreActivation, TextInput

HEAD_STD = 0.02
"""Standard deviation of the weights of a new head: initializer_range of all families."""

MAX_UNKNOWN = 0.5
"""Largest share of the tokens of all texts that may be the tokenizer's unknown token."""

PROBLEM_TYPES: Mapping[TrainingTask, str] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
"""The name of each task in config.json."""

ACTIVATIONS: Mapping[TrainingTask, ScoreActivation] = {
    "single": "softmax",
    "multi": "sigmoid",
    "regression": "none",
}
_DROPPED_KEYS = (
    "_name_or_path",
    "auto_map",
    "finetuning_task",
    "num_labels",
    "quantization_config",
    "sbert_ce_default_activation_function",
    "sentence_transformers",
)
"""Keys of config.json that are about the task, labels, dtype or code of the old checkpoint."""

_DRAWN = ("head.dense.weight", "head.output.weight")
_HEAD_PLACE = 2**33
"""Counter of the draws of a head: those of orders and of dropout never reach it."""


@dataclass(frozen=True, slots=True)
class InitialModel:
    """A checkpoint to train from.

    name: a hub id, or that of the folder without its path. hub: id and commit, if it is from there.
    model: float32, in train mode, with its kernels selected. raw_config: the content of config.json
    for the trained model. head: whether its last layer is the checkpoint's, and the reason.
    unknown_id: of the tokenizer's unknown token.
    """

    folder: Path
    name: str
    hub: tuple[str, str] | None
    model: EncoderModel
    encoder: TextEncoder
    raw_config: Mapping[str, object]
    head: Literal["kept", "new"]
    reason: str
    unknown_id: int | None

    def encode(self, texts: Sequence[TextInput], places: Sequence[str]) -> list[Encoding]:
        """Encode the texts; `places` name them in messages.

        Raises InputError for a text that cannot be encoded, or has a token without a row in a
        table, and CheckpointError for texts of which the tokenizer has few words.
        """
        limits = TableLimits(self.model.config.encoder, self.encoder)
        encodings = []
        for place, found in zip(places, self.encoder.encode_or_errors(texts), strict=True):
            checked = found if isinstance(found, InputError) else limits.checked(found, 0)
            if isinstance(checked, InputError):
                raise InputError(f"{place}: {checked.reason}") from checked
            encodings.append(checked)
        self._check_vocabulary(encodings)
        return encodings

    def _check_vocabulary(self, encodings: Sequence[Encoding]) -> None:
        if self.unknown_id is None:
            return
        total = sum(map(len, encodings))
        unknown = sum(list(each.input_ids).count(self.unknown_id) for each in encodings)
        if unknown > MAX_UNKNOWN * total:
            token = self.encoder.token(self.unknown_id)
            raise CheckpointError(
                f"{self.folder}: {percent(unknown / total)} of the tokens of the texts are "
                f"{token}: its tokenizer lacks their words. "
                "Start from a checkpoint for the language of the texts, with its own tokenizer"
            )


def read_initial_model(
    base: str | Path | None,
    task: TrainingTask,
    labels: Sequence[str],
    seed: int,
    revision: str | None = None,
) -> InitialModel:
    """Read a checkpoint to train it for `labels`, in the order of the logits.

    base: a folder, a hub id, or None for the bundled model. It may be a classifier, or an encoder
    with another head or none, with or without a pooler. seed: of a new head.
    Raises CheckpointError if it cannot be read, or its tensors are not those of its config.json.
    """
    folder = locate_checkpoint(base, revision)
    old = read_config(folder)
    raw = _trained_config(read_raw_config(folder), old.family, task, labels)
    tokenizer = read_tokenizer(folder)
    config = parse_config(raw)
    with isolated():
        model, new = read_stored_weights(folder, config, ("head.",))
        has_head = "head.output.weight" in stored_shapes(
            folder, old.family, parameter_shapes(model)
        )
        rows, reason = _match_head(old.head if has_head else None, task, labels)
        if rows is None:
            outputs = (f"head.output.{name}" for name, _ in model.head.output.named_parameters())
            new = [*dict.fromkeys([*new, *outputs])]
        else:
            _reorder_rows(model, rows)
        _draw_head(model, new, seed)
        select_kernels(model)
    return InitialModel(
        folder=folder,
        name=checkpoint_name(base),
        hub=hub_source(folder.resolve()),
        model=model.train(),
        encoder=TextEncoder(tokenizer, config.encoder.max_tokens),
        raw_config=raw,
        head="new" if rows is None else "kept",
        reason=reason,
        unknown_id=_unknown_id(tokenizer),
    )


def _trained_config(
    raw: Mapping[str, object], family: Family, task: TrainingTask, labels: Sequence[str]
) -> dict[str, object]:
    """Return the content of config.json for the trained model."""
    kept = {key: value for key, value in raw.items() if key not in _DROPPED_KEYS}
    kept |= {key: "float32" for key in ("dtype", "torch_dtype") if key in kept}
    return kept | {
        "architectures": [f"{family.class_prefix}ForSequenceClassification"],
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": PROBLEM_TYPES[task],
    }


def _match_head(
    old: HeadConfig | None, task: TrainingTask, labels: Sequence[str]
) -> tuple[list[int] | None, str]:
    """Return which row of the checkpoint's head is that of each label; None if it has to be new."""
    if old is None:
        return None, "the head is new: the base has none"
    if old.score_activation != ACTIVATIONS[task]:
        return None, f"the head is new: that of the base is for another task than {task!r}"
    if {*old.labels} != {*labels}:
        return None, f"the head is new: that of the base predicts {list_names(old.labels)}"
    order = "" if old.labels == tuple(labels) else ", in another order"
    return [old.labels.index(label) for label in labels], (
        f"the head is kept: it predicts the same labels{order}"
    )


def _reorder_rows(model: EncoderModel, rows: Sequence[int]) -> None:
    with torch.no_grad():
        for parameter in model.head.output.parameters():
            parameter.copy_(parameter[list(rows)].clone())


def _draw_head(model: EncoderModel, names: Sequence[str], seed: int) -> None:
    with torch.no_grad():
        for name in names:
            parameter = model.get_parameter(name)
            if name in _DRAWN:
                drawn = HEAD_STD * _normal_numbers(parameter.numel(), seed, _DRAWN.index(name))
                parameter.copy_(torch.from_numpy(drawn.astype(np.float32)).view_as(parameter))
            else:
                parameter.zero_()


def _normal_numbers(count: int, seed: int, place: int) -> NDArray[np.float64]:
    """Draw from N(0, 1), nearly: each is the sum of 12 uniform numbers of 16 bits, less its mean.

    The sum is exact, so that the numbers have the same bits with every C library, which the
    logarithm and the cosine of other methods have not. None is beyond 6.
    """
    generator = np.random.Philox(
        key=np.array([seed, 0], np.uint64),
        counter=np.array([0, 0, place, _HEAD_PLACE], np.uint64),
    )
    parts = generator.random_raw(3 * count).astype("<u8", copy=False).view("<u2")
    sums = parts.reshape(count, 12).sum(axis=1, dtype=np.int64)
    numbers: NDArray[np.float64] = (sums - 12 * 65_535 / 2) / 65_536
    return numbers


def _unknown_id(tokenizer: CheckpointTokenizer) -> int | None:
    token = tokenizer.special_tokens.get("unk_token")
    return None if token is None else tokenizer.backend.token_to_id(token)

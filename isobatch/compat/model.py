"""PaddedClassifier and PaddedEncoder: transformers' call signature over the packed model.

A padded batch is unpadded by its mask, computed packed, and returned in the caller's order and
shape. The models are ordinary torch modules: parameters under Hugging Face's names, gradients,
`train()` and `eval()`. Invariant: in eval mode the logits are bit-identical to Classifier's, with
or without gradients, hidden states and attention weights.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from isobatch.ambient import eager, isolated
from isobatch.checkpoint import Family, hub_name, place_of, read_raw_config
from isobatch.compat.arguments import parameter_names, reject_unsupported
from isobatch.compat.caller_line import caller_stacklevel
from isobatch.compat.classification_loss import classification_loss, token_classification_loss
from isobatch.compat.classifier_output import (
    EncoderOutput,
    ModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from isobatch.compat.drop_in_model import DropInModel, SelectedKernels
from isobatch.compat.encoder_states import compute_states
from isobatch.compat.model_config import ClassifierConfig
from isobatch.compat.module_tree import add_modules, reject_hooks
from isobatch.compat.padded_inputs import PackedInputs, PaddedInputs, padded_rows
from isobatch.errors import InputError, MissingAttentionMaskWarning
from isobatch.model import EncoderModel, read_model
from isobatch.types import Rows, Task

_NEUTRAL_INPUTS: Mapping[str, tuple[object, ...]] = {
    "head_mask": (None,),
    "use_cache": (None, False),
    "past_key_values": (None,),
    "encoder_hidden_states": (None,),
}


class PaddedClassifier(DropInModel):
    """(input_ids, attention_mask) [rows, columns] → logits [rows, num_labels]."""

    task: ClassVar[Task] = "text-classification"
    _output: ClassVar[type[SequenceClassifierOutput]] = SequenceClassifierOutput
    _head = "ForSequenceClassification"

    def __init__(self, packed: EncoderModel, config: ClassifierConfig) -> None:
        family = packed.config.family.public
        kernels = SelectedKernels(packed)
        kernels.select()
        super().__init__(kernels, config)
        has_pooler = any(name.startswith(family.prefix) for name in family.head.values())
        encoder = PaddedEncoder(kernels, config, has_pooler=has_pooler)
        reject_hooks(encoder)
        self.add_module(self._prefix, encoder)
        leaves = _leaves(packed, family)
        add_modules(
            self,
            {name: leaf for name, leaf in leaves.items() if not name.startswith(family.prefix)},
        )
        head = self.get_submodule(family.head["head.output"].rpartition(".")[0])
        self._complete([*encoder._modes, (packed.head, head)])

    @classmethod
    def from_folder(cls, folder: Path) -> "PaddedClassifier":
        """Load a whole checkpoint; raises as `read_model` does, also where the head is missing."""
        with isolated():
            packed = read_model(folder, cls.task)
        return cls(packed, ClassifierConfig(read_raw_config(folder)))

    @eager
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **unsupported: Any,
    ) -> Any:
        """Compute the logits; without a mask, padding is attended to, with a warning.

        Left and right padding give the same bits. Always float32, also under autocast. Returns a
        SequenceClassifierOutput, or a tuple under return_dict=False. Raises InputError for invalid
        shapes and ids, with the row, and OptionError for other arguments.
        """
        reject_unsupported("model(...)", unsupported, _INPUTS, _NEUTRAL_INPUTS)
        inputs = PaddedInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        attentions = _choose(output_attentions, self.config.output_attentions)
        hidden_states = _choose(output_hidden_states, self.config.output_hidden_states)
        with self._isolated():
            packed = self._pack(inputs, attentions=attentions)
            _reject_unmasked_end(inputs, self.packed)
            _warn_unmasked(inputs, self.packed)
            if not attentions and not hidden_states:
                logits = self._restored(packed, self.packed(packed.batch, packed.words))
                output = self._output(logits=logits)
            else:
                output = self._with_states(packed, attentions, hidden_states)
            if labels is not None:
                loss = self._loss(output.logits, labels, attention_mask)
                output = self._output(**{**output, "loss": loss})
        return _returned(output, _choose(return_dict, self.config.return_dict))

    def _with_states(
        self, packed: PackedInputs, attentions: bool, hidden_states: bool
    ) -> SequenceClassifierOutput:
        states = compute_states(
            self.packed, packed, hidden_states=hidden_states, attentions=attentions
        )
        rows = packed.batch.select(states.last, self.packed.head.spec.rows)
        logits = self._restored(packed, self.packed.head(rows, packed.batch))
        return self._output(None, logits, states.hidden, states.attentions)

    def _restored(self, packed: PackedInputs, logits: Tensor) -> Tensor:
        """Put the logits into the shape of the inputs."""
        return packed.restore_rows(logits)

    def _loss(self, logits: Tensor, labels: Tensor, attention_mask: Tensor | None) -> Tensor:
        return classification_loss(logits, labels, self.config)

    @property
    def num_labels(self) -> int:
        return self.packed.config.head.num_labels

    @property
    def _encoder(self) -> "PaddedEncoder":
        encoder = self.get_submodule(self._prefix)
        assert isinstance(encoder, PaddedEncoder)
        return encoder

    base_model = _encoder

    @property
    def _family(self) -> Family:
        return self.packed.config.family

    @property
    def _architecture(self) -> str:
        return f"{self._family.class_prefix}{self._head}"

    def _tensors(self) -> dict[str, nn.Parameter]:
        return dict(self.packed.named_parameters())


class PaddedTokenClassifier(PaddedClassifier):
    """(input_ids, attention_mask) [rows, columns] → logits [rows, columns, num_labels].

    Those of padding are zero. The loss counts the tokens whose label is not -100.
    """

    task: ClassVar[Task] = "token-classification"
    _output: ClassVar[type[SequenceClassifierOutput]] = TokenClassifierOutput
    _head = "ForTokenClassification"

    def _restored(self, packed: PackedInputs, logits: Tensor) -> Tensor:
        return packed.restore_tokens(logits)

    def _loss(self, logits: Tensor, labels: Tensor, attention_mask: Tensor | None) -> Tensor:
        return token_classification_loss(logits, labels, attention_mask)


class PaddedEncoder(DropInModel):
    """(input_ids, attention_mask) [rows, columns] → hidden states [rows, columns, hidden]."""

    def __init__(
        self, kernels: SelectedKernels, config: ClassifierConfig, *, has_pooler: bool
    ) -> None:
        super().__init__(kernels, config)
        kernels.select()
        self.has_pooler = has_pooler
        family = encoder_names(kernels.packed.config.family.public)
        leaves = _leaves(kernels.packed, family, has_pooler=has_pooler)
        add_modules(self, leaves, _fused(kernels.packed, family))
        layers = hub_name(family, "blocks.{i}.attention.query.weight").partition(".{i}")[0]
        public = [self.get_submodule(f"{layers}.{i}") for i in range(len(kernels.packed.blocks))]
        words = hub_name(family, "embeddings.word.weight")
        embeddings = self.get_submodule(words.partition(".")[0])
        self._complete(
            [
                (kernels.packed.embeddings, embeddings),
                *zip(kernels.packed.blocks, public, strict=True),
            ]
        )

    @eager
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **unsupported: Any,
    ) -> Any:
        """Compute the hidden states, as PaddedClassifier computes logits."""
        reject_unsupported("model(...)", unsupported, _ENCODER_INPUTS, _NEUTRAL_INPUTS)
        inputs = PaddedInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        attentions = _choose(output_attentions, self.config.output_attentions)
        hidden_states = _choose(output_hidden_states, self.config.output_hidden_states)
        with self._isolated():
            packed = self._pack(inputs, attentions=attentions)
            _warn_unmasked(inputs, self.packed)
            states = compute_states(
                self.packed, packed, hidden_states=hidden_states, attentions=attentions
            )
            first = packed.batch.select(states.last, Rows.FIRST)
            output = EncoderOutput(
                packed.restore_tokens(states.last) if states.hidden is None else states.hidden[-1],
                packed.restore_rows(self.packed.head.dense(first)) if self.has_pooler else None,
                states.hidden,
                states.attentions,
            )
        return _returned(output, _choose(return_dict, self.config.return_dict))

    @property
    def _encoder(self) -> "PaddedEncoder":
        return self

    base_model = _encoder

    @property
    def _family(self) -> Family:
        return encoder_names(self.packed.config.family)

    @property
    def _architecture(self) -> str:
        return f"{self._family.class_prefix}Model"

    def _tensors(self) -> dict[str, nn.Parameter]:
        pooler = "head.dense." if self.has_pooler else "head.*"
        named = self.packed.named_parameters()
        return {
            name: parameter
            for name, parameter in named
            if not name.startswith("head.") or name.startswith(pooler)
        }


def encoder_names(family: Family) -> Family:
    """Return the family with the names of an encoder that was saved alone, with its pooler."""
    return replace(family, prefix="", head={"head.dense": family.pooler})


def _leaves(
    packed: EncoderModel, family: Family, *, has_pooler: bool = True
) -> dict[str, nn.Module]:
    """The modules that hold parameters, by Hugging Face's names, in the order of the model."""
    leaves = {}
    for name, _ in packed.named_parameters():
        path = name.rpartition(".")[0]
        if not path.startswith("head.") or (has_pooler and path in family.head):
            place = place_of(family, name)
            public = place.name.rpartition(".")[0]
            part = f".{path.rpartition('.')[2]}" if place.of > 1 else ""
            leaves[public + part] = packed.get_submodule(path)
    return leaves


def _fused(packed: EncoderModel, family: Family) -> dict[str, list[str]]:
    """The parts of each fused linear, in the order of its rows."""
    fused: dict[str, dict[int, str]] = {}
    for name, _ in packed.blocks.named_parameters(prefix="blocks"):
        place = place_of(family, name)
        if place.of > 1:
            parts = fused.setdefault(place.name.rpartition(".")[0], {})
            parts[place.index] = name.split(".")[-2]
    return {name: [parts[index] for index in sorted(parts)] for name, parts in fused.items()}


def _choose(requested: bool | None, configured: object) -> bool:
    return bool(configured if requested is None else requested)


def _returned(output: ModelOutput, as_dict: bool) -> ModelOutput | tuple[Any, ...]:
    return output if as_dict else output.to_tuple()


def _reject_unmasked_end(inputs: PaddedInputs, packed: EncoderModel) -> None:
    """Raise InputError where the head reads the last token, and which one that is, is not known."""
    rows = padded_rows(inputs, packed.config.encoder)
    ids, pad = inputs.input_ids, packed.config.encoder.pad_token_id
    ends = [row for row in rows if ids is not None and int(ids[row, -1]) == pad]
    if ends and packed.head.spec.rows is Rows.LAST:
        raise InputError(
            f"no attention_mask, but rows {ends} end with the pad token, and the logits are those "
            "of the last token. Pass all tokenizer outputs: model(**inputs)"
        )


def _warn_unmasked(inputs: PaddedInputs, packed: EncoderModel) -> None:
    if rows := padded_rows(inputs, packed.config.encoder):
        warnings.warn(
            f"no attention_mask, but rows {rows} are padded: the padding was attended to and "
            "changed the logits. Pass all tokenizer outputs: model(**inputs)",
            MissingAttentionMaskWarning,
            stacklevel=caller_stacklevel(),
        )


_INPUTS = parameter_names(PaddedClassifier.forward)
_ENCODER_INPUTS = parameter_names(PaddedEncoder.forward)

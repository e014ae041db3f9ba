"""AutoModelForSequenceClassification: transformers' call signature over the packed model.

A padded batch is unpadded by its mask, computed packed, and returned in the caller's order. The
model is an ordinary torch module: parameters under Hugging Face's names, gradients, `train()` and
`eval()`. Invariant: in eval mode the logits are bit-identical to Classifier's, gradients or not.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from isobatch.batching.packed import PackedBatch, concatenate, unpad
from isobatch.batching.plan import plan_batches
from isobatch.checkpoint import hub_name, locate_checkpoint, read_json, write_tensors
from isobatch.compat.classifier_output import SequenceClassifierOutput, classification_loss
from isobatch.errors import InputError, MissingAttentionMaskWarning, OptionError
from isobatch.kernels import KernelChoice, this_machine
from isobatch.model import SequenceClassifier, read_model, select_kernels
from isobatch.types import Batch


class AutoModelForSequenceClassification:
    """transformers' entry point; `from_pretrained` returns a PaddedClassifier."""

    @staticmethod
    def from_pretrained(
        path: str | Path | None = None, *, revision: str | None = None
    ) -> "PaddedClassifier":
        """Load a folder, a hub id, or the bundled model (None), in eval mode, float32.

        int8 weights are dequantized, and saved as float32.
        """
        folder = locate_checkpoint(path, revision)
        raw_config = read_json(folder / "config.json")
        raw_config.pop("quantization_config", None)  # the weights here are dequantized
        return PaddedClassifier(read_model(folder), raw_config)


class PaddedClassifier(nn.Module):
    """(input_ids, attention_mask) [rows, columns] → logits [rows, num_labels]."""

    def __init__(self, classifier: SequenceClassifier, raw_config: Mapping[str, object]) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = _public_config(classifier, raw_config)
        self._selected: tuple[torch.device, tuple[KernelChoice, ...]] | None = None
        self.register_state_dict_post_hook(_to_hub_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_hub_names)  # type: ignore[no-untyped-call]
        self._select_kernels()
        self.eval()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Compute the logits; without a mask, padding is attended to, with a warning.

        Left and right padding give the same bits. Raises InputError for invalid shapes and ids,
        with the row.
        """
        self._select_kernels()
        self._check(input_ids, attention_mask, token_type_ids)
        if attention_mask is None:
            self._warn_unmasked(input_ids)
            attention_mask = torch.ones_like(input_ids)
        positions = self.classifier.config.encoder.positions
        sequences = unpad(input_ids, attention_mask, token_type_ids, positions)
        lengths = [len(sequence) for sequence in sequences]
        (order,) = plan_batches(lengths, sum(lengths))  # one batch, the longest first
        batch = concatenate([sequences[index] for index in order])
        self._check_positions(batch, order)
        restored = torch.tensor(order, device=self._device).argsort()
        logits = self.classifier(batch.to(self._device))[restored]
        loss = None if labels is None else classification_loss(logits, labels, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle with the machine, for which the kernels were selected."""
        return {**self.__dict__, "_machine": this_machine()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Select kernels again at the next call if this is another machine."""
        if state.pop("_machine") != this_machine():
            state["_selected"] = None
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    @property
    def _device(self) -> torch.device:
        return next(self.classifier.parameters()).device

    def _select_kernels(self) -> None:
        """Check the kernels on the device of the weights; again after a move to another device."""
        weight = next(self.classifier.parameters())
        if weight.dtype != torch.float32:
            raise OptionError(f"the model was cast to {weight.dtype}; only float32 is supported")
        if self._selected is None or self._selected[0] != weight.device:
            self._selected = (weight.device, select_kernels(self.classifier))

    def _check(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> None:
        if (
            not isinstance(input_ids, Tensor)
            or input_ids.ndim != 2
            or input_ids.is_floating_point()
        ):
            raise InputError(
                "input_ids must be an integer tensor [rows, columns] "
                f"(got {_described(input_ids)}); for one text use torch.tensor([ids])"
            )
        if not input_ids.numel():
            raise InputError(f"input_ids has no rows or no columns: {_described(input_ids)}")
        for name, tensor in (
            ("attention_mask", attention_mask),
            ("token_type_ids", token_type_ids),
        ):
            if tensor is not None and tensor.shape != input_ids.shape:
                raise InputError(
                    f"{name} must have the shape of input_ids "
                    f"(got {_described(tensor)}, expected {_described(input_ids)})"
                )
        encoder = self.classifier.config.encoder
        _check_ids("input_ids", input_ids, encoder.vocab_size)
        if token_type_ids is not None:
            if not encoder.type_vocab_size:
                raise InputError(f"{self.config.model_type} accepts no token_type_ids; remove them")
            _check_ids("token_type_ids", token_type_ids, encoder.type_vocab_size)

    def _check_positions(self, batch: PackedBatch, order: Batch) -> None:
        encoder = self.classifier.config.encoder
        beyond = (batch.position_ids >= encoder.num_positions).nonzero()
        if len(beyond):
            sequence = int(torch.searchsorted(batch.cu_seqlens, beyond[0], right=True)) - 1
            raise InputError(
                f"row {order[sequence]}: has tokens beyond the model's {encoder.max_tokens} "
                "positions; tokenize with truncation=True"
            )

    def _warn_unmasked(self, input_ids: Tensor) -> None:
        pad = self.classifier.config.encoder.pad_token_id
        if pad is None:
            return
        padded = (input_ids[:, 0] == pad) | (input_ids[:, -1] == pad)
        if rows := padded.nonzero().flatten().tolist():
            warnings.warn(
                f"no attention_mask, but rows {rows} are padded: the padding was attended to and "
                "changed the logits. Pass all tokenizer outputs: model(**inputs)",
                MissingAttentionMaskWarning,
                stacklevel=5,  # the caller of the module, past nn.Module's two frames
            )

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Iterate as torch does, under Hugging Face's names."""
        for name, parameter in self.classifier.named_parameters(*args, **kwargs):
            yield hub_name(self.classifier.config.family, name), parameter

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, for transformers and Isobatch."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.config.raw, indent=2, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        tensors = dict(self.classifier.named_parameters())
        write_tensors(folder, self.classifier.config.family, tensors)


def _names(module: PaddedClassifier, prefix: str) -> list[tuple[str, str]]:
    """Pair each parameter's path in this module with its name in a state_dict."""
    family, names = module.classifier.config.family, dict(module.classifier.named_parameters())
    return [(f"{prefix}classifier.{name}", prefix + hub_name(family, name)) for name in names]


def _to_hub_names(
    module: PaddedClassifier, state_dict: dict[str, Any], prefix: str, _metadata: object
) -> None:
    for path, hub_key in _names(module, prefix):
        state_dict[hub_key] = state_dict.pop(path)


def _from_hub_names(
    module: PaddedClassifier, state_dict: dict[str, Any], prefix: str, *_others: object
) -> None:
    for path, hub_key in _names(module, prefix):
        if hub_key in state_dict:
            state_dict[path] = state_dict.pop(hub_key)


def _public_config(classifier: SequenceClassifier, raw: Mapping[str, object]) -> SimpleNamespace:
    """The keys of config.json as attributes, with labels as transformers gives them."""
    head = classifier.config.head
    return SimpleNamespace(
        **{
            **raw,
            "raw": dict(raw),
            "id2label": dict(enumerate(head.labels)),
            "label2id": {label: index for index, label in enumerate(head.labels)},
            "num_labels": head.num_labels,
            "problem_type": head.problem_type,
        }
    )


def _check_ids(name: str, ids: Tensor, count: int) -> None:
    outside = ((ids < 0) | (ids >= count)).nonzero()
    if len(outside):
        row, column = outside[0].tolist()
        raise InputError(
            f"row {row}, column {column}: {name} has {int(ids[row, column])}, "
            f"expected 0 to {count - 1}; is this the model's own tokenizer?"
        )


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__

"""DropInModel: the attributes and methods of a model of transformers besides its outputs.

Invariant: its modules have Hugging Face's names, and are those that compute.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isobatch.ambient import check_torch_settings, isolated, uses_torch
from isobatch.checkpoint import Family, write_tensors
from isobatch.compat.arguments import reject_positional, reject_unsupported
from isobatch.compat.encoder_states import select_attention_kernels
from isobatch.compat.model_config import ClassifierConfig
from isobatch.compat.module_tree import check_unchanged
from isobatch.compat.padded_inputs import PackedInputs, PaddedInputs, pack_inputs
from isobatch.errors import OptionError
from isobatch.kernels import arithmetic_name, this_machine
from isobatch.model import EncoderModel, select_kernels


class SelectedKernels:
    """The kernels of a packed model on the device of its weights, checked again after a move."""

    def __init__(self, packed: EncoderModel) -> None:
        self.packed = packed
        self._device: torch.device | None = None
        self._arithmetic = ""
        self._has_attention = False
        self.uses_torch = False

    def __getstate__(self) -> dict[str, Any]:
        """Pickle with the machine, for which the kernels were selected."""
        return {**self.__dict__, "_machine": this_machine()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Select kernels again at the next call where those of the pickle give other bits."""
        made, here = state.pop("_machine"), this_machine()
        if not here.gives_bits_of(made, state["_arithmetic"], "fp32"):
            state["_device"] = None
        elif made != here:
            state["_has_attention"] = False  # torch's own, on every machine
        self.__dict__.update(state)

    def select(self, *, attentions: bool = False) -> None:
        """Select what is not yet selected; OptionError for weights that are not float32."""
        weight = next(self.packed.parameters())
        if weight.dtype != torch.float32:
            raise OptionError(
                f"the model was cast to {weight.dtype}; only float32 is supported: model.float(). "
                "For bf16 and int8 use Classifier.from_pretrained(path, precision=...)"
            )
        if self._device != weight.device:
            with isolated(weight.device.type):
                kernels = [choice.kernel for choice in select_kernels(self.packed)]
            self._arithmetic = arithmetic_name(kernels, "fp32")
            self.uses_torch = uses_torch(kernels)
            self._device, self._has_attention = weight.device, False
        if attentions and not self._has_attention:
            with isolated(weight.device.type):
                select_attention_kernels(self.packed, weight.device)
            self._has_attention = True


class DropInModel(nn.Module):
    """The part that both models share: modules under public names, attributes, saving."""

    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    is_gradient_checkpointing = False
    is_parallelizable = False
    accepts_loss_kwargs = False
    """For transformers' Trainer: the loss is the mean over the rows of a call."""

    def __init__(self, kernels: SelectedKernels, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        # In objects and lists, so that they are not registered as modules: their leaves are.
        self._kernels = kernels
        self._modes: list[tuple[nn.Module, nn.Module]] = []
        self._expected: list[nn.Module] = []

    def _complete(self, modes: list[tuple[nn.Module, nn.Module]]) -> None:
        """Take the modules as they are now for those that compute; `modes`: inner and public."""
        self._modes = modes
        self._expected = [*self.modules()][1:]  # a shallow copy has another root
        self.eval()

    @contextmanager
    def _isolated(self) -> Iterator[None]:
        """Compute without the caller's settings of torch; a model in training keeps most of them.

        Training is torch's: a dispatch mode there may be that of activation checkpointing.
        """
        if self.training:
            with torch.autocast(self.device.type, enabled=False):
                yield
            return
        with isolated(self.device.type):
            if self._kernels.uses_torch:
                check_torch_settings(self.device)
            yield

    def _pack(self, inputs: PaddedInputs, *, attentions: bool) -> PackedInputs:
        """Bring kernels and modes up to date, and pack the inputs."""
        check_unchanged(self, self._expected)
        self._kernels.select(attentions=attentions)
        for inner, public in self._modes:
            inner.training = public.training
        return pack_inputs(inputs, self.packed.config.encoder, self.device)

    @property
    def packed(self) -> EncoderModel:
        """The model that computes, over packed batches; it has the same parameters."""
        return self._kernels.packed

    @property
    def _family(self) -> Family:
        """The names of its tensors."""
        raise NotImplementedError

    @property
    def _architecture(self) -> str:
        """The class in transformers that reads what `save_pretrained` writes."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def name_or_path(self) -> str:
        return str(self.config.name_or_path)

    @property
    def _prefix(self) -> str:
        return self.packed.config.family.public.prefix.removesuffix(".")

    base_model_prefix = _prefix

    @property
    def num_tokens(self) -> int:
        """The most tokens of a row, special tokens included."""
        return self.packed.config.encoder.max_tokens

    def can_generate(self) -> bool:
        """Return False, as for every classifier."""
        return False

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Count the parameters."""
        embeddings = {
            id(module.weight) for module in self.modules() if isinstance(module, nn.Embedding)
        }
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if (parameter.requires_grad or not only_trainable)
            and not (exclude_embeddings and id(parameter) in embeddings)
        )

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of word embeddings."""
        return self.packed.embeddings.word

    def resize_token_embeddings(self, new_num_tokens: int | None = None, **_: object) -> nn.Module:
        """Return the table of word embeddings, whose size cannot change."""
        rows: int = self.config.vocab_size
        if new_num_tokens not in (None, rows):
            raise OptionError(
                f"resize_token_embeddings({new_num_tokens}) is not supported: the table has {rows} "
                "rows. Resize it in transformers, save_pretrained, and load that folder"
            )
        return self.get_input_embeddings()

    def gradient_checkpointing_enable(self, *_: object, **__: object) -> None:
        """Raise OptionError: activations are always kept."""
        raise OptionError(
            "gradient checkpointing is not supported; set gradient_checkpointing=False, and use "
            "smaller batches with gradient_accumulation_steps"
        )

    def gradient_checkpointing_disable(self) -> None:
        """Do nothing: it is never enabled."""

    def tie_weights(self, *_: object, **__: object) -> None:
        """Do nothing: no weights are shared."""

    def push_to_hub(self, *_: object, **__: object) -> None:
        """Raise OptionError: this package never uploads a file."""
        raise OptionError(
            "push_to_hub is not supported. model.save_pretrained(folder), then "
            "`hf upload NAME folder`"
        )

    def save_pretrained(
        self, save_directory: str | Path, *positional: object, **options: Any
    ) -> None:
        """Write config.json and model.safetensors, for transformers and Isobatch."""
        reject_positional("model.save_pretrained", positional, ["save_directory"])
        neutral = {
            "safe_serialization": (True,),
            "push_to_hub": (False,),
            "is_main_process": (True,),
            "max_shard_size": (options.get("max_shard_size"),),
            "state_dict": (None,),
        }
        reject_unsupported("model.save_pretrained", options, ["save_directory"], neutral)
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = copy.deepcopy(self.config)
        config.update({"architectures": [self._architecture], "dtype": "float32"})
        config.save_pretrained(folder)
        write_tensors(folder, self._family, self._tensors())

    def _tensors(self) -> dict[str, nn.Parameter]:
        """The parameters by the names of `isobatch.model`."""
        raise NotImplementedError

"""AutoModelForSequenceClassification, …ForTokenClassification, AutoModel: entry points.

Invariant: an argument of from_pretrained is honoured as in transformers or rejected by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from isobatch.ambient import isolated
from isobatch.checkpoint import locate_checkpoint, read_raw_config
from isobatch.checkpoint.families import family_of
from isobatch.checkpoint.unreadable import is_there
from isobatch.compat.arguments import reject_positional, reject_unsupported
from isobatch.compat.drop_in_model import DropInModel, SelectedKernels
from isobatch.compat.model import (
    PaddedClassifier,
    PaddedEncoder,
    PaddedTokenClassifier,
)
from isobatch.compat.model_config import (
    HUB_ADVICE,
    NEUTRAL_ARGUMENTS,
    AutoConfig,
    ClassifierConfig,
    read_folder,
)
from isobatch.compat.pretrained import draw_weights, read_classifier, read_encoder
from isobatch.errors import CheckpointError, OptionError
from isobatch.model import empty_model

_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    **NEUTRAL_ARGUMENTS,
    "attn_implementation": (None, "eager", "sdpa"),
    "from_flax": (False,),
    "from_tf": (False,),
    "load_in_4bit": (False,),
    "load_in_8bit": (False,),
    "low_cpu_mem_usage": (None, False, True),
    "output_loading_info": (False,),
    "quantization_config": (None,),
    "state_dict": (None,),
    "use_safetensors": (None, True),
    "variant": (None,),
    "weights_only": (True,),
}
_SUPPORTED = (
    "config",
    "revision",
    "ignore_mismatched_sizes",
    "dtype",
    "device_map",
    "num_labels",
    "id2label",
    "label2id",
    "problem_type",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "and the keys of config.json",
)
ModelT = TypeVar("ModelT", bound=DropInModel)
ClassifierT = TypeVar("ClassifierT", bound=PaddedClassifier)

_INT8 = "Run `isobatch quantize MODEL FOLDER`, and load the folder with Classifier"
_ADVICE = {
    **HUB_ADVICE,
    "attn_implementation": "Remove it: attention is computed without padding",
    "from_flax": "Convert the checkpoint to safetensors in transformers first",
    "from_tf": "Convert the checkpoint to safetensors in transformers first",
    "load_in_4bit": _INT8,
    "load_in_8bit": _INT8,
    "quantization_config": _INT8,
    "state_dict": "Load the checkpoint, then model.load_state_dict(state_dict)",
    "use_safetensors": "Pickles are never loaded: remove it",
}


class _AutoModelWithHead(Generic[ClassifierT]):
    """transformers' entry point to the models of one task; `_kind` is their class."""

    _kind: type[ClassifierT]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *positional: object,
        config: ClassifierConfig | str | Path | None = None,
        revision: str | None = None,
        ignore_mismatched_sizes: bool = False,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        **changes: Any,
    ) -> ClassifierT:
        """Load a folder, a hub id, or the bundled model (None), in eval mode, float32.

        A checkpoint without a head for the task gets a new one, with a NewWeightsWarning; so does,
        under ignore_mismatched_sizes, one with another number of labels. int8 weights are
        dequantized, and saved as float32. changes: keys of config.json. Warns with an
        OtherTaskWarning if config.json says that the head is for another task.
        """
        place = f"{cls.__name__}.from_pretrained"
        reject_positional(place, positional, _SUPPORTED)
        loading = _Loading(
            place,
            pretrained_model_name_or_path,
            revision,
            dtype if torch_dtype is None else torch_dtype,
            device_map,
        )
        return loading.classifier(cls._kind, config, changes, ignore_mismatched_sizes)

    @classmethod
    def from_config(
        cls, config: ClassifierConfig, *positional: object, **changes: Any
    ) -> ClassifierT:
        """Create a model with random weights, in train mode."""
        return _new_classifier(cls._kind, config, positional, changes)


class AutoModelForSequenceClassification(_AutoModelWithHead[PaddedClassifier]):
    """transformers' entry point; each method returns a PaddedClassifier."""

    _kind = PaddedClassifier


class AutoModelForTokenClassification(_AutoModelWithHead[PaddedTokenClassifier]):
    """transformers' entry point; each method returns a PaddedTokenClassifier.

    The bundled model has no such head, and gets a new one.
    """

    _kind = PaddedTokenClassifier


class AutoModel:
    """transformers' entry point to the encoder alone; each method returns a PaddedEncoder."""

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | Path | None = None,
        *positional: object,
        config: ClassifierConfig | str | Path | None = None,
        revision: str | None = None,
        add_pooling_layer: bool = True,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        **changes: Any,
    ) -> PaddedEncoder:
        """Load the encoder of a checkpoint with any head or none, in eval mode, float32."""
        place = "AutoModel.from_pretrained"
        reject_positional(place, positional, _SUPPORTED)
        folder = locate_checkpoint(pretrained_model_name_or_path, revision)
        chosen = _configured(place, pretrained_model_name_or_path, folder, config, changes)
        _check_dtype(place, dtype if torch_dtype is None else torch_dtype, chosen)
        has_pooler = add_pooling_layer and family_of(chosen.model_type).has_pooler
        with isolated():
            packed = read_encoder(
                folder, chosen.to_model_config(), chosen.initializer_range, has_pooler=has_pooler
            )
        encoder = PaddedEncoder(SelectedKernels(packed), chosen, has_pooler=has_pooler)
        return _placed(encoder, place, device_map)

    @staticmethod
    def from_config(config: ClassifierConfig, *positional: object, **changes: Any) -> PaddedEncoder:
        """Create an encoder with random weights, in train mode."""
        reject_positional("from_config", positional, ("config", "and the keys of config.json"))
        config = _checked(config).changed("from_config", changes)
        with isolated():
            packed = empty_model(config.to_model_config())
            names = [name for name, _ in packed.named_parameters()]
            draw_weights(packed, names, config.initializer_range)
        has_pooler = family_of(config.model_type).has_pooler
        model = PaddedEncoder(SelectedKernels(packed), config, has_pooler=has_pooler)
        model.train()
        return model


@dataclass(frozen=True, slots=True)
class _Loading:
    """The arguments of the call `place`, besides keys of config.json."""

    place: str
    path: str | Path | None
    revision: str | None
    dtype: torch.dtype | str | None
    device_map: Any

    def classifier(
        self,
        kind: type[ClassifierT],
        config: ClassifierConfig | str | Path | None,
        changes: Mapping[str, Any],
        ignore_mismatched_sizes: bool,
    ) -> ClassifierT:
        folder = locate_checkpoint(self.path, self.revision)
        chosen = _configured(self.place, self.path, folder, config, changes)
        _check_dtype(self.place, self.dtype, chosen)
        with isolated():
            packed = read_classifier(
                folder,
                chosen.to_model_config(kind.task),
                chosen.initializer_range,
                ignore_mismatched_sizes=ignore_mismatched_sizes,
            )
        return _placed(kind(packed, chosen), self.place, self.device_map)


def _new_classifier(
    kind: type[ClassifierT],
    config: ClassifierConfig,
    positional: tuple[object, ...],
    changes: Mapping[str, Any],
) -> ClassifierT:
    reject_positional("from_config", positional, ("config", "and the keys of config.json"))
    config = _checked(config).changed("from_config", changes)
    with isolated():
        packed = empty_model(config.to_model_config(kind.task))
        names = [name for name, _ in packed.named_parameters()]
        draw_weights(packed, names, config.initializer_range)
    model = kind(packed, config)
    model.train()
    return model


def _configured(
    place: str,
    path: str | Path | None,
    folder: Path,
    config: ClassifierConfig | str | Path | None,
    changes: Mapping[str, Any],
) -> ClassifierConfig:
    """The configuration of `folder`, or the given one, with the changes."""
    if is_there(folder / "training_args.bin") and not is_there(folder / "config.json"):
        raise CheckpointError(
            f"{folder}: has no config.json, as transformers' Trainer saves only the weights of "
            "this model. Write it there: model.config.save_pretrained(folder)"
        )
    raw = read_raw_config(folder)
    neutral = {key: value for key, value in changes.items() if key in _NEUTRAL}
    if path is None or Path(path).expanduser().is_dir():  # without a download
        neutral = {key: value for key, value in neutral.items() if key not in HUB_ADVICE}
    reject_unsupported(place, neutral, _SUPPORTED, _NEUTRAL, _ADVICE)
    if "auto_map" in raw and changes.get("trust_remote_code"):
        raise OptionError(
            f"{place}: trust_remote_code=True, and {folder} has code of its own, which is never "
            "run. Remove the argument to load it as a plain "
            f"{raw.get('model_type')!r}, if that is what it is"
        )
    if isinstance(config, str | Path):
        config = AutoConfig.from_pretrained(config)
    others = {key: value for key, value in changes.items() if key not in _NEUTRAL}
    given = read_folder(folder, others) if config is None else _checked(config)
    chosen = given.changed(place, others)
    chosen.name_or_path = "" if path is None else str(path)
    return chosen


def _checked(config: object) -> ClassifierConfig:
    """The configuration, or one of transformers translated by its `to_dict`."""
    if isinstance(config, ClassifierConfig):
        return config
    if hasattr(config, "to_dict"):
        return ClassifierConfig(config.to_dict())
    raise OptionError(
        f"config must be from AutoConfig.from_pretrained(path), got {type(config).__name__}"
    )


def _check_dtype(place: str, dtype: object, config: ClassifierConfig) -> None:
    """Only float32 is computed; "auto" means the dtype of the checkpoint."""
    stored = config.to_dict().get("dtype") or config.to_dict().get("torch_dtype") or "float32"
    meant = stored if dtype == "auto" else dtype
    if meant not in (None, torch.float32, "float32", "torch.float32"):
        raise OptionError(
            f"{place}: dtype={meant} is not supported. Use dtype=torch.float32; for bf16 and int8 "
            "use Classifier.from_pretrained(path, precision=...)"
        )


def _placed(model: ModelT, place: str, device_map: Any) -> ModelT:
    """Move the model to the device; a map must name one for all modules."""
    if isinstance(device_map, Mapping):
        if [*device_map] != [""]:
            raise OptionError(
                f"{place}: device_map={dict(device_map)} splits the model. Use device_map='cpu'"
            )
        device_map = device_map[""]
    if device_map is None:
        return model
    if device_map in ("auto", "balanced", "sequential"):
        device_map = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device_map)

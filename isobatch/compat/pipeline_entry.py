"""pipeline(task): transformers' entry point to the pipelines of text and token classification."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from isobatch.checkpoint import locate_checkpoint, read_stated_task
from isobatch.compat.arguments import parameter_names, reject_positional, reject_unsupported
from isobatch.compat.auto_model import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from isobatch.compat.entity_pipeline import TokenClassificationPipeline
from isobatch.compat.model import PaddedClassifier, PaddedTokenClassifier
from isobatch.compat.model_config import ClassifierConfig
from isobatch.compat.text_classification import TextClassificationPipeline
from isobatch.compat.tokenizer import AutoTokenizer, Tokenizer
from isobatch.errors import OptionError

TEXT_TASKS = ("text-classification", "sentiment-analysis")
TOKEN_TASKS = ("token-classification", "ner")

_OF_LOADING: Mapping[str, tuple[object, ...]] = {
    "config": (None,),
    "revision": (None,),
    "device_map": (None,),
    "dtype": (None, torch.float32, "float32", "auto"),
    "torch_dtype": (None, torch.float32, "float32", "auto"),
    "model_kwargs": (None,),
}
_LOADED = {
    **dict.fromkeys(_OF_LOADING, "Pass it to AutoModelForSequenceClassification.from_pretrained"),
    "device_map": "Use device=...",
}


def pipeline(
    task: str | None = None,
    model: str | Path | PaddedClassifier | None = None,
    config: ClassifierConfig | str | Path | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    *positional: object,
    revision: str | None = None,
    device: int | str | torch.device | None = None,
    device_map: Any = None,
    dtype: torch.dtype | str | None = None,
    torch_dtype: torch.dtype | str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    trust_remote_code: bool | None = None,
    **options: Any,
) -> TextClassificationPipeline | TokenClassificationPipeline:
    """Create a pipeline for a folder, a hub id, loaded objects, or the bundled model (None).

    task: without one it is that of a loaded model or of a checkpoint's head, else text
    classification. options: defaults of every call, such as top_k, batch_size and truncation.
    Raises OptionError for other tasks and options.
    """
    reject_positional("pipeline", positional, parameter_names(pipeline))
    of_tokens = _is_of_tokens(task, model, revision)
    if isinstance(model, PaddedClassifier):
        if tokenizer is None:
            raise OptionError("pipeline: a loaded model needs its tokenizer: pass tokenizer=...")
        own = None if isinstance(tokenizer, str | Path) else revision  # else of the tokenizer
        _reject_loading(config, own, device_map, dtype, torch_dtype, model_kwargs or None)
        loaded = model
    elif model is None or isinstance(model, str | Path):
        entry = AutoModelForTokenClassification if of_tokens else AutoModelForSequenceClassification
        stated = {
            "config": config,
            "revision": revision,
            "dtype": torch_dtype if dtype is None else dtype,
            "device_map": device_map,
            "trust_remote_code": trust_remote_code,
        }
        loaded = entry.from_pretrained(model, **_joined(stated, model_kwargs or {}))
        tokenizer = model if tokenizer is None else tokenizer
    else:
        raise OptionError(
            f"pipeline: model is {type(model).__name__}, expected a path, a hub id or a model from "
            "isobatch's AutoModelForSequenceClassification or AutoModelForTokenClassification"
        )
    if not isinstance(tokenizer, Tokenizer):
        if tokenizer is not None and not isinstance(tokenizer, str | Path):
            raise OptionError(
                f"pipeline: tokenizer is {type(tokenizer).__name__}, expected a path or a "
                "tokenizer from isobatch's AutoTokenizer"
            )
        tokenizer = AutoTokenizer.from_pretrained(tokenizer, revision=revision)
    if isinstance(loaded, PaddedTokenClassifier):
        return TokenClassificationPipeline(loaded, tokenizer, device=device, **options)
    return TextClassificationPipeline(loaded, tokenizer, device=device, **options)


def _is_of_tokens(task: str | None, model: object, revision: str | None) -> bool:
    """Whether labels are those of tokens; raises OptionError for another task or model."""
    if task is not None and task not in (*TEXT_TASKS, *TOKEN_TASKS):
        known = ", ".join((*TEXT_TASKS, *TOKEN_TASKS))
        raise OptionError(f"pipeline: task {task!r} is not supported; supported: {known}")
    if isinstance(model, PaddedClassifier):
        if task is not None and (task in TOKEN_TASKS) != isinstance(model, PaddedTokenClassifier):
            raise OptionError(
                f"pipeline: the model is for {model.task}, but the task is {task!r}. Leave the "
                "task out, or load the model with the class for it"
            )
        return isinstance(model, PaddedTokenClassifier)
    if task in TOKEN_TASKS and model is None:
        raise OptionError(f"pipeline: task {task!r} has no bundled model. Pass model=...")
    if task is None and isinstance(model, str | Path):
        return read_stated_task(locate_checkpoint(model, revision)) in TOKEN_TASKS
    return task in TOKEN_TASKS


def _joined(stated: Mapping[str, Any], model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's own arguments that are not None, and model_kwargs, which may add to them."""
    own = {name: value for name, value in stated.items() if value is not None}
    if twice := sorted(own.keys() & model_kwargs.keys()):
        raise OptionError(
            f"pipeline: {twice[0]} is an argument and also in model_kwargs. Leave one of them out"
        )
    return {**own, **model_kwargs}


def _reject_loading(*values: object) -> None:
    """Raise OptionError for an argument that a loaded model cannot follow any more."""
    given = dict(zip(_OF_LOADING, values, strict=True))
    reject_unsupported("pipeline with a loaded model", given, (), _OF_LOADING, _LOADED)

"""Each public call of the drop-in API names an unknown argument: OptionError, never TypeError."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Checkpoint
from tiny_checkpoints import Tiny

from isobatch import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from isobatch.compat import pipeline
from isobatch.errors import OptionError


@dataclass(frozen=True)
class Loaded:
    """One checkpoint by each entry point, and a folder that may be written."""

    folder: Path
    target: Path
    tokenizer: Any
    model: Any
    config: Any


@pytest.fixture(scope="module")
def loaded(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = checkpoint(Tiny("bert"))
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    target = tmp_path_factory.mktemp("saved")
    return Loaded(folder, target, AutoTokenizer.from_pretrained(folder), model, model.config)


Call = Callable[..., Any]
CALLS: dict[str, tuple[Callable[[Loaded], Call], Callable[[Loaded], list[Any]]]] = {
    "AutoConfig.from_pretrained": (lambda _: AutoConfig.from_pretrained, lambda x: [x.folder]),
    "AutoConfig.for_model": (lambda _: AutoConfig.for_model, lambda _: ["bert"]),
    "AutoTokenizer.from_pretrained": (
        lambda _: AutoTokenizer.from_pretrained,
        lambda x: [x.folder],
    ),
    "AutoModel.from_pretrained": (lambda _: AutoModel.from_pretrained, lambda x: [x.folder]),
    "AutoModelForSequenceClassification.from_pretrained": (
        lambda _: AutoModelForSequenceClassification.from_pretrained,
        lambda x: [x.folder],
    ),
    "AutoModel.from_config": (lambda _: AutoModel.from_config, lambda x: [x.config]),
    "AutoModelForSequenceClassification.from_config": (
        lambda _: AutoModelForSequenceClassification.from_config,
        lambda x: [x.config],
    ),
    "pipeline": (lambda _: pipeline, lambda x: [None, x.model, None, x.tokenizer]),
    "tokenizer": (lambda x: x.tokenizer, lambda _: ["a", "b"]),
    "encode": (lambda x: x.tokenizer.encode, lambda _: ["a", "b"]),
    "tokenize": (lambda x: x.tokenizer.tokenize, lambda _: ["a", "b", False]),
    "pad": (lambda x: x.tokenizer.pad, lambda _: [{"input_ids": [[2]]}, True]),
    "decode": (lambda x: x.tokenizer.decode, lambda _: [[2], False, False]),
    "batch_decode": (lambda x: x.tokenizer.batch_decode, lambda _: [[[2]], False, False]),
    "tokenizer.save_pretrained": (
        lambda x: x.tokenizer.save_pretrained,
        lambda x: [x.target],
    ),
    "config.save_pretrained": (lambda x: x.config.save_pretrained, lambda x: [x.target]),
    "model.save_pretrained": (lambda x: x.model.save_pretrained, lambda x: [x.target]),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_supported_is_named(name: str, loaded: Loaded) -> None:
    call, arguments = (part(loaded) for part in CALLS[name])
    call(*arguments)
    call(*arguments, None)  # the default of what transformers has there
    with pytest.raises(OptionError, match="positional"):
        call(*arguments, "x")
    with pytest.raises(OptionError, match="nonsense=1 is not supported"):
        call(*arguments, nonsense=1)


NEUTRAL: dict[str, Callable[[Loaded], object]] = {
    "tokenizer": lambda x: x.tokenizer.save_pretrained(
        save_directory=x.target, push_to_hub=False, legacy_format=False
    ),
    "model": lambda x: x.model.save_pretrained(save_directory=x.target, push_to_hub=False),
    "config": lambda x: x.config.save_pretrained(save_directory=x.target, push_to_hub=False),
    "pad": lambda x: x.tokenizer.pad({"input_ids": [[2]]}, verbose=False),
    "decode": lambda x: x.tokenizer.decode([2], spaces_between_special_tokens=True),
    "a call": lambda x: x.tokenizer("a", "b", None),
    "pipeline": lambda x: pipeline("text-classification", str(x.folder), None, None, None),
    "a loaded model": lambda x: pipeline(
        model=x.model, tokenizer=x.tokenizer, dtype=torch.float32, model_kwargs={}
    ),
    "a revision of the tokenizer": lambda x: pipeline(
        model=x.model, tokenizer=str(x.folder), revision="main"
    ),
}


@pytest.mark.parametrize("kind", NEUTRAL)
def test_what_changes_nothing_is_accepted(kind: str, loaded: Loaded) -> None:
    NEUTRAL[kind](loaded)


OF_LOADING: list[dict[str, Any]] = [
    {"dtype": torch.bfloat16},
    {"torch_dtype": "float16"},
    {"revision": "main"},
    {"model_kwargs": {"attn_implementation": "eager"}},
    {"device_map": "auto"},
    {"config": "some/model"},
]


@pytest.mark.parametrize("options", OF_LOADING, ids=str)
def test_a_loaded_model_is_not_loaded_again(options: dict[str, Any], loaded: Loaded) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"{name}=.* is not supported"):
        pipeline(model=loaded.model, tokenizer=loaded.tokenizer, **options)

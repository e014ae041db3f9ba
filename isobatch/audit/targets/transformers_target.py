"""A model of transformers as a Subject: from a folder or hub id, or from objects in memory.

It asks as users ask: tokenizer(texts, padding=True, truncation=True), model(**inputs). It knows no
probe. Invariant: never a pickle and no code of the checkpoint is loaded, and a head that the
checkpoint lacks is refused, as its answers would be drawn by chance.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isobatch.audit.subject import Answers, PaddedModel, Subject
from isobatch.audit.targets.libraries import (
    audit_library,
    quiet_transformers,
    set_torch_threads,
    torch_threads,
)
from isobatch.audit.targets.torch_model import TorchModel, logits_of
from isobatch.audit.targets.traits import (
    gives_hidden,
    max_tokens,
    num_ids,
    read_counting,
    suspicious_parts,
)
from isobatch.audit.targets.vocabulary import (
    ORDINARY,
    filler_ids,
    gives_types,
    names_with_id_of_pad,
    padding_side,
    settle_pad,
    tokenizer_limit,
)
from isobatch.errors import CheckpointError, MissingHeadError, OptionError, TensorMismatchError

_DTYPES = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
}


def open_transformers(
    path: str,
    *,
    tokenizer: str | Path | None = None,
    precision: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
) -> Subject:
    """Load a sequence classifier and its tokenizer, or the one in `tokenizer`, in eval mode."""
    if precision is not None and precision not in _DTYPES:
        raise OptionError(f"precision {precision!r}: transformers has {', '.join(_DTYPES)}")
    check_device(device)
    set_torch_threads(threads)
    model = _load_model(path, revision, None if precision is None else _DTYPES[precision])
    read = load_tokenizer(path, revision) if tokenizer is None else load_tokenizer(tokenizer)
    return subject_of_model(model.to(device), read, shown_name(path))


def subject_of_model(model: nn.Module, tokenizer: Any, name: str = "model") -> Subject:
    """A model and a tokenizer that are in memory already, in whatever mode the model is.

    `model` has forward(input_ids, attention_mask=None, ...) and gives a tensor [rows, labels], or
    an object with such logits. Where there is no pad token, eos_token becomes it, as users do.
    """
    config = getattr(model, "config", None)
    facts = settle_pad(tokenizer, name) | _settle_pad_of(config, tokenizer)
    asked = TorchModel(model, typed=gives_types(tokenizer))

    def answer(texts: Sequence[str]) -> Answers:
        with quiet_transformers():
            inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return logits_of(asked.run(inputs))

    padded = _padded(asked, tokenizer)
    on_cpu = asked.device.type == "cpu"
    return Subject(
        name=name,
        kind="transformers",
        answer=answer,
        labels=_labels(config),
        facts=_facts(asked, tokenizer) | facts,
        padded=padded,
        with_threads=torch_threads if on_cpu else None,
        lowered=lambda dtype: _lowered(asked, padded, dtype),
    )


def load_tokenizer(path: str | Path, revision: str | None = None) -> Any:
    """The tokenizer of a folder or hub id, by transformers; CheckpointError says what was wrong."""
    auto = audit_library("transformers").AutoTokenizer
    try:
        with quiet_transformers():
            tokenizer = auto.from_pretrained(
                local_or_id(path), revision=revision, trust_remote_code=False
            )
    except Exception as error:  # a broken file raises what its reader raises
        raise CheckpointError(f"{path}: its tokenizer cannot be loaded: {error}") from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # made up where files are missing
        raise CheckpointError(
            f"{path}: holds no tokenizer that knows a word; name the folder that does with "
            "--tokenizer"
        )
    return tokenizer


def check_device(device: str) -> None:
    """OptionError for a device that this torch does not have."""
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise OptionError(f"device {device!r} is no device of torch; use cpu or cuda") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {device!r}: this torch sees no CUDA device; use cpu")


def shown_name(path: str | Path) -> str:
    """A folder or file by its last part: where it lies is nobody's business."""
    place = Path(path).expanduser()
    return place.resolve().name if place.exists() else str(path)


def local_or_id(path: str | Path) -> str:
    """A folder with its ~ resolved, or a hub id as it is."""
    place = Path(path).expanduser()
    return str(place if place.exists() else path)


def _load_model(path: str, revision: str | None, dtype: torch.dtype | None) -> Any:
    auto = audit_library("transformers").AutoModelForSequenceClassification
    try:
        with quiet_transformers():
            model, loaded = auto.from_pretrained(
                local_or_id(path),
                revision=revision,
                use_safetensors=True,
                trust_remote_code=False,
                dtype="auto" if dtype is None else dtype,
                output_loading_info=True,
            )
    except Exception as error:  # as above
        raise CheckpointError(
            f"{path}: transformers cannot load it as a sequence classifier from safetensors: "
            f"{error}"
        ) from error
    _check_loaded(path, model, loaded)
    return model.eval()


def _check_loaded(path: str, model: Any, loaded: dict[str, Any]) -> None:
    """transformers only warns of what it fills with random numbers."""
    missing = sorted({*map(str, loaded["missing_keys"]), *_names(loaded["mismatched_keys"])})
    if not missing:
        return
    listed = ", ".join(missing[:4]) + (" ..." if len(missing) > 4 else "")
    encoder = f"{model.base_model_prefix}."
    if not any(name.startswith(encoder) for name in missing):
        raise MissingHeadError(
            f"{path}: has no classification head ({listed} missing), so that its answers would be "
            "random; name a checkpoint that was trained to classify"
        )
    raise TensorMismatchError(f"{path}: tensors are missing or misshapen: {listed}")


def _names(mismatched: Any) -> list[str]:
    """Each is a name, or a name with two shapes."""
    return [str(each[0]) if isinstance(each, tuple | list) else str(each) for each in mismatched]


def _settle_pad_of(config: Any, tokenizer: Any) -> dict[str, str]:
    """Decoders find a row's last token by config.pad_token_id, and refuse batches without it."""
    configs = {id(each): each for each in (config, _text_config(config)) if each is not None}
    without = [each for each in configs.values() if getattr(each, "pad_token_id", 0) is None]
    for each in without:
        each.pad_token_id = tokenizer.pad_token_id
    return {"config.pad_token_id": "there was none, so that it was set"} if without else {}


def _text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else None


def _padded(model: TorchModel, tokenizer: Any) -> PaddedModel:
    def encode(text: str) -> list[int]:
        with quiet_transformers():
            return [int(each) for each in tokenizer(text, truncation=True)["input_ids"]]

    ordinary = encode(ORDINARY[0])
    counting = read_counting(model, ordinary, tokenizer.pad_token_id)
    config = _text_config(getattr(model.model, "config", None))
    return PaddedModel(
        encode=encode,
        forward=model.forward,
        pad_id=tokenizer.pad_token_id,
        filler_ids=filler_ids(tokenizer, num_ids(model.model)),
        padding_side=padding_side(tokenizer),
        hidden=model.hidden if gives_hidden(model, ordinary) else None,
        positions_start=counting.start,
        max_tokens=max_tokens(config, counting),
        tokenizer_limit=tokenizer_limit(tokenizer),
        pad_is_also=names_with_id_of_pad(tokenizer),
        counts_pad_ids=counting.by_pad_ids,
        suspicious_parts=suspicious_parts(model.model),
    )


def _lowered(asked: TorchModel, padded: PaddedModel, dtype: str) -> PaddedModel:
    """The same with weights and activations in 16 bits; the model itself stays as it is."""
    if dtype not in ("float16", "bfloat16"):
        raise OptionError(f"dtype must be 'float16' or 'bfloat16', got {dtype!r}")
    lower = TorchModel(copy.deepcopy(asked.model).to(_DTYPES[dtype]), typed=asked.typed)
    return replace(padded, forward=lower.forward, hidden=padded.hidden and lower.hidden)


def _labels(config: Any) -> tuple[str, ...] | None:
    names = getattr(config, "id2label", None)
    return tuple(str(names[index]) for index in sorted(names)) if names else None


def _facts(model: TorchModel, tokenizer: Any) -> dict[str, str]:
    config, weight = getattr(model.model, "config", None), next(model.model.parameters(), None)
    facts = {
        "model": type(model.model).__name__,
        "model type": getattr(config, "model_type", None),
        "dtype": None if weight is None else str(weight.dtype).removeprefix("torch."),
        "attention": getattr(config, "_attn_implementation", None),
        "mode": "training" if model.model.training else "eval",
        "device": str(model.device),
        "threads": str(torch.get_num_threads()) if model.device.type == "cpu" else None,
        "attention_mask": None if model.takes("attention_mask") else "forward does not take it",
        "tokenizer": type(tokenizer).__name__,
        "padding side": padding_side(tokenizer),
        "transformers": audit_library("transformers").__version__,
        "torch": torch.__version__,
    }
    return {name: str(fact) for name, fact in facts.items() if fact is not None}

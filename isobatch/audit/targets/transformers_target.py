"""A model of transformers as a Subject: from a folder or hub id, or from objects in memory.

It is called as users call it: tokenizer(texts, padding=True, truncation=True), model(**inputs).
Invariant: no pickle and no code of the checkpoint is ever loaded, and a checkpoint without a head
is refused, as its results would be random.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isobatch.audit.subject import FloatFormat, OutputKind, Outputs, PaddedModel, Subject
from isobatch.audit.targets.output_reader import SAMPLE_TEXTS, kind_of_outputs
from isobatch.audit.targets.tokenizer_traits import (
    audit_library,
    choose_pad,
    encode_with,
    gives_types,
    labels_of,
    load_tokenizer,
    local_or_id,
    padded_model,
    padding_side,
    quiet_transformers,
    shown_name,
)
from isobatch.audit.targets.torch_model import (
    TorchModel,
    gives_hidden,
    gives_vectors,
    main_tensor,
    max_tokens,
    mixing_fault,
    num_ids,
    outputs_of,
    read_counting,
)
from isobatch.errors import CheckpointError, MissingHeadError, OptionError, TensorMismatchError
from isobatch.kernels.invariance import threads as torch_threads
from isobatch.transformers_engine.library import random_tensors

_AUTO_MODELS = {
    "sequence": ("AutoModelForSequenceClassification", "a sequence classifier"),
    "token": ("AutoModelForTokenClassification", "a token classifier"),
    "encoder": ("AutoModel", "an encoder"),
}
"""The class of each kind of model, and its name in a message."""

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
    """Load a model and its tokenizer, or the one in `tokenizer`, in eval mode.

    The model is the one that the checkpoint's files name: a classifier of texts or of tokens, or
    an encoder without a head, whose last hidden states are the outputs.
    """
    if precision is not None and precision not in _DTYPES:
        raise OptionError(f"precision {precision!r}: transformers has {', '.join(_DTYPES)}")
    _check_device(device)
    if threads is not None:
        torch.set_num_threads(threads)  # of the whole process
    model = _load_model(path, revision, None if precision is None else _DTYPES[precision])
    read = load_tokenizer(path, revision) if tokenizer is None else load_tokenizer(tokenizer)
    return subject_of_model(model.to(device), read, shown_name(path))


def subject_of_model(model: nn.Module, tokenizer: Any, name: str = "model") -> Subject:
    """Wrap a model and a tokenizer that are in memory already, in the mode of the model.

    `model` has forward(input_ids, attention_mask=None, ...) and returns a tensor [rows, labels] or
    [rows, columns, labels], or an object with such logits, or with vectors of texts
    (sentence_embedding) or of tokens (last_hidden_state). Where there is no pad token, eos_token
    becomes it, as users do.
    """
    config = getattr(model, "config", None)
    facts = choose_pad(tokenizer, name) | _choose_pad_of(config, tokenizer)
    called = TorchModel(model, typed=gives_types(tokenizer))

    def predict(texts: Sequence[str]) -> Outputs:
        with quiet_transformers():
            inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        mask = inputs.get("attention_mask")
        return outputs_of(called.run(inputs), None if mask is None else mask.numpy())

    padded, dtype = _padded(called, tokenizer), _dtype_name(model)
    labels = labels_of(getattr(config, "id2label", None))
    reads, token_size = _kind(called, tokenizer, labels)
    return Subject(
        name=name,
        kind="transformers",
        predict=predict,
        labels=labels if reads == "classes" and not token_size else None,
        reads=reads,
        token_size=token_size,
        dtype=FloatFormat.named(dtype),
        facts=_facts(called, tokenizer, dtype) | facts,
        padded=padded,
        with_threads=torch_threads if called.device.type == "cpu" else None,
        lowered=lambda dtype: _lowered(called, padded, dtype),
    )


def _kind(
    called: TorchModel, tokenizer: Any, labels: tuple[str, ...] | None
) -> tuple[OutputKind, int]:
    """Return what the model's outputs are, and how many numbers each token has, by one text."""
    try:
        with quiet_transformers():
            inputs = tokenizer([SAMPLE_TEXTS[0]], truncation=True, return_tensors="pt")
        output = called.run(inputs)
        found = main_tensor(output)
    except Exception:  # noqa: BLE001  # the audit itself reports the error of a foreign model
        return "classes", 0
    kind, size = kind_of_outputs(found.detach().cpu().double().numpy(), labels)
    return "numbers" if gives_vectors(output) else kind, size


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise OptionError(f"device {device!r} is not a device of torch; use cpu or cuda") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {device!r}: this torch sees no CUDA device; use cpu")


def _load_model(path: str, revision: str | None, dtype: torch.dtype | None) -> Any:
    task = _stated_task(path, revision)
    name, described = _AUTO_MODELS[task]
    auto = getattr(audit_library("transformers"), name)
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
    except Exception as error:  # a broken file raises what its reader raises
        raise CheckpointError(
            f"{path}: transformers cannot load it as {described} from safetensors: {error}"
        ) from error
    _check_loaded(path, model, loaded, needs_pooler=task != "encoder")
    return model.eval()


def _stated_task(path: str, revision: str | None) -> str:
    """Return which kind of model the configuration names; a sequence classifier by default."""
    try:
        with quiet_transformers():
            config = audit_library("transformers").AutoConfig.from_pretrained(
                local_or_id(path), revision=revision, trust_remote_code=False
            )
    except Exception:  # noqa: BLE001  # loading the model raises it again, with its reason
        return "sequence"
    named = (getattr(config, "architectures", None) or [""])[0]
    if named.endswith("ForTokenClassification"):
        return "token"
    return "encoder" if named.endswith("Model") else "sequence"


def _check_loaded(path: str, model: Any, loaded: dict[str, Any], *, needs_pooler: bool) -> None:
    """Refuse missing tensors: transformers fills them with random numbers and only warns.

    The last hidden states need no pooler, and models of embeddings are saved without one.
    """
    missing = random_tensors(loaded)
    if not needs_pooler:
        missing = [name for name in missing if not name.startswith("pooler.")]
    if not missing:
        return
    listed = ", ".join(missing[:4]) + (" ..." if len(missing) > 4 else "")
    encoder = f"{model.base_model_prefix}."
    if not any(name.startswith(encoder) for name in missing):
        raise MissingHeadError(
            f"{path}: has no classification head ({listed} missing), so its results would be "
            "random; use a checkpoint that was trained to classify"
        )
    raise TensorMismatchError(f"{path}: tensors are missing or of the wrong shape: {listed}")


def _choose_pad_of(config: Any, tokenizer: Any) -> dict[str, str]:
    """Set config.pad_token_id: decoders find a row's last token by it, else refuse batches."""
    configs = {id(each): each for each in (config, _text_config(config)) if each is not None}
    without = [each for each in configs.values() if getattr(each, "pad_token_id", 0) is None]
    for each in without:
        each.pad_token_id = tokenizer.pad_token_id
    return {"config.pad_token_id": "there was none, so it was set"} if without else {}


def _text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else None


def _padded(model: TorchModel, tokenizer: Any) -> PaddedModel:
    ordinary = encode_with(tokenizer, SAMPLE_TEXTS[0])
    counting = read_counting(model, ordinary, tokenizer.pad_token_id)
    config = _text_config(getattr(model.model, "config", None))
    return replace(
        padded_model(tokenizer, model.forward, num_ids(model.model)),
        hidden=model.hidden if gives_hidden(model, ordinary) else None,
        positions_start=counting.start,
        max_tokens=max_tokens(config, counting),
        counts_pad_ids=counting.by_pad_ids,
        mixing_fault=mixing_fault(model.model),
    )


def _lowered(called: TorchModel, padded: PaddedModel, dtype: str) -> PaddedModel:
    """Make a copy with weights and activations in 16 bits."""
    if dtype not in ("float16", "bfloat16"):
        raise OptionError(f"dtype must be 'float16' or 'bfloat16', got {dtype!r}")
    lower = TorchModel(copy.deepcopy(called.model).to(_DTYPES[dtype]), typed=called.typed)
    return replace(padded, forward=lower.forward, hidden=padded.hidden and lower.hidden)


def _dtype_name(model: nn.Module) -> str | None:
    weight = next(model.parameters(), None)
    return None if weight is None else str(weight.dtype).removeprefix("torch.")


def _facts(called: TorchModel, tokenizer: Any, dtype: str | None) -> dict[str, str]:
    config = getattr(called.model, "config", None)
    facts = {
        "model": type(called.model).__name__,
        "model type": getattr(config, "model_type", None),
        "dtype": dtype,
        "attention": getattr(config, "_attn_implementation", None),
        "mode": "training" if called.model.training else "eval",
        "device": str(called.device),
        "threads": str(torch.get_num_threads()) if called.device.type == "cpu" else None,
        "instruction set": torch.backends.cpu.get_cpu_capability()
        if called.device.type == "cpu"
        else None,
        "attention_mask": None if called.takes("attention_mask") else "forward does not take it",
        "tokenizer": type(tokenizer).__name__,
        "padding side": padding_side(tokenizer),
        "transformers": audit_library("transformers").__version__,
        "torch": torch.__version__,
    }
    return {name: str(fact) for name, fact in facts.items() if fact is not None}

"""An ONNX graph and its tokenizer, as a Subject.

It knows the files that lie beside a graph. Invariant: the tokenizer is the one that was named, or
lies with the graph; none is guessed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isobatch.audit.subject import Answers, PaddedModel, Rectangle, Subject
from isobatch.audit.targets.libraries import audit_library, check_threads, quiet_transformers
from isobatch.audit.targets.onnx_graph import OnnxGraph, operators_with_one_scale
from isobatch.audit.targets.transformers_target import load_tokenizer
from isobatch.audit.targets.vocabulary import (
    filler_ids,
    names_with_id_of_pad,
    padding_side,
    settle_pad,
    tokenizer_limit,
)
from isobatch.checkpoint import TOKENIZER_FILES, read_json
from isobatch.errors import CheckpointError

_FROM_PADDING = (
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Model types that leave pads out by their ids as they count positions, from padding_idx + 1 on.

A graph cannot be asked for it: most have no position_ids.
"""


def open_onnx(
    file: str, *, tokenizer: str | Path | None = None, threads: int | None = None
) -> Subject:
    """Load the graph, and the tokenizer named or found in the graph's folder or the one above."""
    check_threads(threads)
    place = Path(file).expanduser()
    if not place.is_file():
        raise CheckpointError(f"{file}: no such file; name the graph itself, a file in ONNX")
    read = load_tokenizer(tokenizer or _folder_with(place, TOKENIZER_FILES, "tokenizer"))
    facts = settle_pad(read, file)
    config = _config(place)
    counts_pad_ids = config.get("model_type") in _FROM_PADDING
    pad_id = config.get("pad_token_id")
    first = pad_id + 1 if counts_pad_ids and isinstance(pad_id, int) else 0
    graph = OnnxGraph(place, threads, first)

    def answer(texts: Sequence[str]) -> Answers:
        with quiet_transformers():
            inputs = read(list(texts), padding=True, truncation=True, return_tensors="np")
        rectangle = Rectangle(inputs["input_ids"], inputs.get("attention_mask"))
        return graph.forward(rectangle, inputs.get("token_type_ids"))

    return Subject(
        name=place.name,
        kind="onnx",
        answer=answer,
        labels=_labels(config),
        facts=_facts(graph, read, threads) | facts,
        padded=_padded(graph, read, config, first),
        with_threads=graph.with_threads,
    )


def _padded(
    graph: OnnxGraph, tokenizer: Any, config: dict[str, Any], first_position: int
) -> PaddedModel:
    def encode(text: str) -> list[int]:
        with quiet_transformers():
            return [int(each) for each in tokenizer(text, truncation=True)["input_ids"]]

    length, vocab_size = config.get("max_position_embeddings"), config.get("vocab_size")
    return PaddedModel(
        encode=encode,
        forward=graph.forward,
        pad_id=tokenizer.pad_token_id,
        filler_ids=filler_ids(tokenizer, vocab_size),
        padding_side=padding_side(tokenizer),
        hidden=graph.hidden if graph.gives_hidden else None,
        positions_start=first_position if graph.takes("position_ids") else None,
        max_tokens=length - first_position if isinstance(length, int) and length > 0 else None,
        tokenizer_limit=tokenizer_limit(tokenizer),
        pad_is_also=names_with_id_of_pad(tokenizer),
        counts_pad_ids=config.get("model_type") in _FROM_PADDING,
        suspicious_parts=operators_with_one_scale(graph.file),
    )


def _folder_with(file: Path, names: Sequence[str], what: str) -> Path:
    for folder in (file.parent, file.parent.parent):
        if any((folder / name).is_file() for name in names):
            return folder
    raise CheckpointError(
        f"{file}: no {what} lies in its folder or the one above; name the folder of its tokenizer "
        "with --tokenizer"
    )


def _config(file: Path) -> dict[str, Any]:
    """config.json, where it lies with the graph."""
    for folder in (file.parent, file.parent.parent):
        if (folder / "config.json").is_file():
            return read_json(folder / "config.json")
    return {}


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    names = config.get("id2label")
    if not isinstance(names, dict) or not all(str(key).isdigit() for key in names):
        return None
    return tuple(str(names[key]) for key in sorted(names, key=int)) or None


def _facts(graph: OnnxGraph, tokenizer: Any, threads: int | None) -> dict[str, str]:
    missing = not graph.takes("attention_mask")
    return {
        "engine": f"ONNX Runtime {audit_library('onnxruntime').__version__}, CPU",
        "threads": str(threads) if threads else "as ONNX Runtime chooses",
        "tokenizer": type(tokenizer).__name__,
        "padding side": padding_side(tokenizer),
        **({"attention_mask": "the graph does not take it"} if missing else {}),
        "numpy": np.__version__,
    }

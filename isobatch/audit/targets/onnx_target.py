"""An ONNX graph in ONNX Runtime on the CPU, with its tokenizer, as a Subject.

Invariant: the tokenizer is the one that was named, or is in the graph's folder or the one above; it
is never guessed. A graph that needs an input which no text has is refused as it is opened.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.output_rows import from_rows
from isobatch.audit.subject import Outputs, Rectangle, Subject
from isobatch.audit.targets.output_reader import SAMPLE_TEXTS, kind_of_outputs
from isobatch.audit.targets.tokenizer_traits import (
    audit_library,
    choose_pad,
    labels_of,
    load_tokenizer,
    padded_model,
    padding_side,
    quiet_transformers,
)
from isobatch.checkpoint import TOKENIZER_FILES, read_json
from isobatch.errors import CheckpointError

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_HIDDEN = "last_hidden_state"
_OUTPUTS = ("logits", "sentence_embedding")
"""Names of outputs, in this order; without one, the first [rows, numbers], then the states."""


ONE_SCALE = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
"""Operators with one scale for a whole tensor of activations, which an outlier in it changes."""

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

It cannot be measured on a graph: most have no position_ids.
"""


def open_onnx(
    file: str, *, tokenizer: str | Path | None = None, threads: int | None = None
) -> Subject:
    """Load the graph, and the tokenizer named or found in the graph's folder or the one above."""
    place = Path(file).expanduser()
    if not place.is_file():
        raise CheckpointError(f"{file}: no such file; use an ONNX file")
    read = load_tokenizer(tokenizer or _tokenizer_folder(place))
    facts = choose_pad(read, file)
    folder = _folder_with(place, "config.json")
    config: dict[str, Any] = read_json(folder / "config.json") if folder else {}
    pad_id = config.get("pad_token_id")
    counts_pad_ids = config.get("model_type") in _FROM_PADDING
    first = pad_id + 1 if counts_pad_ids and isinstance(pad_id, int) else 0
    graph = OnnxGraph(place, threads, first)

    def predict(texts: Sequence[str]) -> Outputs:
        with quiet_transformers():
            inputs = read(list(texts), padding=True, truncation=True, return_tensors="np")
        rectangle = Rectangle(inputs["input_ids"], inputs.get("attention_mask"))
        return graph.forward(rectangle, inputs.get("token_type_ids"))

    sample = read([SAMPLE_TEXTS[0]], truncation=True, return_tensors="np")
    numbers = graph.numbers(Rectangle(sample["input_ids"], sample.get("attention_mask")))
    labels = labels_of(config.get("id2label"))
    reads, token_size = kind_of_outputs(numbers, labels)
    reads = "numbers" if graph.gives_vectors else reads
    length = config.get("max_position_embeddings")
    padded = replace(
        padded_model(read, graph.forward, config.get("vocab_size")),
        hidden=graph.hidden if graph.gives_hidden else None,
        positions_start=first if graph.takes("position_ids") else None,
        max_tokens=length - first if isinstance(length, int) and length > 0 else None,
        counts_pad_ids=counts_pad_ids,
        mixing_fault="tensor-wide-scales" if _has_one_scale(place) else None,
    )
    return Subject(
        name=place.name,
        kind="onnx",
        predict=predict,
        labels=labels if reads == "classes" and not token_size else None,
        reads=reads,
        token_size=token_size,
        facts=_facts(graph, read, threads) | facts,
        padded=padded,
        with_threads=graph.with_threads,
    )


def _folder_with(file: Path, *names: str) -> Path | None:
    """Return the graph's folder or the one above, whichever has a file of these names."""
    folders = (file.parent, file.parent.parent)
    return next((f for f in folders if any((f / name).is_file() for name in names)), None)


def _tokenizer_folder(file: Path) -> Path:
    if (folder := _folder_with(file, *TOKENIZER_FILES)) is None:
        raise CheckpointError(
            f"{file}: no tokenizer is in its folder or the one above; pass the folder of its "
            "tokenizer with --tokenizer"
        )
    return folder


def _facts(graph: "OnnxGraph", tokenizer: Any, threads: int | None) -> dict[str, str]:
    missing = not graph.takes("attention_mask")
    return {
        "engine": f"ONNX Runtime {audit_library('onnxruntime').__version__}, CPU",
        "threads": str(threads) if threads else "ONNX Runtime's default",
        "tokenizer": type(tokenizer).__name__,
        "padding side": padding_side(tokenizer),
        **({"attention_mask": "the graph does not take it"} if missing else {}),
        "numpy": np.__version__,
    }


class OnnxGraph:
    """The graph in `file`, called with arrays; its positions begin with `first_position`."""

    def __init__(self, file: Path, threads: int | None, first_position: int) -> None:
        self._file = file
        self._sessions: dict[int | None, Any] = {}
        self._threads = threads
        self._first_position = first_position
        session = self._session
        self._dtypes = {each.name: _DTYPES.get(each.type) for each in session.get_inputs()}
        unknown = [n for n, dtype in self._dtypes.items() if n not in _INPUTS or dtype is None]
        if unknown or "input_ids" not in self._dtypes:
            raise CheckpointError(
                f"{file}: its graph takes {', '.join(self._dtypes)}; a text classifier takes "
                f"input_ids, and perhaps {', '.join(_INPUTS[1:])}, as integers"
            )
        self._output = self._find_output(session.get_outputs())
        self.gives_hidden = _HIDDEN in [each.name for each in session.get_outputs()]

    def takes(self, name: str) -> bool:
        return name in self._dtypes

    def forward(self, rectangle: Rectangle, types: NDArray[Any] | None = None) -> Outputs:
        """Return the logits of a padded batch.

        A graph has no optional inputs. For None it gets what models assume then: a mask of ones,
        positions in order, and the type 0.
        """
        return self.outputs_of(self._run(self._output, rectangle, types), rectangle)

    @property
    def gives_vectors(self) -> bool:
        """Whether its output is one of vectors, by its name."""
        return self._output in (_OUTPUTS[1], _HIDDEN)

    def numbers(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """Return the logits, or vectors, as the graph returns them."""
        return self._run(self._output, rectangle, None)

    @staticmethod
    def outputs_of(found: NDArray[np.float64], rectangle: Rectangle) -> Outputs:
        """Return [rows, numbers]; of a graph that has a row for each column, those of the text."""
        if found.ndim < 3:
            return found.reshape(len(found), -1)
        tokens = rectangle.attention_mask if rectangle.tokens is None else rectangle.tokens
        if tokens is None:
            tokens = np.ones(found.shape[:2], dtype=np.int64)
        return from_rows([row[own == 1] for row, own in zip(found, tokens, strict=True)])

    def hidden(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """Return the last hidden states, where the graph has that output."""
        return self._run(_HIDDEN, rectangle, None)

    @contextmanager
    def with_threads(self, num_threads: int) -> Iterator[None]:
        """Compute with `num_threads` threads inside an operator."""
        before, self._threads = self._threads, num_threads
        try:
            yield
        finally:
            self._threads = before

    @property
    def _session(self) -> Any:
        """A session for the present number of threads, which is fixed when one is created."""
        if self._threads not in self._sessions:
            self._sessions[self._threads] = self._open(self._threads)
        return self._sessions[self._threads]

    def _open(self, threads: int | None) -> Any:
        runtime = audit_library("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings would go to stderr
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            return runtime.InferenceSession(
                str(self._file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no other class in common
            raise CheckpointError(f"{self._file}: ONNX Runtime cannot load it: {error}") from error

    def _run(
        self, output: str, rectangle: Rectangle, types: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        ids, mask = rectangle.input_ids, rectangle.attention_mask
        in_order = np.broadcast_to(self._first_position + np.arange(ids.shape[1]), ids.shape)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids) if mask is None else mask,
            "token_type_ids": np.zeros_like(ids) if types is None else types,
            "position_ids": in_order if rectangle.position_ids is None else rectangle.position_ids,
        }
        feeds = {
            name: np.ascontiguousarray(given[name], dtype=dtype)
            for name, dtype in self._dtypes.items()
        }
        (found,) = self._session.run([output], feeds)
        doubles: NDArray[np.float64] = np.asarray(found).astype(np.float64)
        return doubles

    def _find_output(self, outputs: Any) -> str:
        named = [name for name in _OUTPUTS for each in outputs if each.name == name]
        flat = [each.name for each in outputs if len(each.shape or ()) == 2]
        of_tokens = [each.name for each in outputs if each.name == _HIDDEN]
        if not named and not flat and not of_tokens:
            listed = ", ".join(f"{each.name} {each.shape}" for each in outputs)
            raise CheckpointError(
                f"{self._file}: its graph returns {listed}, and no logits [rows, labels] and no "
                "vectors. Export it with its head"
            )
        return str((named or flat or of_tokens)[0])


def _has_one_scale(file: Path) -> bool:
    """Look for a node with an operator of ONE_SCALE.

    A session cannot list its nodes, and the package `onnx`, which can, is not in the extra. A
    node's operator is field 4 of its message, so that it follows that field's tag and its length.
    """
    fields = [b"\x22" + bytes([len(name)]) + name.encode() for name in ONE_SCALE]
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(field) >= 0 for field in fields)

"""OnnxGraph: a graph in ONNX Runtime on the CPU, called with arrays by the names of its inputs.

It knows the session, and no tokenizer. Invariant: a graph that wants an input which no text has is
refused as it is opened.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.audit.subject import Answers, Rectangle
from isobatch.audit.targets.libraries import audit_library
from isobatch.errors import CheckpointError

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_HIDDEN = "last_hidden_state"

ONE_SCALE = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
"""Operators with one scale for a whole tensor of activations: a neighbour's outlier changes it."""


class OnnxGraph:
    """The graph in `file`; `first_position` is the id that its positions begin with."""

    def __init__(self, file: Path, threads: int | None, first_position: int) -> None:
        self.file = file
        self._sessions: dict[int | None, Any] = {}
        self._threads = threads
        self._first_position = first_position
        session = self._session
        self._dtypes = {each.name: _DTYPES.get(each.type) for each in session.get_inputs()}
        self._check_inputs()
        self._logits = self._find_logits(session.get_outputs())
        self.gives_hidden = _HIDDEN in [each.name for each in session.get_outputs()]

    def takes(self, name: str) -> bool:
        """Whether it has an input of that name."""
        return name in self._dtypes

    def forward(self, rectangle: Rectangle, types: NDArray[Any] | None = None) -> Answers:
        """Logits of a padded batch.

        A graph has no optional inputs. What is None is what models assume then: a mask of ones,
        positions in order, and the type 0.
        """
        logits = self._run(self._logits, rectangle, types)
        return logits.reshape(len(logits), -1)

    def hidden(self, rectangle: Rectangle) -> NDArray[np.float64]:
        """The last hidden states, where the graph gives them out."""
        return self._run(_HIDDEN, rectangle, None)

    @contextmanager
    def with_threads(self, num_threads: int) -> Iterator[None]:
        """Compute with so many threads inside an operator meanwhile."""
        before, self._threads = self._threads, num_threads
        try:
            yield
        finally:
            self._threads = before

    @property
    def _session(self) -> Any:
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
                str(self.file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no class above them but this
            raise CheckpointError(f"{self.file}: ONNX Runtime cannot load it: {error}") from error

    def _run(
        self, output: str, rectangle: Rectangle, types: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        ids, mask, positions = (
            rectangle.input_ids,
            rectangle.attention_mask,
            rectangle.position_ids,
        )
        in_order = np.broadcast_to(self._first_position + np.arange(ids.shape[1]), ids.shape)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids) if mask is None else mask,
            "token_type_ids": np.zeros_like(ids) if types is None else types,
            "position_ids": in_order if positions is None else positions,
        }
        feeds = {
            name: np.ascontiguousarray(given[name], dtype=dtype)
            for name, dtype in self._dtypes.items()
        }
        (found,) = self._session.run([output], feeds)
        doubles: NDArray[np.float64] = np.asarray(found).astype(np.float64)
        return doubles

    def _check_inputs(self) -> None:
        unknown = [n for n, dtype in self._dtypes.items() if n not in _INPUTS or dtype is None]
        if unknown or "input_ids" not in self._dtypes:
            raise CheckpointError(
                f"{self.file}: its graph takes {', '.join(self._dtypes)}; a text classifier takes "
                f"input_ids, and perhaps {', '.join(_INPUTS[1:])}, as integers"
            )

    def _find_logits(self, outputs: Any) -> str:
        named = [each.name for each in outputs if each.name == "logits"]
        flat = [each.name for each in outputs if len(each.shape or ()) == 2]
        if not named and not flat:
            listed = ", ".join(f"{each.name} {each.shape}" for each in outputs)
            raise CheckpointError(
                f"{self.file}: its graph gives {listed}, and no logits [rows, labels]; "
                "export it with its classification head"
            )
        return str((named or flat)[0])


def operators_with_one_scale(file: Path) -> dict[str, int]:
    """How often each of ONE_SCALE is in the graph.

    A session cannot list its nodes. A node's operator is field 4 of its message, so that it stands
    in the file behind that field's tag and its own length.
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        counts = {name: _occurrences(data, name) for name in ONE_SCALE}
    return {name: count for name, count in counts.items() if count}


def _occurrences(data: mmap.mmap, name: str) -> int:
    pattern = b"\x22" + bytes([len(name)]) + name.encode()
    count, found = 0, data.find(pattern)
    while found >= 0:
        count, found = count + 1, data.find(pattern, found + len(pattern))
    return count

"""ONNX graphs as targets: exported from a tiny model, quantized, and ones that cannot be used."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import MAX_TOKENS, Tiny, reference_model, write_checkpoint
from tokenizer_folders import write_bpe_folder, write_wordpiece_folder
from torch import Tensor, nn

from isobatch.audit.subject import PaddedModel, Rectangle, Subject
from isobatch.audit.targets import open_subject
from isobatch.errors import CheckpointError

onnx = pytest.importorskip("onnx", reason="graphs are exported by the package onnx")
pytest.importorskip("onnxruntime", reason="graphs are run by ONNX Runtime")

TEXTS = ["Today is a nice day!", "But what about tomorrow? Im not sure."]


class Bare(nn.Module):
    """Takes the named inputs by position and gives the bare logits."""

    def __init__(self, model: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


def export(folder: Path, *names: str) -> Path:
    """model.onnx next to the checkpoint in `folder`, with inputs of these names."""
    model = reference_model(folder)
    model.set_attn_implementation("eager")
    example = torch.arange(4, 22).view(2, 9)
    inputs = {name: torch.ones_like(example) for name in names} | {"input_ids": example}
    if "token_type_ids" in inputs:
        inputs["token_type_ids"] = torch.zeros_like(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about constants
        torch.onnx.export(
            Bare(model, names).eval(),
            tuple(inputs[name] for name in names),
            str(folder / "model.onnx"),
            input_names=list(names),
            output_names=["logits"],
            dynamic_axes={name: {0: "rows", 1: "length"} for name in names}
            | {"logits": {0: "rows"}},
            opset_version=17,
            dynamo=False,
        )
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("onnx"), Tiny("bert", num_labels=3))
    write_wordpiece_folder(folder)
    return export(folder, "input_ids", "attention_mask", "token_type_ids")


def padded_of(subject: Subject) -> PaddedModel:
    assert subject.padded is not None
    return subject.padded


def test_a_graph_answers_as_its_model(graph: Path) -> None:
    subject = open_subject(f"onnx:{graph}")
    expected = open_subject(f"transformers:{graph.parent}").predict(TEXTS)
    answers = subject.predict(TEXTS)
    assert (subject.kind, subject.name) == ("onnx", "model.onnx")
    assert np.abs(answers - expected).max() < 1e-4
    assert np.array_equal(answers, answers.astype(np.float32))
    assert subject.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert str(graph.parent) not in str(subject.facts)


def test_a_padded_graph(graph: Path) -> None:
    padded = padded_of(open_subject(f"onnx:{graph}"))
    reference = padded_of(open_subject(f"transformers:{graph.parent}"))
    ids = [*padded.encode(TEXTS[0]), *[padded.pad_id] * 3]
    mask = np.array([[1] * (len(ids) - 3) + [0] * 3])
    for given in (mask, None):
        question = Rectangle(np.array([ids]), given)
        assert np.abs(padded.forward(question) - reference.forward(question)).max() < 1e-4
    assert padded.filler_ids == reference.filler_ids
    assert (padded.max_tokens, padded.tokenizer_limit) == (MAX_TOKENS, 48)
    assert padded.positions_start is None
    assert not padded.counts_pad_ids
    assert padded.mixing_fault is None


def test_threads_make_a_session_of_their_own(graph: Path) -> None:
    subject = open_subject(f"onnx:{graph}", threads=1)
    assert subject.with_threads is not None
    assert subject.facts["threads"] == "1"
    with subject.with_threads(2):
        assert (
            np.abs(subject.predict(TEXTS) - open_subject(f"onnx:{graph}").predict(TEXTS)).max()
            < 1e-4
        )


def test_a_dynamically_quantized_graph_shows_by_its_parts(graph: Path, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    quantization.quantize_dynamic(graph, tmp_path / "int8.onnx")
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    assert any(node.op_type == "DynamicQuantizeLinear" for node in nodes)
    subject = open_subject(f"onnx:{tmp_path / 'int8.onnx'}", tokenizer=graph.parent)
    assert padded_of(subject).mixing_fault == "tensor-wide-scales"
    assert subject.predict(TEXTS).shape == (2, 3)


def test_a_tokenizer_is_found_in_the_folder_above_or_missing(graph: Path, tmp_path: Path) -> None:
    write_wordpiece_folder(tmp_path)
    below = tmp_path / "onnx" / "deep"
    below.mkdir(parents=True)
    (tmp_path / "onnx" / "model.onnx").write_bytes(graph.read_bytes())
    (below / "model.onnx").write_bytes(graph.read_bytes())
    assert open_subject(f"onnx:{tmp_path / 'onnx' / 'model.onnx'}").predict(TEXTS).shape == (2, 3)
    with pytest.raises(CheckpointError, match=r"no tokenizer is in .* --tokenizer"):
        open_subject(f"onnx:{below / 'model.onnx'}")


def test_weights_next_to_the_graph_are_found(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    onnx.save_model(
        model,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    subject = open_subject(f"onnx:{tmp_path / 'model.onnx'}", tokenizer=graph.parent)
    expected = open_subject(f"onnx:{graph}").predict(TEXTS)
    assert np.abs(subject.predict(TEXTS) - expected).max() < 1e-5


def test_a_graph_that_takes_positions_counts_as_its_family(tmp_path: Path) -> None:
    write_bpe_folder(write_checkpoint(tmp_path, Tiny("roberta")), "roberta")
    file = export(tmp_path, "input_ids", "attention_mask", "position_ids")
    subject = open_subject(f"onnx:{file}")
    padded = padded_of(subject)
    assert (padded.positions_start, padded.counts_pad_ids) == (2, True)
    assert padded.max_tokens == MAX_TOKENS
    expected = open_subject(f"transformers:{tmp_path}").predict(TEXTS[:1])
    assert np.abs(subject.predict(TEXTS[:1]) - expected).max() < 1e-4


def written(path: Path, inputs: dict[str, int], shape: list[int | str]) -> Path:
    """A graph that casts its first input."""
    helper, first = onnx.helper, next(iter(inputs))
    values = [helper.make_tensor_value_info(n, kind, ["r", "c"]) for n, kind in inputs.items()]
    output = helper.make_tensor_value_info("found", onnx.TensorProto.FLOAT, shape)
    nodes = [helper.make_node("Cast", [first], ["cast"], to=onnx.TensorProto.FLOAT)]
    nodes.append(
        helper.make_node("Unsqueeze", ["cast", "axes"], ["found"])
        if len(shape) == 3
        else helper.make_node("Identity", ["cast"], ["found"])
    )
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [2])
    built = helper.make_graph(nodes, "graph", values, [output], [axes])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(built, opset_imports=opsets, ir_version=9), path)
    return path


def test_a_graph_of_32_bit_ids_and_of_an_output_by_another_name(tmp_path: Path) -> None:
    write_wordpiece_folder(tmp_path)
    file = written(tmp_path / "m.onnx", {"input_ids": onnx.TensorProto.INT32}, ["r", "c"])
    subject = open_subject(f"onnx:{file}")
    ids = padded_of(subject).encode(TEXTS[0])
    assert subject.predict(TEXTS[:1])[0].tolist() == ids
    assert "does not take it" in subject.facts["attention_mask"]


def test_a_graph_that_wants_something_else_is_refused(tmp_path: Path) -> None:
    write_wordpiece_folder(tmp_path)
    kinds = {"input_ids": onnx.TensorProto.INT64, "pixel_values": onnx.TensorProto.FLOAT}
    with pytest.raises(CheckpointError, match="takes input_ids, pixel_values; a text classifier"):
        open_subject(f"onnx:{written(tmp_path / 'm.onnx', kinds, ['r', 'c'])}")


def test_a_graph_without_logits_is_refused(tmp_path: Path) -> None:
    write_wordpiece_folder(tmp_path)
    kinds = {"input_ids": onnx.TensorProto.INT64}
    with pytest.raises(CheckpointError, match="no logits"):
        open_subject(f"onnx:{written(tmp_path / 'm.onnx', kinds, ['r', 'c', 1])}")


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    write_wordpiece_folder(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"no graph at all")
    with pytest.raises(CheckpointError, match="ONNX Runtime cannot load it"):
        open_subject(f"onnx:{tmp_path / 'm.onnx'}")

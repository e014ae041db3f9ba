"""Checkpoints: every valid folder is read bit by bit, every other one is refused by name.

The hub is a small server on this machine that implements the part of its protocol that a download
needs; an unreachable hub is an address without a server.
"""

import gzip
import io
import json
import pickle
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import ClassVar

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_checkpoints import (
    BERT_FAMILIES,
    DECODERS,
    FAMILIES,
    ROTARY_FAMILIES,
    Tiny,
    TinyFolder,
    fill_randomly,
    reference_model,
    tiny_config,
)
from torch import Tensor

from isobatch.checkpoint import (
    ModelConfig,
    locate_checkpoint,
    parse_config,
    place_of,
    read_config,
    write_tensors,
)
from isobatch.convert import convert_checkpoint
from isobatch.errors import (
    CheckpointError,
    MissingHeadError,
    TensorMismatchError,
    UnsupportedModelError,
)
from isobatch.model import EncoderModel, read_model, read_packed_model

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
OUTPUT = "bert.encoder.layer.0.output.dense.weight"
HEADS = {
    "distilbert": ("pre_classifier.weight", "classifier.weight"),
    **dict.fromkeys(FAMILIES[2:], ("classifier.dense.weight", "classifier.out_proj.weight")),
    "bert": ("classifier.weight", "classifier.bias"),
    "deberta-v2": ("pooler.dense.weight", "classifier.weight"),
}
HEADS |= dict.fromkeys(ROTARY_FAMILIES, ("classifier.weight", "classifier.bias"))
HEADS |= {"albert": HEADS["bert"], "qwen3": ("score.weight",)}

Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A valid BERT checkpoint, to be corrupted."""
    return Path(shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "checkpoint"))


@pytest.fixture
def sharded(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """The same in several shards."""
    tiny = Tiny("bert", max_shard_size="30KB")
    return Path(shutil.copytree(tiny_folder(tiny), tmp_path / "sharded"))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder: Path, edit: Callable[[Tensors], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / SINGLE).items()}
    edit(tensors)
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def parameters_by_hub_name(model: EncoderModel, names: Sequence[str] = ()) -> Tensors:
    """The parameters by the names of the file, or by `names`; parts are put together."""
    family = model.config.family.spelled_as(names)
    parts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in model.named_parameters():
        place = place_of(family, name)
        parts.setdefault(place.name, {})[place.index] = tensor.detach()
    return {name: torch.cat([found[i] for i in range(len(found))]) for name, found in parts.items()}


def assert_same_tensors(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == torch.float32, name
        assert torch.equal(tensor, theirs[name]), name


# ------------------------------------------------------------------------------ valid folders


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_tensors_are_those_of_transformers_in_float32(
    model_type: str, dtype: str, tiny_folder: TinyFolder
) -> None:
    folder = tiny_folder(Tiny(model_type, dtype=dtype))
    theirs = {name: tensor.detach() for name, tensor in reference_model(folder).named_parameters()}
    assert_same_tensors(parameters_by_hub_name(read_model(folder), [*theirs]), theirs)


def test_shards_hold_the_same_as_one_file(folder: Path, sharded: Path) -> None:
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    assert not (sharded / SINGLE).exists()
    whole, parts = (parameters_by_hub_name(read_model(where)) for where in (folder, sharded))
    assert_same_tensors(parts, whole)


def test_norms_under_tensorflows_names_are_read(folder: Path) -> None:
    before = parameters_by_hub_name(read_model(folder))
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(tensors: Tensors) -> None:
        for name in [name for name in tensors if "LayerNorm" in name]:
            ending = name[name.index("LayerNorm") :]
            tensors[name.replace(ending, old[ending])] = tensors.pop(name)

    edit_tensors(folder, rename)
    assert "bert.embeddings.LayerNorm.gamma" in load_file(folder / SINGLE)
    assert_same_tensors(parameters_by_hub_name(read_model(folder)), before)


@pytest.mark.parametrize("model_type", BERT_FAMILIES)
@pytest.mark.parametrize("packed", [False, True], ids=("plain", "packed"))
def test_an_encoder_without_its_prefix_or_with_two_is_read_as_in_transformers(
    model_type: str, packed: bool, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    source = tiny_folder(Tiny(model_type, num_layers=1))
    base = read_config(source).family.prefix
    saved = load_file(source / SINGLE)
    renamed = {"none": {}, "two": {}}
    for name, tensor in saved.items():
        renamed["none"][name.removeprefix(base)] = tensor.clone()
        renamed["two"][base + name] = tensor.clone()
    for kind, tensors in renamed.items():
        folder = Path(shutil.copytree(source, tmp_path / kind))
        save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
        theirs, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True
        )
        assert not info["missing_keys"]
        if packed:
            read_packed_model(folder, torch.device("cpu"))
        else:
            ours = parameters_by_hub_name(read_model(folder))
            assert_same_tensors(ours, dict(theirs.named_parameters()))


@pytest.mark.parametrize(
    "buffer", ["bert.embeddings.position_ids", "bert.embeddings.token_type_ids"]
)
def test_buffers_of_old_files_are_tolerated(folder: Path, buffer: str) -> None:
    before = parameters_by_hub_name(read_model(folder))
    edit_tensors(folder, lambda tensors: tensors.update({buffer: torch.arange(512)[None]}))
    assert_same_tensors(parameters_by_hub_name(read_model(folder)), before)


def test_a_pretraining_head_next_to_the_classifier_is_tolerated(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: tensors.update({"cls.predictions.bias": torch.ones(9)}))
    assert "classifier.weight" in parameters_by_hub_name(read_model(folder))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_written_tensors_are_read_again(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    source = tiny_folder(Tiny(model_type))
    model = read_model(source)
    write_tensors(tmp_path, model.config.family, dict(model.named_parameters()))
    shutil.copy(source / "config.json", tmp_path)
    assert_same_tensors(parameters_by_hub_name(read_model(tmp_path)), load_file(source / SINGLE))


def test_the_model_does_not_change_with_its_file(folder: Path) -> None:
    model = read_model(folder)
    before = {name: tensor.clone() for name, tensor in parameters_by_hub_name(model).items()}
    with (folder / SINGLE).open("r+b") as file:
        file.seek(-4000, 2)
        file.write(b"\x11" * 4000)
    assert_same_tensors(parameters_by_hub_name(model), before)


def test_configurations_are_read_as_written(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("electra", num_heads=2, head_dim=32, num_layers=3, num_labels=3, dropout=0.25)
    config = read_config(tiny_folder(tiny))
    encoder = config.encoder
    assert (encoder.embedding_size, encoder.hidden_size) == (24, 64)
    (layer,) = {*encoder.layers}
    assert (layer.attention.num_heads, layer.attention.head_dim) == (2, 32)
    assert (encoder.num_layers, layer.intermediate_size, encoder.vocab_size) == (3, 48, 500)
    assert config.head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    dropout = config.dropout
    assert {dropout.embeddings, dropout.attention, dropout.head_input, dropout.classifier} == {0.25}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_takes_512_tokens_wherever_its_positions_begin(
    model_type: str, tiny_folder: TinyFolder
) -> None:
    assert read_config(tiny_folder(Tiny(model_type))).encoder.max_tokens == 512


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "activation"),
    [
        (1, None, "sigmoid"),
        (2, None, "softmax"),
        (3, None, "softmax"),
        (1, "regression", "none"),
        (3, "regression", "none"),
        (3, "multi_label_classification", "sigmoid"),
        (2, "single_label_classification", "softmax"),
    ],
)
def test_scores_are_made_as_by_transformers_pipeline(
    num_labels: int, problem_type: str | None, activation: str
) -> None:
    tiny = Tiny("bert", num_labels=num_labels, problem_type=problem_type)
    head = parse_config(json.loads(tiny_config(tiny).to_json_string())).head
    assert (head.num_labels, head.score_activation) == (num_labels, activation)


def test_labels_are_in_the_order_of_their_ids() -> None:
    labels = {str(index): f"<{index}>" for index in (10, 2, 0, 1, *range(3, 10))}
    assert config_with(id2label=labels).head.labels == tuple(f"<{index}>" for index in range(11))


# ------------------------------------------------------------------------- mismatched tensors


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("kind", ["AutoModelForMaskedLM", "AutoModel"])
def test_an_encoder_without_the_head_is_refused_and_the_head_is_named(
    kind: str, model_type: str, tmp_path: Path
) -> None:
    config = tiny_config(Tiny(model_type, num_layers=1))
    ending = kind.replace("Masked", "Causal") if model_type in DECODERS else kind
    fill_randomly(getattr(transformers, ending).from_config(config)).save_pretrained(tmp_path)
    with pytest.raises(MissingHeadError, match="no sequence-classification head") as caught:
        read_model(tmp_path)
    assert all(name in str(caught.value) for name in HEADS[model_type])


def _forget(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


def _add(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: torch.ones(3)})


def _cast(name: str, dtype: torch.dtype) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: tensors[name].to(dtype)})


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (_forget(OUTPUT), f"missing: {OUTPUT}"),
        (_forget("classifier.bias"), "missing: classifier.bias"),
        (_forget("bert.pooler.dense.weight"), "missing: bert.pooler.dense.weight"),
        (_add("bert.extra.weight"), "unexpected: bert.extra.weight"),
        (_add("bert.encoder.layer.2.output.dense.bias"), "unexpected: bert.encoder.layer.2"),
        (lambda t: t.update({OUTPUT: t[OUTPUT].T.contiguous()}), f"{OUTPUT} has shape [48, 32]"),
        (lambda t: t.update({OUTPUT: t[OUTPUT][None]}), f"{OUTPUT} has shape [1, 32, 48]"),
        (_cast(OUTPUT, torch.int64), f"{OUTPUT} has dtype torch.int64"),
        (_cast(OUTPUT, torch.int8), f"{OUTPUT} has dtype torch.int8"),
        (_cast(OUTPUT, torch.bool), f"{OUTPUT} has dtype torch.bool"),
        (_cast(OUTPUT, torch.complex64), f"{OUTPUT} has dtype torch.complex64"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=("plain", "packed"))
def test_tensors_that_are_not_those_of_the_configuration_are_named(
    folder: Path, packed: bool, edit: Callable[[Tensors], object], complaint: str
) -> None:
    edit_tensors(folder, edit)
    with pytest.raises(TensorMismatchError) as caught:
        read_packed_model(folder, torch.device("cpu")) if packed else read_model(folder)
    assert complaint in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_wider_configuration_than_its_tensors_names_shape_and_wish(folder: Path) -> None:
    edit_json(folder / "config.json", intermediate_size=64)
    with pytest.raises(TensorMismatchError, match=r"has shape \[48.*config.json implies \[64"):
        read_model(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_a_checkpoint_error(folder: Path, value: float) -> None:
    edit_tensors(folder, lambda tensors: tensors[OUTPUT][3].fill_(value))
    with pytest.raises(CheckpointError) as caught:
        read_packed_model(folder, torch.device("cpu"))
    assert OUTPUT in str(caught.value)


# --------------------------------------------------------------------------------- corrupt files


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        pytest.param(_cut(0), "is empty (0 bytes). Copy or download it again", id="empty"),
        pytest.param(_cut(0.0001), "truncated or not a safetensors file", id="header cut"),
        pytest.param(_cut(0.5), "truncated: it has ", id="half"),
        pytest.param(lambda content: content[:-1], "truncated: it has ", id="a byte short"),
        pytest.param(lambda content: content + b"0", "longer than its header says", id="longer"),
        pytest.param(
            lambda _: b"version https://git-lfs.github.com/spec/v1\n",
            "is a Git LFS pointer",
            id="lfs pointer",
        ),
        pytest.param(
            lambda _: b"<!doctype html><title>Sign in</title>", "is a web page", id="web page"
        ),
        pytest.param(gzip.compress, "is compressed (gzip)", id="gzip"),
    ],
)
def test_a_corrupt_file_is_refused_and_named(
    folder: Path, damage: Callable[[bytes], bytes], complaint: str
) -> None:
    path = folder / SINGLE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=re.escape(complaint)) as caught:
        read_model(folder)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_without_tensors_is_refused(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: tensors.clear())
    with pytest.raises(CheckpointError, match="contain no tensors"):
        read_model(folder)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / SINGLE).unlink()
    with pytest.raises(CheckpointError, match=f"contains neither {SINGLE} nor {INDEX}"):
        read_model(folder)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    lost = sorted(sharded.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(CheckpointError, match="names shards that do not exist") as caught:
        read_model(sharded)
    assert lost.name in str(caught.value)


def test_a_torn_shard_is_named(sharded: Path) -> None:
    torn = sorted(sharded.glob("model-*.safetensors"))[1]
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated: it has ") as caught:
        read_model(sharded)
    assert str(torn) in str(caught.value)


def test_a_tensor_of_the_index_that_no_shard_holds_is_named(sharded: Path) -> None:
    weight_map = json.loads((sharded / INDEX).read_text())["weight_map"]
    weight_map["bert.lost.weight"] = next(iter(weight_map.values()))
    edit_json(sharded / INDEX, weight_map=weight_map)
    with pytest.raises(TensorMismatchError, match=r"no shard contains .*bert\.lost\.weight"):
        read_model(sharded)


@pytest.mark.parametrize("weight_map", [{}, None, ["model.safetensors"]])
def test_an_index_without_a_weight_map_is_refused(sharded: Path, weight_map: object) -> None:
    edit_json(sharded / INDEX, weight_map=weight_map)
    with pytest.raises(CheckpointError, match="has no weight_map"):
        read_model(sharded)


# ---------------------------------------------------------------------------------- config.json


def config_with(**changes: object) -> ModelConfig:
    return parse_config(json.loads(tiny_config(Tiny("bert")).to_json_string()) | changes)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"model_type": "bert",\n  "hidden_size": 32,\n', "config.json:3:1: "),
        ('{"model_type": "bert"\n "hidden_size": 32}', "config.json:2:2: "),
        ("", "config.json: is empty (0 bytes)"),
        ('["bert"]', "config.json: contains list, expected a JSON object"),
        ("null", "config.json: contains NoneType, expected a JSON object"),
        (b"\xff\xfe\x00", "config.json: cannot be read"),
        ("[" * 100_000, "config.json"),
    ],
    ids=("torn", "comma", "empty", "list", "null", "binary", "deep"),
)
def test_a_broken_configuration_is_refused_at_its_place(
    folder: Path, content: str | bytes, complaint: str
) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    (folder / "config.json").write_bytes(raw)
    with pytest.raises(CheckpointError) as caught:
        read_config(folder)
    assert complaint in str(caught.value)


def test_a_folder_without_a_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        read_config(folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported; supported: distilbert"),
        ({"model_type": "BERT"}, "supported: distilbert, bert, roberta"),
        ({"model_type": ["bert"]}, "model_type ['bert'] is not supported"),
        ({"is_decoder": True}, "is_decoder is true"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' is not supported"),
        ({"position_embedding_type": "relative_key_query"}, "is not supported"),
    ],
)
def test_an_unsupported_configuration_is_refused(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        config_with(**changes)
    assert complaint in str(caught.value)


def test_an_activation_that_is_not_implemented_is_refused_with_the_folder(folder: Path) -> None:
    edit_json(folder / "config.json", hidden_act="xielu")
    with pytest.raises(UnsupportedModelError, match="'xielu' is not supported"):
        read_model(folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hidden_size": 0}, "hidden_size must be a positive integer, got 0"),
        ({"hidden_size": 32.0}, "hidden_size must be a positive integer, got 32.0"),
        ({"num_hidden_layers": True}, "num_hidden_layers must be a positive integer, got True"),
        ({"vocab_size": "500"}, "vocab_size must be a positive integer, got '500'"),
        ({"num_attention_heads": 5}, "hidden_size 32 is not a multiple of the 5 heads"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps must be a small number, got 'tiny'"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps must be a small number, got -1.0"),
        ({"pad_token_id": 500}, "pad_token_id 500 is not an id of the 500 tokens"),
        ({"hidden_act": None}, 'hidden_act must be a name such as "gelu", got None'),
        ({"id2label": {"0": None, "1": "B"}}, "the label null, which is not a text"),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is unknown"),
        ({"id2label": {"zero": "A", "1": "B"}}, "id2label has a key that is not a number"),
        ({"id2label": {"0": "A", "2": "B"}}, "id2label must have the keys 0 to 1, got [0, 2]"),
        ({"id2label": ["A", "B"]}, "id2label"),
        ({"id2label": "AB"}, "id2label"),
        ({"id2label": {"0": "A", "1": "A"}}, "id2label"),
        ({"id2label": None, "num_labels": 0}, "num_labels must be a positive integer, got 0"),
        ({"id2label": None, "num_labels": "2"}, "num_labels must be a positive integer, got '2'"),
        ({"hidden_dropout_prob": "some"}, "hidden_dropout_prob"),
        ({"hidden_dropout_prob": [0.1]}, "hidden_dropout_prob"),
        ({"attention_probs_dropout_prob": 3}, "attention_probs_dropout_prob"),
    ],
    ids=str,
)
def test_an_invalid_setting_is_refused_by_its_key(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        config_with(**changes)
    assert complaint in str(caught.value)


def test_a_roberta_without_pad_token_id_is_refused_since_positions_are_counted_from_it() -> None:
    raw = json.loads(tiny_config(Tiny("roberta")).to_json_string())
    with pytest.raises(CheckpointError, match="pad_token_id is missing"):
        parse_config(raw | {"pad_token_id": None})


# -------------------------------------------------------------------------------------- pickles


class Planted:
    """Unpickling it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_pickle_is_refused_unread_and_the_fix_is_named(
    folder: Path, tmp_path: Path, name: str
) -> None:
    mark = tmp_path / "it ran"
    (folder / SINGLE).unlink()
    (folder / name).write_bytes(pickle.dumps(Planted(mark)))
    with pytest.raises(CheckpointError, match=f"has only {name}, and pickles are never") as caught:
        read_model(folder)
    assert f"onvert it once: isobatch convert {folder} {folder}-converted" in str(caught.value)
    assert not mark.exists()
    pickle.loads((folder / name).read_bytes())
    assert mark.exists(), "the control: the planted pickle does act"


def test_an_index_that_names_a_pickle_is_refused_unread(sharded: Path, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    (sharded / "weights.bin").write_bytes(pickle.dumps(Planted(mark)))
    weight_map = json.loads((sharded / INDEX).read_text())["weight_map"]
    edit_json(sharded / INDEX, weight_map=dict.fromkeys(weight_map, "weights.bin"))
    with pytest.raises(CheckpointError, match="not a safetensors file but a pickle"):
        read_model(sharded)
    assert not mark.exists()


# ------------------------------------------------------------------------------------- location


def test_a_folder_is_used_directly(folder: Path) -> None:
    assert locate_checkpoint(folder) == locate_checkpoint(str(folder)) == folder


def test_a_folder_wins_over_a_hub_id_of_the_same_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert locate_checkpoint("checkpoint") == Path("checkpoint")


def test_a_file_is_refused_with_a_hint_to_name_its_folder(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file"):
        locate_checkpoint(folder / SINGLE)


COMMIT, TAGGED = "a" * 40, "b" * 40
HUB_FILES = {
    "README.md": b"# hello",
    "config.json": b'{"model_type": "bert"}',
    "tokenizer.json": b"{}",
    "vocab.txt": b"[PAD]",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"a pickle",
    "training_args.bin": b"a pickle",
    "tf_model.h5": b"another",
    "modeling_custom.py": b"raise SystemExit",
    "onnx/model.onnx": b"a graph",
    "checkpoint-500/model.safetensors": b"other weights",
    "checkpoint-500/config.json": b"{}",
}


class FakeHub(BaseHTTPRequestHandler):
    """The hub's protocol of downloads: one model at main and at the tag v1."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[Mapping[str, bytes]] = HUB_FILES
    requested: ClassVar[set[str]] = set()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/")
        for name, commit in (("main", COMMIT), ("v1", TAGGED), (COMMIT, COMMIT), (TAGGED, TAGGED)):
            if path == f"api/models/some/model/revision/{name}":
                listed = [{"rfilename": name} for name in self.files]
                found = {"id": "some/model", "sha": commit, "siblings": listed}
                return self.respond(json.dumps(found).encode())
            if path == f"api/models/some/model/tree/{name}":
                return self.respond(json.dumps([*map(self.entry, self.files)]).encode())
            if (file := path.removeprefix(f"some/model/resolve/{name}/")) in self.files:
                self.requested.add(file)
                return self.respond(
                    self.files[file], {"ETag": f'"{file}"', "X-Repo-Commit": commit}
                )
        known = path.startswith("api/models/some/model/")
        code = "RevisionNotFound" if known else "RepoNotFound"
        return self.respond(b"{}", {"X-Error-Code": code}, status=404)

    def entry(self, path: str) -> dict[str, object]:
        return {"type": "file", "path": path, "size": len(self.files[path]), "oid": "0" * 40}

    def respond(
        self, content: bytes, headers: dict[str, str] | None = None, status: int = 200
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Portal(FakeHub):
    """A captive portal: a page to sign in, for every address."""

    def do_GET(self) -> None:
        self.respond(b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"})


class HangUp(FakeHub):
    """Closes the connection without a response."""

    def do_GET(self) -> None:
        self.close_connection = True


class BreakOff(FakeHub):
    """Stops in the middle of the weights."""

    def respond(
        self, content: bytes, headers: dict[str, str] | None = None, status: int = 200
    ) -> None:
        super().respond(content[: len(content) // 2] if content == b"weights" else content, headers)
        self.close_connection = content == b"weights"

    def send_header(self, keyword: str, value: str) -> None:
        torn = (keyword, value) == ("Content-Length", str(len(b"weights") // 2))
        super().send_header(keyword, str(len(b"weights")) if torn else value)


class Broken(FakeHub):
    """An internal error for every address."""

    def do_GET(self) -> None:
        self.respond(b"{}", status=500)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Call it with an address, and that is where the hub is; its cache is empty."""
    constants = huggingface_hub.constants
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()

    def at(address: str) -> None:
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + template)

    yield at
    huggingface_hub.close_session()


@pytest.fixture
def serve(hub: Callable[[str], None]) -> Iterator[Callable[[type[FakeHub]], None]]:
    """Call it with a handler, and that is the hub."""
    servers: list[ThreadingHTTPServer] = []

    def as_hub(handler: type[FakeHub]) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        hub(f"http://127.0.0.1:{server.server_port}")

    FakeHub.requested.clear()
    yield as_hub
    huggingface_hub.close_session()  # or the server waits for its next request
    for server in servers:
        server.shutdown()
        server.server_close()


Serve = Callable[[type[FakeHub]], None]


def test_the_hub_gives_the_files_of_a_checkpoint_and_no_pickle_or_code(serve: Serve) -> None:
    serve(FakeHub)
    folder = locate_checkpoint("some/model")
    wanted = {"config.json", "tokenizer.json", "vocab.txt", "model.safetensors", "README.md"}
    assert {path.name for path in folder.iterdir() if path.is_file()} == wanted
    assert all((folder / name).read_bytes() == HUB_FILES[name] for name in wanted)
    assert not {
        name for name in FakeHub.requested if name.endswith((".bin", ".h5", ".py", ".onnx"))
    }


def test_to_convert_it_the_hub_gives_pickles_of_weights_and_no_other(
    serve: Serve, folder: Path, tmp_path: Path
) -> None:
    saved = io.BytesIO()
    torch.save(load_file(folder / SINGLE), saved)
    config = (folder / "config.json").read_bytes()

    class WithoutSafetensors(FakeHub):
        files: ClassVar[Mapping[str, bytes]] = {
            name: content for name, content in HUB_FILES.items() if name != SINGLE
        } | {"pytorch_model.bin": saved.getvalue(), "config.json": config}

    serve(WithoutSafetensors)
    with pytest.raises(CheckpointError, match="isobatch convert some/model model --revision") as no:
        read_model(locate_checkpoint("some/model"))
    assert not {name for name in FakeHub.requested if name.endswith(".bin")}
    assert str(no.value).endswith("then load model")
    report = convert_checkpoint("some/model", tmp_path / "out", revision=COMMIT)
    assert report.read == ("pytorch_model.bin",)
    assert {name for name in FakeHub.requested if name.endswith((".bin", ".h5", ".py"))} == {
        "pytorch_model.bin"
    }
    expected = load_file(folder / SINGLE)
    found = load_file(tmp_path / "out" / SINGLE)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_safetensors_on_the_hub_are_preferred_to_a_pickle(serve: Serve) -> None:
    serve(FakeHub)
    folder = locate_checkpoint("some/model", to_convert=True)
    assert (folder / SINGLE).read_bytes() == b"weights"
    assert not {name for name in FakeHub.requested if name.endswith(".bin")}


def test_weights_that_are_not_on_the_hub_in_a_format_to_convert_are_described(
    serve: Serve, tmp_path: Path
) -> None:
    class OnlyTensorFlow(FakeHub):
        files: ClassVar[Mapping[str, bytes]] = {
            name: HUB_FILES[name] for name in ("config.json", "tf_model.h5")
        }

    serve(OnlyTensorFlow)
    with pytest.raises(CheckpointError, match="neither safetensors nor PyTorch") as caught:
        convert_checkpoint("some/model", tmp_path / "out")
    assert "from_pretrained('some/model', from_tf=True)" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_checkpoint_of_a_subfolder_is_downloaded(serve: Serve) -> None:
    serve(FakeHub)
    locate_checkpoint("some/model")
    assert not {name for name in FakeHub.requested if "/" in name}


def test_a_revision_is_its_own_folder(serve: Serve) -> None:
    serve(FakeHub)
    tagged, latest = locate_checkpoint("some/model", "v1"), locate_checkpoint("some/model")
    assert (tagged.name, latest.name) == (TAGGED, COMMIT)


@pytest.mark.parametrize(("name", "revision"), [("some/other", None), ("some/model", "v2")])
def test_a_name_or_revision_unknown_to_the_hub_is_refused_with_its_name(
    serve: Serve, name: str, revision: str | None
) -> None:
    serve(FakeHub)
    with pytest.raises(CheckpointError, match=f"^{name}: no such folder, and the hub rejected it"):
        locate_checkpoint(name, revision)


def test_a_downloaded_checkpoint_is_found_without_the_hub(
    serve: Serve, hub: Callable[[str], None]
) -> None:
    serve(FakeHub)
    downloaded = locate_checkpoint("some/model")
    hub(dead_address())
    assert locate_checkpoint("some/model") == downloaded


def dead_address() -> str:
    """An address without a server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_without_the_hub_a_name_is_refused_at_once(hub: Callable[[str], None]) -> None:
    hub(dead_address())
    start = monotonic()
    with pytest.raises(CheckpointError, match="some/model: no such folder, and the hub is unreach"):
        locate_checkpoint("some/model")
    assert monotonic() - start < 5


def test_offline_a_name_is_refused_at_once(
    hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    start = monotonic()
    with pytest.raises(CheckpointError, match="some/model: no such folder, and the hub is unreach"):
        locate_checkpoint("some/model")
    assert monotonic() - start < 5


@pytest.mark.parametrize("path", ["no/such/folder", "/no/such/folder", "./nowhere", "a b"])
def test_a_missing_path_is_refused_without_a_request_to_the_hub(
    hub: Callable[[str], None], path: str
) -> None:
    hub(dead_address())
    with pytest.raises(CheckpointError, match="no such folder") as caught:
        locate_checkpoint(path)
    assert path in str(caught.value)


@pytest.mark.parametrize("handler", [Portal, HangUp, BreakOff, Broken])
def test_an_invalid_response_of_the_hub_is_a_checkpoint_error(
    serve: Serve, handler: type[FakeHub]
) -> None:
    serve(handler)
    with pytest.raises(CheckpointError, match="some/model: "):
        locate_checkpoint("some/model")


def test_a_hub_that_never_responds_times_out_within_ten_seconds(
    hub: Callable[[str], None],
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with socket.create_server(("127.0.0.1", 0)) as server:
            hub(f"http://127.0.0.1:{server.getsockname()[1]}")
            asking = pool.submit(locate_checkpoint, "some/model")
            _, waiting = wait([asking], timeout=10)
        error = asking.exception(timeout=5)  # closing the server ends the longest wait
    assert not waiting
    assert isinstance(error, CheckpointError)

"""`convert_checkpoint`: each format gives the tensors that were saved, bit by bit, or no folder."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from tiny_checkpoints import DECODERS, FAMILIES, Tiny, TinyFolder, fill_randomly, tiny_config
from tokenizer_folders import write_wordpiece_folder
from torch import Tensor

from isobatch.checkpoint import read_own_config, read_tensors
from isobatch.convert import ConvertReport, convert_checkpoint
from isobatch.errors import (
    CheckpointError,
    IsobatchError,
    MissingHeadError,
    OptionError,
    TensorMismatchError,
)
from isobatch.model import empty_model, parameter_shapes, read_model

BIN, SINGLE = "pytorch_model.bin", "model.safetensors"
WORDS = "bert.embeddings.word_embeddings.weight"
NORM = "bert.embeddings.LayerNorm"
BERT = Tiny("bert", num_layers=1)

Tensors = dict[str, Tensor]


def pickled(
    source: Path, folder: Path, name: str = BIN, wrap: Callable[[Tensors], object] = dict
) -> Path:
    """A copy of `source` whose weights are in a file of torch.save."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    torch.save(wrap(load_file(folder / SINGLE)), folder / name)
    (folder / SINGLE).unlink()
    return folder


@pytest.fixture
def folder(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A BERT with pytorch_model.bin alone."""
    return pickled(tiny_folder(BERT), tmp_path / "model")


def edited(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    torch.save(change(torch.load(folder / BIN, weights_only=True)), folder / BIN)
    return folder


def assert_same(out: Path, source: Path) -> None:
    found, expected = load_file(out / SINGLE), load_file(source / SINGLE)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


# ---------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_pickle_of_every_family_gives_its_tensors(
    model_type: str, legacy: bool, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    source = tiny_folder(Tiny(model_type, num_layers=1))
    folder = pickled(source, tmp_path / "model")
    if legacy:
        held = torch.load(folder / BIN, weights_only=True)
        torch.save(held, folder / BIN, _use_new_zipfile_serialization=False)
    report = convert_checkpoint(folder, tmp_path / "out")
    assert_same(tmp_path / "out", source)
    assert report.read == (BIN,)
    assert report.written.family == model_type
    assert (report.source_bytes, report.out_bytes) == (
        (folder / BIN).stat().st_size,
        (tmp_path / "out" / SINGLE).stat().st_size,
    )
    assert not report.written.renamed
    assert not report.written.dropped
    assert (tmp_path / "out/config.json").read_bytes() == (source / "config.json").read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_dtype_is_kept(dtype: str, tiny_folder: TinyFolder, tmp_path: Path) -> None:
    source = tiny_folder(Tiny("bert", num_layers=1, dtype=dtype))
    report = convert_checkpoint(pickled(source, tmp_path / "model"), tmp_path / "out")
    assert_same(tmp_path / "out", source)
    assert report.written.dtypes == {dtype: report.written.num_tensors}


def test_shards_become_one_file(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    source, folder = tiny_folder(BERT), tmp_path / "model"
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    held = load_file(source / SINGLE)
    parts = [dict(list(held.items())[number::3]) for number in range(3)]
    weight_map = {}
    for number, part in enumerate(parts, 1):
        name = f"pytorch_model-{number:05}-of-00003.bin"
        torch.save(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    (folder / f"{BIN}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    report = convert_checkpoint(folder, tmp_path / "out")
    assert_same(tmp_path / "out", source)
    assert len(report.read) == 3


def test_safetensors_in_shards_become_one_file_too(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    sharded = tiny_folder(Tiny("bert", max_shard_size="30KB"))
    convert_checkpoint(sharded, tmp_path / "out")
    assert_same(tmp_path / "out", tiny_folder(Tiny("bert")))


@pytest.mark.parametrize("name", ["last.ckpt", "best.pt", "model.pth", "weights.bin"])
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module", None])
def test_a_state_dict_of_a_trainer_is_found(
    name: str, key: str | None, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    def wrap(held: Tensors) -> object:
        return held if key is None else {"epoch": 3, key: held, "optimizer": [torch.ones(2)]}

    folder = pickled(tiny_folder(BERT), tmp_path / "model", name, wrap)
    for other in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
        (folder / other).write_bytes(b"a pickle of the trainer")
    report = convert_checkpoint(folder, tmp_path / "out")
    assert_same(tmp_path / "out", tiny_folder(BERT))
    assert [*report.written.dropped] == ([] if key is None else ["epoch", "optimizer"])


def test_of_several_state_dicts_the_user_names_one(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = pickled(tiny_folder(BERT), tmp_path / "model", "best.ckpt")
    shutil.copy(folder / "best.ckpt", folder / "last.ckpt")
    with pytest.raises(OptionError, match=r"has best.ckpt, last.ckpt. Specify the one") as caught:
        convert_checkpoint(folder, tmp_path / "out")
    assert str(caught.value).endswith(str(folder / "best.ckpt"))
    convert_checkpoint(folder / "best.ckpt", tmp_path / "out")
    assert_same(tmp_path / "out", tiny_folder(BERT))


# ------------------------------------------------------------------------------------------ names


def test_tensorflow_s_names_of_norms_are_renamed(folder: Path, tmp_path: Path) -> None:
    def rename(held: Tensors) -> Tensors:
        return {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in held.items()
        }

    expected = torch.load(folder / BIN, weights_only=True)
    report = convert_checkpoint(edited(folder, rename), tmp_path / "out")
    found = load_file(tmp_path / "out" / SINGLE)
    assert found.keys() == expected.keys()
    assert report.written.renamed[f"{NORM}.gamma"] == f"{NORM}.weight"
    assert report.written.reasons == (
        "gamma and beta of LayerNorm are weight and bias (TensorFlow)",
    )


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "net.", "my.own."])
def test_prefixes_of_wrappers_are_taken_off(prefix: str, folder: Path, tmp_path: Path) -> None:
    expected = torch.load(folder / BIN, weights_only=True)
    edited(folder, lambda held: {prefix + name: tensor for name, tensor in held.items()})
    report = convert_checkpoint(folder, tmp_path / "out")
    found = load_file(tmp_path / "out" / SINGLE)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert len(report.written.renamed) == len(expected) == len(found)
    assert repr(prefix) in report.written.reasons[0]


def test_two_tensors_that_would_have_one_name_are_rejected(folder: Path, tmp_path: Path) -> None:
    edited(folder, lambda held: held | {f"{NORM}.beta": torch.ones(32)})
    with pytest.raises(TensorMismatchError, match=rf"{NORM}.bias, {NORM}.beta would have the same"):
        convert_checkpoint(folder, tmp_path / "out")
    report = convert_checkpoint(folder, tmp_path / "out", drop=[f"{NORM}.beta"])
    assert report.written.dropped == {f"{NORM}.beta": f"as asked for: --drop {NORM}.beta"}


def test_other_tensors_are_dropped_only_if_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    edited(folder, lambda held: held | {"loss_fct.weight": torch.ones(2)})
    with pytest.raises(
        TensorMismatchError, match=r"unexpected: loss_fct.weight.*--drop=loss_fct\."
    ):
        convert_checkpoint(folder, tmp_path / "out")
    convert_checkpoint(folder, tmp_path / "out", drop=["loss_fct."])
    assert "loss_fct.weight" not in load_file(tmp_path / "out" / SINGLE)


def test_a_prefix_that_no_tensor_has_is_rejected(folder: Path, tmp_path: Path) -> None:
    for prefix in ("loss", ""):
        with pytest.raises(OptionError, match=r"no tensor of .* has a name that begins so"):
            convert_checkpoint(folder, tmp_path / "out", drop=[prefix])


# ----------------------------------------------------------------------------------------- memory


def test_tied_weights_are_written_once(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    """As in a file of BERT's pre-training, whose decoder shares the word table."""
    model = transformers.AutoModelForPreTraining.from_config(tiny_config(BERT))
    fill_randomly(model).save_pretrained(tmp_path / "model")
    held = model.state_dict()
    decoder = "cls.predictions.decoder.weight"
    assert held[decoder].data_ptr() == held[WORDS].data_ptr()
    torch.save(held, tmp_path / "model" / BIN)
    (tmp_path / "model" / SINGLE).unlink()
    report = convert_checkpoint(tmp_path / "model", tmp_path / "out")
    assert report.written.dropped == {decoder: f"shares its memory with {WORDS}"}
    assert report.written.task == "feature-extraction"
    again = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "out")
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, held[name]), name


def test_tied_weights_of_other_architectures_are_written_once(tmp_path: Path) -> None:
    """The word table of T5 has three names, and is most of a small model."""
    config = transformers.T5Config(
        vocab_size=2000, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, num_labels=2
    )
    model = transformers.T5ForSequenceClassification(config)
    write_wordpiece_folder(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    torch.save(model.state_dict(), tmp_path / "model" / BIN)
    (tmp_path / "model" / SINGLE).unlink()
    report = convert_checkpoint(tmp_path / "model", tmp_path / "out")
    assert len(report.written.dropped) >= 2
    again = transformers.T5ForSequenceClassification.from_pretrained(tmp_path / "out")
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_views_and_equal_tensors_get_memory_of_their_own(folder: Path, tmp_path: Path) -> None:
    key, value = (f"bert.encoder.layer.0.attention.self.{part}.weight" for part in ("key", "value"))

    def share(held: Tensors) -> Tensors:
        flat = torch.cat([held[WORDS].flatten(), torch.ones(7)])
        return held | {
            WORDS: flat[:-7].view(held[WORDS].shape),
            "classifier.weight": held["classifier.weight"].T.contiguous().T,
            value: held[key],
        }

    edited(folder, share)
    expected = torch.load(folder / BIN, weights_only=True)
    assert expected[key].data_ptr() == expected[value].data_ptr()
    convert_checkpoint(folder, tmp_path / "out")
    found = load_file(tmp_path / "out" / SINGLE)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_tensor_that_repeats_a_number_is_rejected(folder: Path, tmp_path: Path) -> None:
    """400 GB of one stored number, under a name that the family ignores."""
    repeated = torch.zeros(1).expand(100_000_000_000)
    edited(folder, lambda held: held | {"cls.predictions.bias": repeated})
    with pytest.raises(CheckpointError, match="they repeat what is stored"):
        convert_checkpoint(folder, tmp_path / "out")


# ------------------------------------------------------------------------------------------ checks


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda held: held | {WORDS: torch.ones(3, 32)}, TensorMismatchError, "has shape [3, 32]"),
        (lambda held: held | {WORDS: held[WORDS].long()}, TensorMismatchError, "torch.int64"),
        (lambda held: held | {WORDS: held[WORDS] * torch.nan}, CheckpointError, WORDS),
        (
            lambda held: {name: held[name] for name in held if "classifier" not in name},
            MissingHeadError,
            "no sequence-classification head",
        ),
        (
            lambda held: {name: held[name] for name in held if name != WORDS},
            TensorMismatchError,
            f"missing: {WORDS}",
        ),
        (
            lambda held: held | {"bert.lora_A.default.weight": torch.ones(2, 2)},
            TensorMismatchError,
            "unexpected: bert.lora_A",
        ),
    ],
    ids=["shape", "dtype", "nan", "head", "missing", "lora"],
)
def test_weights_that_are_not_those_of_the_configuration_leave_no_output(
    change: Callable[[Tensors], Tensors],
    error: type[IsobatchError],
    says: str,
    folder: Path,
    tmp_path: Path,
) -> None:
    edited(folder, change)
    with pytest.raises(error) as caught:
        convert_checkpoint(folder, tmp_path / "out")
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(folder))
    assert ".partial" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_output_must_be_new_or_empty(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert_checkpoint(folder, tmp_path / "out")
    with pytest.raises(OptionError, match="is not empty"):
        convert_checkpoint(folder, tmp_path / "out")
    with pytest.raises(OptionError, match="is the checkpoint itself"):
        convert_checkpoint(folder, folder)
    with pytest.raises(OptionError, match="base is for adapters"):
        convert_checkpoint(folder, tmp_path / "new", base=folder)
    with pytest.raises(OptionError, match="revision"):
        convert_checkpoint(folder, tmp_path / "new", revision="v1")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("step", ["save_tensors", "read_tensors"])
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_full_disk_or_an_interruption_leaves_no_output(
    step: str, failure: BaseException, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise failure

    monkeypatch.setattr(f"isobatch.convert.folder_conversion.{step}", fail)
    seen_as = CheckpointError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(seen_as):
        convert_checkpoint(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_without_weights_is_described(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        convert_checkpoint(tmp_path / "model", tmp_path / "out")
    shutil.copy(tiny_folder(BERT) / "config.json", tmp_path / "model")
    with pytest.raises(CheckpointError, match="contains neither"):
        convert_checkpoint(tmp_path / "model", tmp_path / "out")
    (tmp_path / "model" / "tf_model.h5").touch()
    with pytest.raises(CheckpointError, match=r"has only tf_model\.h5"):
        convert_checkpoint(tmp_path / "model", tmp_path / "out")


# ------------------------------------------------------------------------------------- other tasks


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("ForTokenClassification", "token-classification"),
        ("Model", "feature-extraction"),
        ("ForMaskedLM", "feature-extraction"),
        ("ForSequenceClassification", "text-classification"),
    ],
)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_checkpoint_is_checked_for_its_own_task(
    model_type: str, kind: str, task: str, tmp_path: Path
) -> None:
    ending = kind.replace("Masked", "Causal") if model_type in DECODERS else kind
    auto = getattr(transformers, "AutoModel" + ending.removeprefix("Model"))
    model = fill_randomly(auto.from_config(tiny_config(Tiny(model_type, num_layers=1)))).eval()
    model.save_pretrained(tmp_path / "saved")
    folder = pickled(tmp_path / "saved", tmp_path / "model")
    report = convert_checkpoint(folder, tmp_path / "out")
    assert report.written.task == task
    again = auto.from_pretrained(tmp_path / "out").state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again[name], tensor), name


def write_embedder(folder: Path) -> Path:
    """A folder of sentence-transformers with a dense layer, whose weights are pickles."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(tiny_config(BERT))
    fill_randomly(model).save_pretrained(folder / "encoder")
    write_wordpiece_folder(folder / "tokenizer")
    for path in (folder / "tokenizer").glob("*tok*"):
        shutil.copy(path, folder / "encoder")
    modules = [Transformer(str(folder / "encoder")), Pooling(32, "mean"), Dense(32, 8), Normalize()]
    whole = SentenceTransformer(modules=modules, device="cpu")
    whole.save(str(folder / "whole"))
    for path in (folder / "whole").rglob(SINGLE):
        torch.save(load_file(path), path.with_name(BIN))
        path.unlink()
    return folder / "whole"


def test_modules_of_sentence_transformers_are_converted_too(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path)
    report = convert_checkpoint(folder, tmp_path / "out")
    assert report.read == (BIN, f"2_Dense/{BIN}")
    assert report.written.task == "feature-extraction"
    texts = ["Today is nice", "a plot"]
    model = SentenceTransformer(str(folder), device="cpu")
    again = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_array_equal(again.encode(texts), model.encode(texts))


def test_an_error_about_a_module_names_the_command_for_the_whole_folder(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path)
    config = read_own_config(folder)
    with pytest.raises(CheckpointError) as caught:
        [*read_tensors(folder, config, parameter_shapes(empty_model(config)))]
    assert f"isobatch convert {folder} {folder}-converted" in str(caught.value)


def test_tokenizer_and_documents_are_copied_and_no_pickle_or_code(
    folder: Path, tmp_path: Path
) -> None:
    write_wordpiece_folder(folder)
    for name in ("README.md", "LICENSE", "modeling_custom.py", "optimizer.pt"):
        (folder / name).write_text(name)
    convert_checkpoint(folder, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", SINGLE, "tokenizer.json", "README.md", "LICENSE"} <= names
    assert not names & {BIN, "modeling_custom.py", "optimizer.pt"}
    usual = (folder / "README.md").stat().st_mode
    assert (tmp_path / "out" / SINGLE).stat().st_mode == usual


def test_the_report_is_data(folder: Path, tmp_path: Path) -> None:
    report = convert_checkpoint(str(folder), str(tmp_path / "out"))
    assert isinstance(report, ConvertReport)
    assert (report.source, report.out) == (str(folder), str(tmp_path / "out"))
    assert read_model(tmp_path / "out").config.head.num_labels == 2

"""int8 checkpoints: bit-identical to int8 at load, a quarter of the size, accepted everywhere."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from tiny_checkpoints import (
    DECODERS,
    FAMILIES,
    ROTARY_FAMILIES,
    Tiny,
    TinyFolder,
    fill_randomly,
    pad_right,
    random_ids,
    tiny_config,
)
from tokenizer_folders import write_bpe_folder, write_wordpiece_folder
from torch import Tensor

from isobatch import AutoModelForSequenceClassification, Classifier, quantize
from isobatch.batching.packed import pack
from isobatch.checkpoint import VectorOptions, bundled_folder, parse_config, read_config
from isobatch.errors import (
    CheckpointError,
    IsobatchError,
    OptionError,
    TensorMismatchError,
    UnsupportedModelError,
)
from isobatch.kernels import compiled, quantize_weight, supported_precisions
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.model import EncoderModel, read_model, read_packed_model
from isobatch.quantize import quantize_checkpoint
from isobatch.specification import PositionRule
from isobatch.types import Encoding, Precision

CPU = torch.device("cpu")
LENGTHS = (2, 3, 5, 5, 17, 64, 129, 300)
SINGLE = "model.safetensors"
WORDS = "bert.embeddings.word_embeddings.weight"
OUTPUT = "bert.encoder.layer.0.output.dense.weight"

Tensors = dict[str, Tensor]


@pytest.fixture
def quantized(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A sound BERT checkpoint in int8, to be broken."""
    quantize_checkpoint(tiny_folder(Tiny("bert")), tmp_path / "int8")
    return tmp_path / "int8"


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit_tensors(folder: Path, edit: Callable[[Tensors], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / SINGLE).items()}
    edit(tensors)
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def model_of(folder: Path, precision: Precision = "int8") -> EncoderModel:
    return read_packed_model(folder, CPU, precision)[0]


def logits_of(model: EncoderModel, rows: Sequence[Sequence[int]], tiny: Tiny) -> Tensor:
    encodings = [Encoding(row, [0] * len(row)) for row in rows]
    with torch.inference_mode():
        return model(pack(encodings, tiny.positions))


def alone_and_together(model: EncoderModel, tiny: Tiny) -> tuple[bytes, bytes]:
    rows = random_ids(LENGTHS, tiny)
    alone = torch.cat([logits_of(model, [row], tiny) for row in rows])
    return alone.numpy().tobytes(), logits_of(model, rows, tiny).numpy().tobytes()


# ----------------------------------------------------------------------------------- the same bits


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_logits_have_the_bits_of_int8_at_load(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    tiny = Tiny(model_type)
    folder, out = tiny_folder(tiny), tmp_path / "int8"
    quantize_checkpoint(folder, out)
    expected = alone_and_together(model_of(folder), tiny)
    assert expected[0] == expected[1]
    assert alone_and_together(model_of(out), tiny) == expected
    in_fp32 = alone_and_together(model_of(folder, "fp32"), tiny)
    assert in_fp32[0] != expected[0], "the control: int8 does change the bits"


def test_the_two_ways_are_the_two_kernels_of_int8(
    tiny_folder: TinyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize_checkpoint(tiny_folder(Tiny("bert")), tmp_path / "int8")
    here = read_packed_model(tmp_path / "int8", CPU, "int8")[1][0].kernel
    assert (here == "compiled int8") == (compiled.unavailable("int8") is None)
    monkeypatch.setenv(VARIABLE, "torch")
    assert read_packed_model(tmp_path / "int8", CPU, "int8")[1][0].kernel == "torch int8"


def test_the_bundled_model_gives_texts_the_same_bits(tmp_path: Path) -> None:
    texts = ["Today is a nice day!", "", "a plot " * 200, "Im not sure.", ("a pair", "of two")]
    quantize_checkpoint(None, tmp_path / "int8")
    before = Classifier.from_pretrained(precision="int8")
    after = Classifier.from_pretrained(tmp_path / "int8", precision="int8")
    assert after.logits(texts).tobytes() == before.logits(texts).tobytes()
    assert [after.logits([text]).tobytes() for text in texts] == [
        row.tobytes() for row in before.logits(texts)
    ]


# ------------------------------------------------------------------------------------ output files


@pytest.mark.parametrize("model_type", FAMILIES)
def test_values_and_scales_are_those_of_int8_and_the_rest_is_unchanged(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder, out = tiny_folder(Tiny(model_type)), tmp_path / "int8"
    report = quantize_checkpoint(folder, out)
    before, after = load_file(folder / SINGLE), load_file(out / SINGLE)
    narrow = {name for name, tensor in after.items() if tensor.dtype == torch.int8}
    is_fused = model_type in ROTARY_FAMILIES
    is_gated = is_fused or model_type in DECODERS
    assert report.num_tensors == 1 + (7 if is_gated else 6) * 2  # a gate is one more
    assert is_fused or len(narrow) == report.num_tensors
    assert sum("_embeddings." in name or "embed_tokens" in name for name in narrow) == 1
    assert after.keys() == before.keys() | {f"{name}_scale" for name in narrow}
    for name, tensor in before.items():
        if name in narrow:
            expected = quantize_weight(tensor)
            assert torch.equal(after[name], expected.values), name
            assert torch.equal(after[f"{name}_scale"], expected.scale[:, None]), name
        else:
            assert after[name].dtype == torch.float32, name
            assert torch.equal(after[name], tensor), name


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_linears_that_stay_are_named_in_the_configuration(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    quantize_checkpoint(tiny_folder(Tiny(model_type)), tmp_path / "int8")
    section = json.loads((tmp_path / "int8/config.json").read_text())["quantization_config"]
    two_steps = ["classifier.dense", "classifier.out_proj"]
    expected = {
        "distilbert": ["pre_classifier", "classifier"],
        "bert": ["bert.pooler.dense", "classifier"],
        "electra": ["electra.embeddings_project", *two_steps],
        "modernbert": ["head.dense", "classifier"],
        "gte": ["gte.pooler.dense", "classifier"],
        "nomic_bert": ["nomic_bert.pooler.dense", "classifier"],
        "albert": ["albert.encoder.embedding_hidden_mapping_in", "albert.pooler", "classifier"],
        "qwen3": ["score"],
        "deberta-v2": ["pooler.dense", "classifier"],
    }
    assert section["ignore"] == expected.get(model_type, two_steps)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_configuration_gains_a_section_and_keeps_the_rest(
    dtype: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = tiny_folder(Tiny("roberta", dtype=dtype))
    quantize_checkpoint(folder, tmp_path / "int8")
    before = json.loads((folder / "config.json").read_text())
    after = json.loads((tmp_path / "int8/config.json").read_text())
    assert before["dtype"] == dtype
    assert list(after) == [*before, "quantization_config"]
    assert after.pop("quantization_config")["quant_method"] == "compressed-tensors"
    assert after == before | {"dtype": "float32"}


def test_a_realistic_checkpoint_is_a_quarter_of_its_size_in_float32(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    wide = {"num_heads": 4, "head_dim": 64, "num_layers": 4, "intermediate_size": 1024}
    many_words = tiny_folder(Tiny("xlm-roberta", vocab_size=40_000, **wide))
    for number, folder in enumerate((bundled_folder(), many_words)):
        report = quantize_checkpoint(folder, tmp_path / str(number))
        written = (tmp_path / str(number) / SINGLE).stat().st_size
        assert report.out_bytes == written < 0.27 * report.float32_bytes
        assert report.source_bytes == (folder / SINGLE).stat().st_size


def test_the_report_has_the_rounding_error_of_each_kind_of_weight(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    report = quantize_checkpoint(tiny_folder(Tiny("bert")), tmp_path / "int8")
    kinds = ["word", "query", "key", "value", "output", "up", "down"]
    assert [each.kind for each in report.rounding] == kinds
    assert [each.num_tensors for each in report.rounding] == [1, *[2] * 6]
    assert all(0.001 < each.mean <= each.largest < 0.02 for each in report.rounding)


def test_rows_of_zeros_stay_zeros(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "zeros"))
    edit_tensors(folder, lambda tensors: (tensors[WORDS][0].zero_(), tensors[OUTPUT].zero_()))
    quantize_checkpoint(folder, tmp_path / "int8")
    model = read_model(tmp_path / "int8")
    assert not model.embeddings.word.weight[0].any()
    assert not model.blocks[0].down.weight.any()
    batch = pack([Encoding([2, 0, 3], [0] * 3)], PositionRule())
    assert model_of(tmp_path / "int8")(batch).isfinite().all()


@pytest.mark.parametrize("tokenizer_json", [True, False])
def test_tokenizer_and_model_card_are_copied_and_no_other_file(
    tokenizer_json: bool, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "checkpoint"))
    write_wordpiece_folder(folder, tokenizer_json=tokenizer_json)
    for name in ("README.md", "LICENSE", "pytorch_model.bin", "precisions.json", "run.py"):
        (folder / name).write_text(name)
    quantize_checkpoint(folder, tmp_path / "int8")
    written = {path.name for path in (tmp_path / "int8").iterdir()}
    wanted = {"config.json", SINGLE, "vocab.txt", "tokenizer_config.json", "README.md", "LICENSE"}
    assert written == wanted | ({"tokenizer.json"} if tokenizer_json else set())
    for name in written - {"config.json", SINGLE}:
        assert (tmp_path / "int8" / name).read_bytes() == (folder / name).read_bytes()
    predictions = Classifier.from_pretrained(tmp_path / "int8", precision="int8")(["Today", "nice"])
    assert predictions == Classifier.from_pretrained(folder, precision="int8")(["Today", "nice"])


def test_each_companion_is_copied_once(
    tiny_folder: TinyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "checkpoint"))
    write_wordpiece_folder(folder, tokenizer_json=False)
    for name in ("added_tokens.json", "config_sentence_transformers.json"):
        (folder / name).write_text("{}")
    copied: list[str] = []

    def copying(source: Path, target: Path) -> None:
        copied.append(source.name)
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("isobatch.checkpoint.output_folder.shutil.copyfile", copying)
    quantize_checkpoint(folder, tmp_path / "int8")
    assert sorted(copied) == sorted({*copied})
    assert {"added_tokens.json", "config_sentence_transformers.json", "vocab.txt"} <= {*copied}


def test_byte_level_tokenizers_are_copied(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder(Tiny("roberta")), tmp_path / "checkpoint"))
    write_bpe_folder(folder, tokenizer_json=False)
    quantize_checkpoint(folder, tmp_path / "int8")
    assert {"vocab.json", "merges.txt"} <= {path.name for path in (tmp_path / "int8").iterdir()}
    assert Classifier.from_pretrained(tmp_path / "int8", precision="int8")("Today").num_tokens > 2


def test_the_output_has_the_usual_permissions(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    quantize_checkpoint(tiny_folder(Tiny("bert")), tmp_path / "int8")
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "int8").iterdir()} == {usual}


# ------------------------------------------------------------------------------------- other tasks


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_token_classifier_is_quantized_with_its_own_head(model_type: str, tmp_path: Path) -> None:
    tiny = Tiny(model_type, num_labels=5)
    model = transformers.AutoModelForTokenClassification.from_config(tiny_config(tiny))
    fill_randomly(model).save_pretrained(tmp_path / "tokens")
    quantize_checkpoint(tmp_path / "tokens", tmp_path / "int8")
    configs = [read_config(tmp_path / name, "token-classification") for name in ("tokens", "int8")]
    assert configs[0].head == configs[1].head
    models = [
        read_packed_model(tmp_path / name, CPU, "int8", config)[0]
        for name, config in zip(("tokens", "int8"), configs, strict=True)
    ]
    rows = random_ids(LENGTHS, tiny)
    before, after = (logits_of(each, rows, tiny) for each in models)
    assert after.shape == (sum(LENGTHS), 5)
    assert torch.equal(after, before)


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    """A folder of sentence-transformers: mean of the tokens, a dense layer, normalization."""
    model = transformers.AutoModel.from_config(tiny_config(Tiny("bert")))
    fill_randomly(model).save_pretrained(tmp_path / "encoder")
    write_wordpiece_folder(tmp_path / "tokenizer")
    for path in (tmp_path / "tokenizer").glob("*tok*"):
        shutil.copy(path, tmp_path / "encoder")
    encoder = Transformer(str(tmp_path / "encoder"))
    modules = [encoder, Pooling(32, "mean"), Dense(32, 8), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "vectors"))
    return tmp_path / "vectors"


def test_modules_of_an_embedding_model_are_copied(embedder: Path, tmp_path: Path) -> None:
    report = quantize_checkpoint(embedder, tmp_path / "int8")
    alone = quantize_checkpoint(tmp_path / "encoder", tmp_path / "alone")
    assert report.float32_bytes == alone.float32_bytes, "modules have files of their own"
    for name in ("modules.json", "1_Pooling/config.json", f"2_Dense/{SINGLE}"):
        assert (tmp_path / "int8" / name).read_bytes() == (embedder / name).read_bytes()
    configs = [
        read_config(folder, "feature-extraction") for folder in (embedder, tmp_path / "int8")
    ]
    assert configs[0].head == configs[1].head
    assert [config.quantized for config in configs] == [False, True]
    models = [
        read_packed_model(folder, CPU, "int8", config)[0]
        for folder, config in zip((embedder, tmp_path / "int8"), configs, strict=True)
    ]
    tiny = Tiny("bert")
    rows = random_ids(LENGTHS, tiny)
    before, after = (logits_of(each, rows, tiny) for each in models)
    assert after.shape == (len(LENGTHS), 8)
    assert torch.equal(after, before)


def test_an_encoder_alone_is_quantized_for_any_pooling(tmp_path: Path) -> None:
    model = transformers.AutoModel.from_config(tiny_config(Tiny("bert")))
    fill_randomly(model).save_pretrained(tmp_path / "encoder")
    quantize_checkpoint(tmp_path / "encoder", tmp_path / "int8")
    for pooling in ("cls", "mean"):
        config = read_config(tmp_path / "int8", "feature-extraction", VectorOptions(pooling))
        assert read_packed_model(tmp_path / "int8", CPU, "int8", config)[0].config.quantized


def test_a_reranker_keeps_its_score_rule(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder(Tiny("bert", num_labels=1)), tmp_path / "reranker"))
    stated = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(stated))
    quantize_checkpoint(folder, tmp_path / "int8")
    assert read_config(folder).head.score_activation == "none"
    assert read_config(tmp_path / "int8").head == read_config(folder).head


# -------------------------------------------------------------------------- read in every precision


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_other_reader_gets_values_times_scale(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    tiny, out = Tiny(model_type), tmp_path / "int8"
    quantize_checkpoint(tiny_folder(tiny), out)
    stored = load_file(out / SINGLE)
    model = AutoModelForSequenceClassification.from_pretrained(out)
    for name, parameter in model.state_dict().items():
        if name not in stored:  # of an older spelling, or a part of a fused tensor
            assert model_type in ROTARY_FAMILIES
            continue
        scale = stored.get(f"{name}_scale", torch.ones(()))
        assert torch.equal(parameter, stored[name].to(torch.float32) * scale), name
    rows = random_ids(LENGTHS, tiny)
    ids, mask = pad_right(rows, tiny.pad_token_id)
    expected = model(ids, mask).logits
    assert torch.equal(logits_of(model_of(out, "fp32"), rows, tiny), expected)
    if "bf16" in supported_precisions(CPU):
        narrow = logits_of(model_of(out, "bf16"), rows, tiny)
        torch.testing.assert_close(narrow, expected, rtol=0, atol=0.3)


def test_a_widened_model_is_saved_as_a_plain_checkpoint(quantized: Path, tmp_path: Path) -> None:
    widened = AutoModelForSequenceClassification.from_pretrained(quantized)
    assert not hasattr(widened.config, "quantization_config")
    widened.save_pretrained(tmp_path / "plain")
    assert not read_config(tmp_path / "plain").quantized
    saved = dict(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").named_parameters()
    )
    for name, parameter in widened.named_parameters():
        assert torch.equal(saved[name], parameter), name


def test_a_saved_model_can_be_quantized_and_read_again(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    tiny = Tiny("distilbert")
    AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny)).save_pretrained(
        tmp_path / "saved"
    )
    quantize_checkpoint(tmp_path / "saved", tmp_path / "int8")
    expected = alone_and_together(model_of(tiny_folder(tiny)), tiny)
    assert alone_and_together(model_of(tmp_path / "int8"), tiny) == expected


def test_shards_may_be_quantized(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    whole, parts = Tiny("bert"), Tiny("bert", max_shard_size="30KB")
    quantize_checkpoint(tiny_folder(whole), tmp_path / "from whole")
    report = quantize_checkpoint(tiny_folder(parts), tmp_path / "from parts")
    shards = tiny_folder(parts).glob("*.safetensors")
    assert report.source_bytes == sum(path.stat().st_size for path in shards)
    files = [(tmp_path / name / SINGLE).read_bytes() for name in ("from whole", "from parts")]
    assert files[0] == files[1]


def test_a_scale_may_be_in_another_shard_than_its_weight(quantized: Path) -> None:
    tiny = Tiny("bert")
    expected = alone_and_together(model_of(quantized), tiny)
    tensors = load_file(quantized / SINGLE)
    scales = {name: tensors.pop(name) for name in list(tensors) if name.endswith("_scale")}
    weight_map = {}
    for file, held in (("model-1.safetensors", scales), ("model-2.safetensors", tensors)):
        save_file(held, quantized / file)
        weight_map |= dict.fromkeys(held, file)
    (quantized / SINGLE).unlink()
    (quantized / f"{SINGLE}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert alone_and_together(model_of(quantized), tiny) == expected


def test_int8_tensors_of_other_tools_are_read(quantized: Path) -> None:
    """In the head, where it is widened; and a block's weight that is plain is rounded."""
    tiny = Tiny("bert")
    before = alone_and_together(model_of(quantized), tiny)

    def change(tensors: Tensors) -> None:
        for name in ("classifier.weight", "bert.pooler.dense.weight"):
            rounded = quantize_weight(tensors[name])
            tensors[name], tensors[f"{name}_scale"] = rounded.values, rounded.scale[:, None]
        tensors[OUTPUT] = tensors[OUTPUT].float() * tensors.pop(f"{OUTPUT}_scale")

    edit_tensors(quantized, change)
    after = alone_and_together(model_of(quantized), tiny)
    assert after[0] == after[1] != before[0]
    stored, pooler = load_file(quantized / SINGLE), "bert.pooler.dense.weight"
    expected = stored[pooler].float() * stored[f"{pooler}_scale"]
    assert torch.equal(read_model(quantized).head.dense.weight, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scales_of_other_widths_are_read(quantized: Path, dtype: torch.dtype) -> None:
    scales = f"{OUTPUT}_scale"
    edit_tensors(quantized, lambda tensors: tensors.update({scales: tensors[scales].to(dtype)}))
    stored = load_file(quantized / SINGLE)
    expected = stored[OUTPUT].float() * stored[scales].float()
    assert torch.equal(read_model(quantized).blocks[0].down.weight, expected)


# ----------------------------------------------------------------------------------- write errors


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [
        (lambda out: shutil.copytree(bundled_folder(), out), "is not empty"),
        (lambda out: out.write_text("a file"), "is a file"),
        (lambda out: (out.mkdir(), (out / ".hidden").touch()), "is not empty"),
    ],
    ids=("a checkpoint", "a file", "hidden"),
)
def test_existing_files_are_not_overwritten(
    prepare: Callable[[Path], object], complaint: str, tmp_path: Path
) -> None:
    prepare(tmp_path / "out")
    before = listed(tmp_path)
    with pytest.raises(OptionError, match=complaint):
        quantize_checkpoint(None, tmp_path / "out")
    assert listed(tmp_path) == before


def listed(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_the_checkpoint_itself_is_refused_by_any_name(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = tiny_folder(Tiny("bert"))
    (tmp_path / "link").symlink_to(folder)
    for out in (folder, folder / ".." / folder.name, tmp_path / "link"):
        with pytest.raises(OptionError, match="is the checkpoint itself"):
            quantize_checkpoint(folder, out)


def test_an_empty_folder_and_missing_parents_are_fine(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "new/one"):
        quantize_checkpoint(tiny_folder(Tiny("bert")), out)
        assert read_config(out).quantized
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_a_quantized_checkpoint_is_not_quantized_again(quantized: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is quantized already"):
        quantize_checkpoint(quantized, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_unwritable_output_is_named(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written") as caught:
        quantize_checkpoint(tiny_folder(Tiny("bert")), tmp_path / "file" / "out")
    assert str(tmp_path / "file" / "out") in str(caught.value)


@pytest.mark.parametrize("step", ["write_tensors", "_write_config", "copy_companions"])
@pytest.mark.parametrize(
    ("failure", "seen_as"),
    [
        (OSError(28, "No space left on device"), CheckpointError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=("full disk", "interrupted"),
)
def test_an_unfinished_output_is_removed(
    step: str,
    failure: BaseException,
    seen_as: type[BaseException],
    tiny_folder: TinyFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = getattr(quantize, step)

    def fail_at_the_end(*arguments: object) -> None:
        done(*arguments)
        raise failure

    monkeypatch.setattr(quantize, step, fail_at_the_end)
    with pytest.raises(seen_as):
        quantize_checkpoint(tiny_folder(Tiny("bert")), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_unreadable_checkpoint_leaves_no_output(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "broken"))
    edit_tensors(folder, lambda tensors: tensors[OUTPUT][0].fill_(float("nan")))
    for source in (folder, tmp_path / "not there"):
        with pytest.raises(CheckpointError):
            quantize_checkpoint(source, tmp_path / "out" / "int8")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


# ------------------------------------------------------------------------------------ read errors


def _set(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: make(tensors[name])})


def _drop(*names: str) -> Callable[[Tensors], object]:
    return lambda tensors: [tensors.pop(name) for name in names]


def _put(value: float) -> Callable[[Tensor], Tensor]:
    return lambda scale: scale.index_fill(0, torch.tensor([3]), value)


SCALE = f"{OUTPUT}_scale"


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (_drop(SCALE), f"{OUTPUT} has dtype torch.int8, expected a float"),
        (_drop(OUTPUT), f"missing: {OUTPUT}"),
        (_set(OUTPUT, Tensor.float), f"{OUTPUT} is torch.float32 and has a scale"),
        (_set(OUTPUT, lambda t: t.to(torch.uint8)), f"{OUTPUT} is torch.uint8 and has a scale"),
        (
            _set(OUTPUT, lambda t: t.float().to(torch.float8_e4m3fn)),
            f"{OUTPUT} is torch.float8_e4m3fn and has a scale",
        ),
        (_set(OUTPUT, lambda t: t.T.contiguous()), f"{OUTPUT} has shape [48, 32]"),
        (_set(SCALE, lambda t: t[:-1].clone()), "its scale is torch.float32 [31, 1] for [32, 48]"),
        (_set(SCALE, lambda t: t.flatten()), "its scale is torch.float32 [32] for [32, 48]"),
        (_set(SCALE, lambda t: t[:1, 0].clone()), "its scale is torch.float32 [1] for [32, 48]"),
        (_set(SCALE, lambda t: t.expand(-1, 4).clone()), "its scale is torch.float32 [32, 4]"),
        (_set(SCALE, lambda t: t.to(torch.int32)), "its scale is torch.int32 [32, 1]"),
        (_set(SCALE, _put(0.0)), "its scale has numbers that are not positive and finite"),
        (_set(SCALE, _put(-1.0)), "its scale has numbers that are not positive and finite"),
        (_set(SCALE, _put(float("nan"))), "its scale has numbers that are not positive"),
        (_set(SCALE, _put(float("inf"))), "its scale has numbers that are not positive"),
        (_set(SCALE, _put(3e38)), "its scale has numbers that are not positive and finite"),
        (
            lambda t: t.update({"bert.extra.weight_scale": torch.ones(9, 1)}),
            "unexpected: bert.extra",
        ),
        (
            lambda t: t.update({f"{OUTPUT}_zero_point": torch.ones(32, 1)}),
            "unexpected: bert.encoder.layer.0.output.dense.weight_zero_point",
        ),
        (
            lambda t: t.update({"classifier.bias_scale": torch.ones(2, 1)}),
            "classifier.bias is torch.float32 and has a scale",
        ),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_weight_and_a_scale_that_do_not_belong_together_are_named(
    quantized: Path,
    precision: Precision,
    edit: Callable[[Tensors], object],
    complaint: str,
) -> None:
    edit_tensors(quantized, edit)
    with pytest.raises(CheckpointError) as caught:
        model_of(quantized, precision)
    assert complaint in str(caught.value)
    assert str(quantized) in str(caught.value)


def test_float8_without_a_scale_is_refused_too(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder(Tiny("bert")), tmp_path / "fp8"))
    edit_tensors(folder, _set(OUTPUT, lambda tensor: tensor.to(torch.float8_e4m3fn)))
    with pytest.raises(TensorMismatchError, match=r"torch\.float8_e4m3fn, expected a float"):
        read_model(folder)


def test_weights_and_configuration_must_say_the_same(
    quantized: Path, tiny_folder: TinyFolder
) -> None:
    shutil.copy(tiny_folder(Tiny("bert")) / SINGLE, quantized)
    with pytest.raises(TensorMismatchError, match="declares int8 weights, but there is no"):
        read_model(quantized)


def test_int8_without_quantization_config_is_rejected(quantized: Path) -> None:
    edit_json(quantized / "config.json", lambda config: config.pop("quantization_config"))
    with pytest.raises(TensorMismatchError, match="has no quantization_config"):
        read_model(quantized)


# ----------------------------------------------------------------------------------- other schemes


AS_THE_LIBRARY_WRITES_IT = {
    "config_groups": {
        "group_0": {
            "format": "int-quantized",
            "input_activations": {
                "dynamic": True,
                "group_size": None,
                "num_bits": 8,
                "strategy": "token",
                "symmetric": True,
                "type": "int",
            },
            "output_activations": None,
            "targets": ["Linear"],
            "weights": {
                "dynamic": False,
                "group_size": None,
                "num_bits": 8,
                "strategy": "channel",
                "symmetric": True,
                "type": "int",
            },
        }
    },
    "format": "int-quantized",
    "global_compression_ratio": None,
    "ignore": ["classifier"],
    "kv_cache_scheme": None,
    "moe_sparsity_config": None,
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
    "sparsity_config": {},
    "transform_config": {},
    "version": "0.20.0",
}
"""By compressed-tensors 0.20.0, from `ModelCompressor.update_config`."""


def announced(section: object) -> bool:
    config = {"model_type": "bert", "quantization_config": section}
    return parse_config(config).quantized


def changed(path: Iterable[str], value: object) -> dict[str, Any]:
    """The library's section with one thing changed."""
    section = json.loads(json.dumps(AS_THE_LIBRARY_WRITES_IT))
    *way, last = path
    place = section
    for key in way:
        place = place[key]
    place[last] = value
    return section


GROUP = ("config_groups", "group_0")


def test_the_section_written_by_the_library_is_read() -> None:
    assert announced(AS_THE_LIBRARY_WRITES_IT)
    assert not announced(None)
    assert announced(changed((*GROUP, "input_activations"), None))
    assert announced(changed((*GROUP, "weights"), {"strategy": "channel"})), "the rest is default"


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "quant_method 'gptq'"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "quant_method 'bitsandbytes'"),
        ({"load_in_8bit": True}, "quant_method None"),
        ({"quant_method": "fp8"}, "quant_method 'fp8'"),
        ({}, "quant_method None"),
        (changed(["format"], "float-quantized"), "format 'float-quantized'"),
        (changed(["format"], "pack-quantized"), "format 'pack-quantized'"),
        (changed([*GROUP, "format"], "pack-quantized"), "format 'pack-quantized'"),
        (changed(["quantization_status"], "frozen"), "quantization_status 'frozen'"),
        (changed(["kv_cache_scheme"], {"num_bits": 8}), "kv_cache_scheme"),
        (changed(["transform_config"], {"config_groups": {}}), "transform_config"),
        (changed([*GROUP, "output_activations"], {"num_bits": 8}), "output_activations"),
        (changed([*GROUP, "weights", "num_bits"], 4), "weights: num_bits 4"),
        (changed([*GROUP, "weights", "type"], "float"), "weights: type 'float'"),
        (changed([*GROUP, "weights", "symmetric"], False), "weights: symmetric False"),
        (changed([*GROUP, "weights", "strategy"], "group"), "weights: strategy 'group'"),
        (changed([*GROUP, "weights", "strategy"], "tensor"), "weights: strategy 'tensor'"),
        (changed([*GROUP, "weights"], None), "weights: num_bits None"),
        (
            changed([*GROUP, "input_activations", "dynamic"], False),
            "input_activations: dynamic False",
        ),
        (
            changed([*GROUP, "input_activations", "num_bits"], 4),
            "input_activations: num_bits 4",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_schemes_are_rejected_by_name_with_a_fix(section: object, complaint: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        announced(section)
    assert complaint in str(caught.value)
    assert "isobatch quantize" in str(caught.value)


@pytest.mark.parametrize(
    "section",
    ["int8", [], changed(["config_groups"], {}), changed(["config_groups", "W8A8"], ["Linear"])],
    ids=("text", "list", "no groups", "preset"),
)
def test_an_invalid_section_is_refused(section: object) -> None:
    with pytest.raises(IsobatchError, match="quantization_config"):
        announced(section)


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_transformers_reads_the_output(
    model_type: str, tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    """Where compressed-tensors is installed: no key missing or left over, and the same logits."""
    pytest.importorskip("compressed_tensors")
    tiny, out = Tiny(model_type), tmp_path / "int8"
    quantize_checkpoint(tiny_folder(tiny), out)
    theirs, found = transformers.AutoModelForSequenceClassification.from_pretrained(
        out,
        quantization_config=transformers.CompressedTensorsConfig(dequantize=True),
        output_loading_info=True,
    )
    assert not any(found.values())
    rows = random_ids(LENGTHS, tiny)
    ids, mask = pad_right(rows, tiny.pad_token_id)
    with torch.no_grad():
        expected = theirs.eval()(input_ids=ids, attention_mask=mask).logits
    ours = logits_of(model_of(out, "fp32"), rows, tiny)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


_UNDER_ANOTHER_ROUNDING = """
import ctypes, ctypes.util, hashlib
import torch
torch.set_num_threads(2)
fenv = ctypes.CDLL(None)
if ROUNDS:
    assert fenv.fesetround(0x800) == 0  # FE_UPWARD on x86-64, for the thread that torch starts now
    torch.rand(1 << 20) * 3
    assert fenv.fesetround(0) == 0
from isobatch.kernels import quantize_weight
weight = torch.randn(3000, 400, generator=torch.Generator().manual_seed(0))
found = quantize_weight(weight)
print(hashlib.sha256(found.values.numpy().tobytes() + found.scale.numpy().tobytes()).hexdigest())
print(hashlib.sha256(found.dequantize().numpy().tobytes()).hexdigest())
print(hashlib.sha256((weight / 3).numpy().tobytes()).hexdigest())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the rounding modes of x86-64")
def test_threads_of_torch_with_another_rounding_mode_change_no_weight() -> None:
    results = []
    for rounds in (False, True):
        script = _UNDER_ANOTHER_ROUNDING.replace("ROUNDS", str(rounds))
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        results.append(ended.stdout.split())
    (values, dequantized, control), (other_values, other_dequantized, other_control) = results
    assert (other_values, other_dequantized) == (values, dequantized)
    assert other_control != control, "the control: torch's own division differs"

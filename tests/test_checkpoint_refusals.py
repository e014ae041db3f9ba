"""Folders that no edit makes a checkpoint: adapters, other heads and formats, other folders, locks.

A message says what the folder is, and the command or the folder to name; where a command exists, it
is executed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
import transformers
from message_fixes import run_convert_fix, run_python_fix, run_shell_fix
from safetensors.torch import load_file, save_file
from tiny_checkpoints import (
    DECODERS,
    FAMILIES,
    ROTARY_FAMILIES,
    Tiny,
    TinyFolder,
    fill_randomly,
    random_ids,
    reference_model,
    tiny_config,
)
from tokenizer_folders import write_wordpiece_folder

from isobatch import Classifier, Embedder, Reranker, TokenClassifier, ZeroShotClassifier
from isobatch.checkpoint import locate_checkpoint
from isobatch.checkpoint.conversion import python_command
from isobatch.compat import AutoModelForSequenceClassification
from isobatch.compat.model import PaddedClassifier
from isobatch.convert import convert_checkpoint
from isobatch.errors import (
    CheckpointError,
    MissingHeadError,
    OptionError,
    TensorMismatchError,
    UnsupportedModelError,
)
from isobatch.model import read_model
from isobatch.tasks import Pipeline, load_pipeline
from isobatch.tasks.pipeline_loading import PipelineTask

SINGLE = "model.safetensors"


@pytest.fixture
def folder(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A valid BERT checkpoint, to be spoiled; its path has a blank and quotes."""
    copied = shutil.copytree(tiny_folder(Tiny("bert", num_layers=1)), tmp_path / "my 'best' model")
    return Path(copied)


def refusal(folder: Path, kind: type[CheckpointError] = CheckpointError) -> str:
    """Load as Classifier does, which never draws new weights, but without selecting kernels."""
    with pytest.raises(kind) as caught:
        PaddedClassifier.from_folder(folder)
    return str(caught.value)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def assert_as_transformers(folder: Path) -> None:
    ids = torch.tensor(random_ids([9], Tiny("bert")))
    with torch.no_grad():
        ours = AutoModelForSequenceClassification.from_pretrained(folder)(ids, torch.ones_like(ids))
        theirs = reference_model(folder)(ids)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------ adapters


@pytest.fixture
def adapter(tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A folder of PEFT: two LoRA matrices and a head of 3 labels, over a base model of 2."""
    base = shutil.copytree(tiny_folder(Tiny("bert", num_layers=1)), tmp_path / "base")
    write_wordpiece_folder(tmp_path / "tokenizer")
    for path in (tmp_path / "tokenizer").glob("*tok*"):
        shutil.copy(path, base)
    folder = tmp_path / "adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2, "lora_alpha": 8}
    stated = settings | {"base_model_name_or_path": str(base), "target_modules": ["query"]}
    (folder / "adapter_config.json").write_text(json.dumps(stated))
    generator = torch.Generator().manual_seed(3)
    query = "base_model.model.bert.encoder.layer.0.attention.self.query"
    shapes = {f"{query}.lora_A.weight": (2, 32), f"{query}.lora_B.weight": (32, 2)}
    shapes |= {
        "base_model.model.classifier.weight": (3, 32),
        "base_model.model.classifier.bias": (3,),
    }
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(drawn, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_is_refused_and_the_command_merges_it(adapter: Path, tmp_path: Path) -> None:
    message = refusal(adapter, UnsupportedModelError)
    assert "is an adapter (adapter_config.json: LORA)" in message
    assert str(tmp_path / "base") in message
    run_convert_fix(message, adapter)
    assert read_model(adapter).config.head.num_labels == 3
    assert_merged(tmp_path / "base", adapter)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_of_dora_is_merged_by_the_command_of_peft(adapter: Path, tmp_path: Path) -> None:
    """By PEFT itself: `isobatch convert` does not merge it."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], use_dora=True)
    trained = peft.get_peft_model(model, settings)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    trained.save_pretrained(adapter)
    message = refusal(adapter, UnsupportedModelError)
    assert "`isobatch convert` does not merge use_dora" in message
    with pytest.raises(UnsupportedModelError, match="use_dora"):
        convert_checkpoint(adapter, tmp_path / "out")
    run_python_fix(message)
    merged = Path(f"{adapter}-merged")
    assert message.endswith(f"then load {merged}")
    assert_merged(tmp_path / "base", merged)


def assert_merged(base: Path, merged: Path) -> None:
    before, after = load_file(base / SINGLE), load_file(merged / SINGLE)
    changed = {
        name
        for name, tensor in before.items()
        if tensor.shape != after[name].shape or not torch.equal(tensor, after[name])
    }
    assert "bert.encoder.layer.0.attention.self.query.weight" in changed
    assert all(name.startswith("classifier.") or ".query." in name for name in changed)
    assert (merged / "tokenizer.json").is_file()
    assert_as_transformers(merged)


def test_an_adapter_without_its_base_model_says_so(adapter: Path, tmp_path: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": None}))
    message = refusal(adapter)
    assert "which the file does not name: put it in place of BASE" in message
    run_convert_fix(message.replace("BASE;", f"{tmp_path / 'base'};"), adapter)
    assert read_model(adapter).config.head.num_labels == 3


def test_an_adapter_that_cannot_be_merged_names_its_kind(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peft_type": "PROMPT_TUNING"}))
    assert "PROMPT_TUNING), not a whole checkpoint, and this kind cannot be merged" in (
        refusal(adapter)
    )


def test_an_adapter_next_to_whole_weights_is_refused(folder: Path, adapter: Path) -> None:
    shutil.copy(adapter / "adapter_config.json", folder)
    message = refusal(folder)
    assert "has whole weights and adapter_config.json" in message
    run_shell_fix(message, folder)
    assert_as_transformers(folder)


def test_matrices_of_an_adapter_that_is_not_merged_are_named(folder: Path) -> None:
    held = load_file(folder / SINGLE)
    query = "bert.encoder.layer.0.attention.self.query"
    held[f"{query}.base_layer.weight"] = held.pop(f"{query}.weight").clone()
    held[f"{query}.lora_A.default.weight"] = torch.ones(2, 32)
    save_file({k: v.clone() for k, v in held.items()}, folder / SINGLE, metadata={"format": "pt"})
    message = refusal(folder, TensorMismatchError)
    assert f"not merged, such as {query}.lora_A.default.weight" in message
    assert "model.merge_and_unload()" in message


# --------------------------------------------------------------------------------- other models


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("ForMaskedLM", "It has a head for masked language modelling"),
        ("ForQuestionAnswering", "It has a head for question answering (qa_outputs.*)"),
        ("Model", "It is an encoder without a head"),
    ],
)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_checkpoint_of_another_task_is_named(
    model_type: str, kind: str, says: str, tmp_path: Path
) -> None:
    if kind == "ForQuestionAnswering" and model_type in ROTARY_FAMILIES:
        pytest.skip("transformers has none, or one with the names of a classifier")
    if kind == "ForMaskedLM" and model_type in DECODERS:
        pytest.skip("transformers has none")
    auto = getattr(transformers, "AutoModel" + kind.removeprefix("Model"))
    model = auto.from_config(tiny_config(Tiny(model_type, num_layers=1)))
    fill_randomly(model).save_pretrained(tmp_path)
    message = refusal(tmp_path, MissingHeadError)
    assert says in message
    assert "...ForSequenceClassification" in message


def test_a_head_for_questions_under_the_names_of_a_classifier_is_named(tmp_path: Path) -> None:
    config = tiny_config(Tiny("modernbert", num_layers=1))
    model = transformers.AutoModelForQuestionAnswering.from_config(config)
    fill_randomly(model).save_pretrained(tmp_path)
    message = refusal(tmp_path, MissingHeadError)
    assert "saved by ModernBertForQuestionAnswering" in message


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "electra", "roberta"])
def test_a_token_classifier_is_named_by_its_class(model_type: str, tmp_path: Path) -> None:
    config = tiny_config(Tiny(model_type, num_layers=1))
    model = transformers.AutoModelForTokenClassification.from_config(config)
    fill_randomly(model).save_pretrained(tmp_path)
    message = refusal(tmp_path)
    assert "ForTokenClassification" in message
    assert "...ForSequenceClassification" in message


@pytest.mark.parametrize(
    ("kind", "task", "words"),
    [
        (TokenClassifier, "token-classification", "no model for tokens is bundled"),
        (Reranker, "text-ranking", "no reranker is bundled"),
        (ZeroShotClassifier, "zero-shot-classification", "no model for zero-shot"),
        (Embedder, "feature-extraction", "no embedding model is bundled"),
    ],
)
def test_a_task_that_the_bundled_model_is_not_for_needs_a_path(
    kind: type[Pipeline[Any]], task: PipelineTask, words: str
) -> None:
    for load in (kind.from_pretrained, partial(load_pipeline, task=task)):
        with pytest.raises(OptionError, match=f"^{words}.*Pass the folder or hub id") as raised:
            load()
        assert "sst2" not in str(raised.value)


def test_an_embedding_model_of_sentence_transformers_is_named(tmp_path: Path) -> None:
    model = transformers.AutoModel.from_config(tiny_config(Tiny("bert", num_layers=1)))
    fill_randomly(model).save_pretrained(tmp_path)
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    assert "an embedding model of sentence-transformers" in refusal(tmp_path, MissingHeadError)
    message = refusal(tmp_path / "1_Pooling")
    assert "has no model_type" in message


def test_pruned_heads_are_named(folder: Path) -> None:
    held = {name: tensor.clone() for name, tensor in load_file(folder / SINGLE).items()}
    layer = "bert.encoder.layer.0.attention."
    for part in ("query", "key", "value"):
        for kind in ("weight", "bias"):
            held[f"{layer}self.{part}.{kind}"] = held[f"{layer}self.{part}.{kind}"][8:].clone()
    held[f"{layer}output.dense.weight"] = held[f"{layer}output.dense.weight"][:, 8:].clone()
    save_file(held, folder / SINGLE, metadata={"format": "pt"})
    assert "were pruned" not in refusal(folder)
    edit_config(folder, pruned_heads={"0": [0]})
    assert "Attention heads were pruned from it (pruned_heads in config.json)" in refusal(folder)


@pytest.mark.parametrize(
    ("names", "writer"),
    [
        (("weight.SCB", "weight_format"), "bitsandbytes"),
        (("weight.absmax", "weight.quant_map"), "bitsandbytes"),
        (("qweight", "qzeros"), "GPTQ or AWQ"),
    ],
)
def test_weights_that_are_quantized_are_named_by_the_library(
    folder: Path, names: tuple[str, ...], writer: str
) -> None:
    held = {name: tensor.clone() for name, tensor in load_file(folder / SINGLE).items()}
    module = "bert.encoder.layer.0.output.dense"
    held.pop(f"{module}.weight")
    held |= {f"{module}.{name}": torch.ones(4, dtype=torch.uint8) for name in names}
    save_file(held, folder / SINGLE, metadata={"format": "pt"})
    assert f"quantized by {writer}" in refusal(folder, UnsupportedModelError)


def test_a_section_over_quantized_weights_is_not_said_to_be_superfluous(folder: Path) -> None:
    held = {name: tensor.clone() for name, tensor in load_file(folder / SINGLE).items()}
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file(held | {name: held[name].to(torch.int8)}, folder / SINGLE, metadata={"format": "pt"})
    edit_config(folder, quantization_config={"quant_method": "bitsandbytes"})
    message = refusal(folder, UnsupportedModelError)
    assert "Delete" not in message
    assert "Start from the checkpoint before it was quantized" in message


# -------------------------------------------------------------------------------- other formats


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("tf_model.h5", ('pip install "transformers<5" tensorflow', "from_tf=True")),
        ("flax_model.msgpack", ('pip install "transformers<5" flax', "from_flax=True")),
        ("model.onnx", ("an export to ONNX", "Use the checkpoint that it was exported from")),
        ("onnx/model.onnx", ("has only onnx/model.onnx", "exported from")),
        ("model.Q4_K_M.gguf", ("an export to GGUF",)),
        ("openvino_model.bin", ("an export to OpenVINO",)),
        ("bert_model.ckpt.index", ("an export to TensorFlow 1",)),
        ("checkpoint-9/model.safetensors", ("but checkpoint-9 does. Name ",)),
        ("training_args.bin", ("contains neither model.safetensors nor",)),
    ],
)
def test_another_format_is_named_with_what_to_do(
    folder: Path, file: str, says: tuple[str, ...]
) -> None:
    (folder / SINGLE).unlink()
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(b"weights")
    message = refusal(folder)
    assert message.startswith(str(folder))
    for words in says:
        assert words in message


def test_a_hub_model_without_safetensors_is_converted_under_its_own_name(
    folder: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--someone--old-bert" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    shutil.copy(folder / "config.json", snapshot)
    message = refusal(snapshot)
    assert message.startswith("someone/old-bert: contains neither")
    command = "isobatch convert someone/old-bert old-bert --revision 0123abc"
    assert message.endswith(f"{command}; then load old-bert")


def test_the_folder_that_is_meant_is_named(folder: Path) -> None:
    above = folder.parent
    message = refusal(above)
    assert f"Use the folder inside that has it: {folder}" in message
    (folder / "logs").mkdir()
    assert f"Use the folder above: {folder}" in refusal(folder / "logs")
    empty = above / "empty" / "one"
    empty.mkdir(parents=True)
    assert "this one is empty" in refusal(empty)
    with pytest.raises(CheckpointError, match="Use the folder that contains it: ") as caught:
        locate_checkpoint(folder / SINGLE)
    assert str(caught.value).endswith(str(folder))


def test_a_broken_link_to_a_checkpoint_is_not_taken_for_a_hub_id(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to("elsewhere")
    with pytest.raises(CheckpointError, match="symbolic link to elsewhere, which does not exist"):
        locate_checkpoint(tmp_path / "model")


def test_a_pointer_of_git_lfs_is_fetched_by_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`git lfs` itself is a stand-in that fetches from a folder."""
    kept = shutil.copy(folder / SINGLE, tmp_path / "stored")
    (folder / SINGLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    tool = tmp_path / "bin" / "git"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\n[ "$1 $3 $4" = "-C lfs pull" ] && cp {kept} "$2/{SINGLE}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    message = refusal(folder)
    assert "is a Git LFS pointer" in message
    run_shell_fix(message, folder)
    assert_as_transformers(folder)


def test_parts_of_a_distributed_training_are_joined_by_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed's script and `accelerate` are stand-ins that copy the weights."""
    kept = str(shutil.move(folder / SINGLE, tmp_path / "stored"))
    (folder / "pytorch_model_fsdp_0").mkdir()
    tool = tmp_path / "bin" / "accelerate"
    tool.parent.mkdir()
    test = '[ "$1" = merge-weights ] && [ -d "$2" ]'
    tool.write_text(f'#!/bin/sh\n{test} && cp {kept} "$3/{SINGLE}"\n')
    tool.chmod(0o755)
    (tool.parent / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    message = refusal(folder)
    assert "are FSDP shards" in message
    run_shell_fix(message, folder)
    assert_as_transformers(folder)
    (folder / SINGLE).unlink()
    (folder / "zero_to_fp32.py").write_text(
        f"import shutil, sys; source, out, option = sys.argv[1:]\n"
        f"if option == '--safe_serialization': shutil.copy({kept!r}, out + '/{SINGLE}')\n"
    )
    message = refusal(folder)
    assert "are DeepSpeed shards" in message
    run_shell_fix(message, folder)
    assert_as_transformers(folder)


def test_a_command_in_a_message_is_one_that_a_shell_takes(tmp_path: Path) -> None:
    for odd in ("plain", 'it\'s "$HOME" `x` \\ !'):
        code = f"import sys; from pathlib import Path; Path('made').write_text({odd!r})"
        command = python_command(code).replace("python", sys.executable, 1)
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, timeout=60)
        assert (tmp_path / "made").read_text() == odd


# ----------------------------------------------------------------------------------- permission


@pytest.fixture
def locked(folder: Path) -> Iterator[Path]:
    """A copy that others may read up to its last folder, seen by an unprivileged process."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    copied = Path(shutil.copytree(folder, place / "model"))
    copied.chmod(0o755)
    for path in copied.iterdir():
        path.chmod(0o644)
    assert_as_transformers(copied)  # imports what an unprivileged process may not be able to
    privileged = os.geteuid() == 0
    try:
        if privileged:
            os.seteuid(65534)
        yield copied
    finally:
        if privileged:
            os.seteuid(0)
        shutil.rmtree(place)


def as_owner(action: SimpleNamespace) -> None:
    """Run `action` as the owner of the files."""
    before = os.geteuid()
    if before == 65534:
        os.seteuid(0)
    action.run()
    if before == 65534:
        os.seteuid(before)


@pytest.mark.parametrize("name", [SINGLE, "config.json"])
def test_a_file_without_permission_is_not_called_corrupt(locked: Path, name: str) -> None:
    path = locked / name
    as_owner(SimpleNamespace(run=lambda: path.chmod(0o000)))
    message = refusal(locked)
    assert message.startswith(f"{path}: this process has no permission to read it")
    assert "download" not in message
    as_owner(SimpleNamespace(run=lambda: run_shell_fix(message, locked)))
    assert_as_transformers(locked)


def test_a_folder_that_cannot_be_listed_is_named(locked: Path) -> None:
    as_owner(SimpleNamespace(run=lambda: (locked / SINGLE).rename(locked / "model.pt")))
    as_owner(SimpleNamespace(run=lambda: locked.chmod(0o711)))
    message = refusal(locked)
    assert f"{locked}: this process has no permission" in message
    assert "(its mode is drwx--x--x)" in message
    as_owner(SimpleNamespace(run=lambda: run_shell_fix(message, locked)))
    assert "has only model.pt" in refusal(locked)


@pytest.mark.parametrize("name", [".", ".."])
def test_a_folder_without_permission_is_named(locked: Path, name: str) -> None:
    closed = (locked / name).resolve()
    as_owner(SimpleNamespace(run=lambda: closed.chmod(0o600)))
    with pytest.raises(CheckpointError) as caught:
        AutoModelForSequenceClassification.from_pretrained(locked)
    message = str(caught.value)
    assert f"the folder {closed} is drw-------" in message
    as_owner(SimpleNamespace(run=lambda: run_shell_fix(message, Path("/"))))
    assert_as_transformers(locked)


# ------------------------------------------------------------------------------------- revision


@pytest.mark.parametrize("name", ["folder", None])
def test_a_revision_of_a_local_model_is_refused(folder: Path, name: str | None) -> None:
    path = folder if name else None
    with pytest.raises(OptionError, match="revision 'v1' is of a model on the hub"):
        Classifier.from_pretrained(path, revision="v1")
    assert locate_checkpoint(path, "main") == locate_checkpoint(path)

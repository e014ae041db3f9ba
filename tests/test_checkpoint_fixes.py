"""Checkpoints that are nearly right: each message names what, where and the fix, and the fix works.

Every case spoils a folder, takes the fix out of the message, applies it, and then the folder gives
the logits of the folder that was not spoiled, in Isobatch and in transformers.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from message_fixes import edit_config, run_convert_fix, run_python_fix, run_shell_fix
from safetensors.torch import load_file, save_file
from tiny_checkpoints import BERT_FAMILIES, Tiny, TinyFolder, random_ids, reference_model
from torch import Tensor

from isobatch.compat import AutoModelForSequenceClassification
from isobatch.errors import CheckpointError
from isobatch.model import read_model

SINGLE = "model.safetensors"
Tensors = dict[str, Tensor]
Damage = Callable[[Path], None]
Fix = Callable[[str, Path], None]


def tensors(change: Callable[[Tensors], Tensors]) -> Damage:
    def spoil(folder: Path) -> None:
        before = {name: tensor.clone() for name, tensor in load_file(folder / SINGLE).items()}
        after = {name: tensor.clone() for name, tensor in change(before).items()}
        save_file(after, folder / SINGLE, metadata={"format": "pt"})

    return spoil


def renamed(rename: Callable[[str], str]) -> Damage:
    return tensors(lambda held: {rename(name): tensor for name, tensor in held.items()})


def config(**changes: object) -> Damage:
    """Write these keys into config.json; ... removes one."""

    def spoil(folder: Path) -> None:
        raw = json.loads((folder / "config.json").read_text()) | changes
        kept = {key: value for key, value in raw.items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(kept))

    return spoil


def both(*damages: Damage) -> Damage:
    def spoil(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return spoil


def text(name: str, change: Callable[[str], str], encoding: str = "utf-8") -> Damage:
    def spoil(folder: Path) -> None:
        written = change((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_bytes(written.encode(encoding))

    return spoil


def moved(old: str, new: str) -> Damage:
    def spoil(folder: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)

    return spoil


def pickled(name: str, wrap: Callable[[Tensors], object] = dict) -> Damage:
    def spoil(folder: Path) -> None:
        torch.save(wrap(load_file(folder / SINGLE)), folder / name)
        (folder / SINGLE).unlink()

    return spoil


def by_python(message: str, folder: Path) -> None:
    run_python_fix(message)


def by_convert(message: str, folder: Path) -> None:
    run_convert_fix(message, folder)


def by_shell(message: str, folder: Path) -> None:
    run_shell_fix(message, folder)


def by_config(message: str, folder: Path) -> None:
    edit_config(message, folder / "config.json")


def by_deleting_the_character(message: str, folder: Path) -> None:
    """Delete what is at FILE:LINE:COLUMN, a comma, or a comment up to the end of its line."""
    place = message.partition(": ")[0]
    path, line, column = place.rsplit(":", 2)
    lines = Path(path).read_text().splitlines(keepends=True)
    row, at = lines[int(line) - 1], int(column) - 1
    end = at + 1 if "comma" in message else len(row.rstrip("\n"))
    lines[int(line) - 1] = row[:at] + row[end:]
    Path(path).write_text("".join(lines))


def by_restoring(message: str, folder: Path) -> None:
    """Copy the file again that the message begins with."""
    path = Path(message.partition(": ")[0])
    path.unlink(missing_ok=True)
    shutil.copy(folder.parent / "pristine" / path.name, path)


ONE_LAYER = Tiny("bert", num_layers=1)


@dataclass(frozen=True)
class Case:
    """says: parts of the message. tiny: the folder that is spoiled."""

    name: str
    damage: Damage
    fix: Fix
    says: tuple[str, ...]
    tiny: Tiny = ONE_LAYER


def saved_by_peft(held: Tensors, adapter: str = "default") -> Tensors:
    """The names of PEFT's merged model: the trained head is under modules_to_save."""
    spoiled: Tensors = {}
    for name, tensor in held.items():
        if "classifier" in name:
            top, _, rest = name.partition(".")
            spoiled[f"{top}.original_module.{rest}"] = torch.zeros_like(tensor)
            spoiled[f"{top}.modules_to_save.{adapter}.{rest}"] = tensor
        else:
            spoiled[name] = tensor
    return spoiled


def prefixed(prefix: str) -> Damage:
    return renamed(lambda name: prefix + name)


def shards_renamed(prefix: str) -> Damage:
    def spoil(folder: Path) -> None:
        for shard in folder.glob("model-*.safetensors"):
            held = {prefix + name: tensor.clone() for name, tensor in load_file(shard).items()}
            save_file(held, shard, metadata={"format": "pt"})
        index = json.loads((folder / f"{SINGLE}.index.json").read_text())
        index["weight_map"] = {prefix + name: file for name, file in index["weight_map"].items()}
        (folder / f"{SINGLE}.index.json").write_text(json.dumps(index))

    return spoil


TWO = Tiny("bert", num_layers=2)
SHARDS = Tiny("bert", max_shard_size="30KB")
ROBERTA = Tiny("roberta", num_layers=1)
THREE = Tiny("bert", num_layers=1, num_labels=3)
ONE = Tiny("bert", num_layers=1, num_labels=1)
OF_3 = '"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}'
OF_2 = '"id2label": {"0": "LABEL_0", "1": "LABEL_1"}'
LONGER = {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2", "3": "LABEL_3"}

NAMES = [
    *(
        Case(f"{prefix} {family}", prefixed(prefix), by_convert, (repr(prefix),), Tiny(family))
        for prefix, family in zip(
            (
                *("module.", "_orig_mod.", "model.", "net.", "base_model.model."),
                *("student.encoder.", "text_model."),
            ),
            BERT_FAMILIES,
            strict=True,
        )
    ),
    Case("nested", prefixed("module._orig_mod."), by_convert, ("'module.'", "'_orig_mod.'")),
    Case(
        "compiled encoder",
        renamed(lambda name: name.replace("bert.", "bert._orig_mod.")),
        by_convert,
        ("'_orig_mod.'", "torch.compile"),
    ),
    Case(
        "sharded modules",
        renamed(lambda name: name.replace(".attention.", "._fsdp_wrapped_module.attention.")),
        by_convert,
        ("FSDP",),
    ),
    Case("prefix and shards", shards_renamed("module."), by_convert, ("'module.'",), SHARDS),
    *(
        Case(
            f"modules_to_save {family}",
            tensors(saved_by_peft),
            by_convert,
            ("modules_to_save", "original_module"),
            Tiny(family, num_layers=1),
        )
        for family in ("bert", "roberta", "distilbert")
    ),
    Case(
        "modules_to_save of another adapter, with PEFT's prefix",
        both(tensors(lambda held: saved_by_peft(held, "mine")), prefixed("base_model.model.")),
        by_convert,
        ("modules_to_save", "'base_model.model.'"),
    ),
    Case(
        "a loss",
        tensors(lambda held: held | {"loss_fct.weight": torch.ones(2)}),
        by_convert,
        ("unexpected: loss_fct.weight", "transformers ignores them"),
    ),
    Case(
        "many of a module in the encoder",
        tensors(lambda held: held | {f"bert.adapter.{n}.weight": torch.ones(2) for n in range(20)}),
        by_convert,
        ("unexpected: bert.adapter.0.weight", "--drop=bert.adapter.;", "and 8 more"),
    ),
    Case(
        "a norm under two names",
        tensors(
            lambda held: (
                held
                | {"bert.embeddings.LayerNorm.beta": held["bert.embeddings.LayerNorm.bias"]}
                | {"bert.embeddings.LayerNorm.bias": torch.ones(32)}
            )
        ),
        by_convert,
        ("LayerNorm.beta and bert.embeddings.LayerNorm.bias are both read as",),
    ),
    Case(
        "float8",
        tensors(lambda held: {k: v.to(torch.float8_e5m2) for k, v in held.items()}),
        by_python,
        ("torch.float8_e5m2",),
    ),
]
SIZES = [
    Case("layers", config(num_hidden_layers=1), by_config, ('"num_hidden_layers": 2',), TWO),
    Case("more layers", config(n_layers=3), by_config, ('"n_layers": 2',), Tiny("distilbert")),
    Case("vocabulary", config(vocab_size=499), by_config, ('"vocab_size": 500',)),
    Case("positions", config(max_position_embeddings=64), by_config, ("512",)),
    Case("types", config(type_vocab_size=1), by_config, ('"type_vocab_size": 2',)),
    Case("intermediate", config(intermediate_size=64), by_config, ('"intermediate_size": 48',)),
    Case("width", config(hidden_size=64), by_config, ('"hidden_size": 32',)),
]
LABELS = [
    Case(
        "head of 1, map of 2",
        config(id2label={"0": "A", "1": "B"}),
        by_config,
        ("num_labels", '"id2label": {"0": "LABEL_0"}'),
        ONE,
    ),
    Case("map of 4, head of 3", config(id2label=LONGER), by_config, ("num_labels", OF_3), THREE),
    Case("no map, head of 3", config(id2label=..., label2id=...), by_config, (OF_3,), THREE),
    Case(
        "another number than the head's",
        config(num_labels=3, id2label={"0": "A", "1": "B"}),
        by_config,
        ("num_labels is 3", "id2label has 2", 'delete "num_labels"'),
    ),
    Case(
        "another map than the head's",
        config(num_labels=3, id2label={"0": "A", "1": "B"}),
        by_config,
        ("num_labels is 3", "id2label has 2", OF_3),
        THREE,
    ),
    Case("an empty map", config(id2label={}), by_config, ("id2label is empty", OF_2)),
    Case("a gap", config(id2label={"0": "LABEL_0", "2": "LABEL_2"}), by_config, (OF_3,), THREE),
    Case("from 1 on", config(id2label={"1": "LABEL_0", "2": "LABEL_1"}), by_config, (OF_2,)),
    Case(
        "names as keys",
        config(id2label={"LABEL_0": "LABEL_0", "LABEL_1": "LABEL_1"}),
        by_config,
        ("not a number", OF_2),
    ),
    Case("a list", config(id2label=["LABEL_0", "LABEL_1"]), by_config, (OF_2,)),
    Case("twice", config(id2label={"0": "A", "1": "A"}), by_config, ('{"0": "A", "1": "A_1"}',)),
    Case(
        "another order",
        config(id2label={"0": "A", "1": "B"}, label2id={"A": 1, "B": 0}),
        by_config,
        ('"label2id": {"A": 0, "B": 1}',),
    ),
]
SETTINGS = [
    Case("no type", config(model_type=...), by_config, ('"model_type": "roberta",',), ROBERTA),
    Case(
        "no architectures either",
        config(model_type=..., architectures=...),
        by_config,
        ('"model_type": "bert",', "tensors"),
    ),
    Case(
        "capitals",
        config(model_type="XLM_RoBERTa"),
        by_config,
        ("'XLM_RoBERTa'",),
        Tiny("xlm-roberta", num_layers=1),
    ),
    Case(
        "another family's type",
        config(model_type="bert"),
        by_config,
        ("'roberta.'", '"model_type": "roberta"'),
        ROBERTA,
    ),
    Case(
        "one label of many",
        config(problem_type="single_label_classification"),
        by_config,
        ("single_label_classification", '"problem_type": "regression"'),
        ONE,
    ),
    Case("a decoder", config(is_decoder=True), by_config, ('"is_decoder": false',)),
    Case(
        "relative positions",
        config(position_embedding_type="relative_key"),
        by_config,
        ("'relative_key'", '"position_embedding_type": "absolute"'),
    ),
    Case("unknown problem", config(problem_type="ranking"), by_config, ('"problem_type": null',)),
    *(
        Case(
            f"{method} over floats",
            config(quantization_config={"quant_method": method}),
            by_config,
            (repr(method), 'Delete "quantization_config"'),
        )
        for method in ("bitsandbytes", "gptq", "awq", "quanto", "torchao", "fp8")
    ),
    Case("no method", config(quantization_config={"bits": 4}), by_config, ("floats (F32)",)),
    Case(
        "sigmoids of several labels",
        config(sentence_transformers={"activation_fn": "torch.nn.modules.activation.Sigmoid"}),
        by_config,
        ("activation_fn", '"problem_type": "multi_label_classification"'),
    ),
    Case(
        "tanh",
        config(sbert_ce_default_activation_function="torch.nn.modules.activation.Tanh"),
        by_config,
        ("Tanh", 'delete "sbert_ce_default_activation_function"'),
        ONE,
    ),
]


def link(folder: Path) -> None:
    (folder / SINGLE).unlink()
    (folder / SINGLE).symlink_to("../blobs/0")


def subfolder(folder: Path) -> None:
    (folder / SINGLE).unlink()
    (folder / SINGLE).mkdir()


def by_renaming_and_converting(message: str, folder: Path) -> None:
    by_shell(message, folder)
    by_convert(refusal(folder), folder)


def by_removing_and_restoring(message: str, folder: Path) -> None:
    by_shell(message, folder)
    by_restoring(message, folder)


def without_index(folder: Path) -> None:
    (folder / f"{SINGLE}.index.json").unlink()


FILES = [
    Case("a .bin", pickled("pytorch_model.bin"), by_convert, ("pickles are never loaded",)),
    Case("a state_dict", pickled("best.pt"), by_convert, ("has only best.pt",)),
    Case(
        "a checkpoint of Lightning",
        pickled("last.ckpt", lambda held: {"state_dict": held}),
        by_convert,
        ("has only last.ckpt",),
    ),
    Case(
        "a pickle named as safetensors",
        both(pickled("x"), moved("x", SINGLE)),
        by_renaming_and_converting,
        ("a pickle of torch.save", "mv "),
    ),
    Case("another name", moved(SINGLE, "model.fp16.safetensors"), by_shell, ("mv ",)),
    Case("no index", without_index, by_python, ("has the shards", f"not {SINGLE}.index"), SHARDS),
    Case("a broken link", link, by_restoring, ("symbolic link to ../blobs/0",)),
    Case("a folder", subfolder, by_removing_and_restoring, ("is a folder", "rmdir ")),
    Case("empty", text("config.json", lambda _: ""), by_restoring, ("is empty (0 bytes)",)),
    Case("web", text("config.json", lambda _: "<!DOCTYPE html>"), by_restoring, ("a web page",)),
    Case("utf-16", text("config.json", str, "utf-16"), by_shell, ("UTF-16", "iconv")),
    Case("utf-32", text("config.json", str, "utf-32"), by_shell, ("UTF-32", "iconv")),
    Case(
        "latin-1",
        text("config.json", lambda content: content.replace("{", '{"note": "é",', 1), "latin-1"),
        by_shell,
        ("not UTF-8", "iconv"),
    ),
    Case(
        "a comma",
        text("config.json", lambda content: content.rstrip().removesuffix("}").rstrip() + ",\n}"),
        by_deleting_the_character,
        ("a comma before }",),
    ),
    Case(
        "a comment",
        text("config.json", lambda content: content.replace("{", "{ // mine\n", 1)),
        by_deleting_the_character,
        ("a comment",),
    ),
]


@pytest.fixture
def spoilt(request: pytest.FixtureRequest, tiny_folder: TinyFolder, tmp_path: Path) -> Path:
    """A copy of the case's folder, next to an unspoilt one."""
    shutil.copytree(tiny_folder(request.param.tiny), tmp_path / "pristine")
    folder = shutil.copytree(tmp_path / "pristine", tmp_path / "my model")
    request.param.damage(folder)
    return Path(folder)


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_model(folder)
    return str(caught.value)


def our_logits(folder: Path, ids: Tensor) -> Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        return model(ids, torch.ones_like(ids)).logits


def their_logits(folder: Path, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return reference_model(folder)(ids).logits.float()


@pytest.mark.parametrize(
    ("case", "spoilt"),
    [(case, case) for case in (*NAMES, *SIZES, *LABELS, *SETTINGS, *FILES)],
    indirect=["spoilt"],
    ids=lambda case: case.name,
)
def test_the_fix_that_a_message_names_gives_the_model_of_transformers(
    case: Case, spoilt: Path
) -> None:
    message = refusal(spoilt)
    assert str(spoilt) in message
    for words in case.says:
        assert words in message
    case.fix(message, spoilt)
    ids = torch.tensor(random_ids([7], case.tiny))
    ours = our_logits(spoilt, ids)
    torch.testing.assert_close(ours, their_logits(spoilt, ids), atol=1e-5, rtol=1e-5)
    if case.name != "float8":
        pristine = spoilt.parent / "pristine"
        assert torch.equal(ours, our_logits(pristine, ids)), "the tensors are the saved ones"

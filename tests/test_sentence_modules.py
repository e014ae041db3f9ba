"""The modules of a sentence-transformers folder: their settings are read, or rejected by name."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from embedding_folders import (
    SIZE,
    TEXTS,
    edit_json,
    reference_vectors,
    write_embedding_folder,
)
from message_fixes import run_python_fix
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
)
from torch import nn

from isobatch import Classifier, Embedder
from isobatch.checkpoint.sentence_modules import SentenceModules, read_sentence_modules
from isobatch.errors import (
    CheckpointError,
    MissingHeadError,
    TensorMismatchError,
    UnsupportedModelError,
)
from isobatch.specification import LinearStep, NormalizeStep, NormSpec, NormStep

ACTIVATIONS = [nn.Tanh, nn.Identity, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid]


def write_modules(folder: Path, *modules: tuple[str, dict[str, object] | None]) -> Path:
    """Write modules.json and the config.json of each module after the encoder."""
    listed = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    ]
    for number, (kind, settings) in enumerate(modules, 1):
        path = f"{number}_{kind.rpartition('.')[2]}"
        full = kind if "." in kind else f"sentence_transformers.models.{kind}"
        listed.append({"idx": number, "name": str(number), "path": path, "type": full})
        if settings is not None:
            edit_json(folder / path / "config.json", **settings)
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


def read(folder: Path) -> SentenceModules:
    found = read_sentence_modules(folder)
    assert found is not None
    return found


def error_of(folder: Path, kind: type[Exception] = UnsupportedModelError) -> str:
    with pytest.raises(kind) as raised:
        read_sentence_modules(folder)
    assert type(raised.value) is kind
    return str(raised.value)


ELSEWHERE = "Compute such vectors with sentence-transformers, or use another model"
MEAN: tuple[str, dict[str, object]] = ("Pooling", {"pooling_mode": "mean"})


# ---------------------------------------------------------------------------------- the pooling


@pytest.mark.parametrize(
    ("settings", "pools"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("first",)),
        ({"pooling_mode_mean_tokens": True}, ("mean",)),
        ({"pooling_mode_max_tokens": True}, ("max",)),
        ({"pooling_mode_lasttoken": True}, ("last",)),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            ("first", "mean"),
        ),
        (
            {
                "pooling_mode_lasttoken": True,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_max_tokens": True,
                "pooling_mode_cls_token": True,
            },
            ("first", "max", "mean", "last"),
        ),
        ({"word_embedding_dimension": 32}, ("mean",)),
        ({"pooling_mode": "cls"}, ("first",)),
        ({"pooling_mode": "lasttoken", "include_prompt": True}, ("last",)),
        ({"pooling_mode": ["mean", "cls", "max"]}, ("mean", "first", "max")),
        ({"pooling_mode": "cls", "pooling_mode_mean_tokens": True}, ("first",)),
    ],
)
def test_old_flags_and_new_modes(
    settings: dict[str, object], pools: tuple[str, ...], tmp_path: Path
) -> None:
    write_modules(tmp_path, ("Pooling", settings))
    assert read(tmp_path).pools == pools
    theirs = Pooling.load_config(str(tmp_path / "1_Pooling")).get("pooling_mode", "mean")
    names = {"first": "cls", "last": "lasttoken"}
    expected = [names.get(pool, pool) for pool in pools]
    assert ([theirs] if isinstance(theirs, str) else list(theirs)) == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode": ["mean", "weightedmean"]}, "weightedmean"),
        ({"pooling_mode": "median"}, "median"),
        ({"pooling_mode": 7}, "7"),
    ],
)
def test_another_mode_is_named(settings: dict[str, object], named: str, tmp_path: Path) -> None:
    write_modules(tmp_path, ("Pooling", settings))
    assert error_of(tmp_path) == (
        f"{tmp_path}/1_Pooling/config.json: pooling {named} is not supported; supported: cls, "
        f"lasttoken, mean, max. {ELSEWHERE}"
    )


def test_no_mode_at_all_is_an_error(tmp_path: Path) -> None:
    write_modules(tmp_path, ("Pooling", {"pooling_mode": []}))
    assert "1_Pooling/config.json: pooling_mode is empty" in error_of(tmp_path, CheckpointError)


def test_pooling_without_the_prompt_is_not_supported(tmp_path: Path) -> None:
    write_modules(tmp_path, ("Pooling", {"pooling_mode": "mean", "include_prompt": False}))
    assert error_of(tmp_path) == (
        f"{tmp_path}/1_Pooling/config.json: include_prompt is false, and pooling without the "
        "prompt is not supported. If the texts have no prompt, write true"
    )


# ------------------------------------------------------------------------------- the other modules


def test_without_modules_nothing_is_said(tmp_path: Path) -> None:
    assert read_sentence_modules(tmp_path) is None
    write_modules(tmp_path)
    assert read_sentence_modules(tmp_path) is None
    (tmp_path / "modules.json").write_text("[]")
    assert read_sentence_modules(tmp_path) is None


def test_layers_are_steps(tmp_path: Path) -> None:
    dense = {
        "in_features": 32,
        "out_features": 5,
        "bias": False,
        "activation_function": "torch.nn.modules.activation.ReLU",
    }
    write_modules(
        tmp_path,
        MEAN,
        ("Dense", dense),
        ("Dropout", {"dropout": 0.3}),
        ("LayerNorm", {"dimension": 5}),
        ("Normalize", None),
        ("Dense", {"in_features": 5, "out_features": 3}),
    )
    found = read(tmp_path)
    assert found.steps == (
        LinearStep("2_Dense", 32, 5, "relu", bias=False),
        NormStep("4_LayerNorm", 5, NormSpec(1e-5)),
        NormalizeStep(),
        LinearStep("6_Dense", 5, 3, "tanh"),
    )
    assert found.folders == {
        "2_Dense": "2_Dense",
        "4_LayerNorm": "4_LayerNorm",
        "6_Dense": "6_Dense",
    }
    assert not found.scores


def test_the_last_layer_of_a_reranker_gives_scores(tmp_path: Path) -> None:
    scores = {"in_features": 32, "out_features": 1, "module_output_name": "scores"}
    write_modules(tmp_path, MEAN, ("Dense", scores))
    assert read(tmp_path).scores
    write_modules(tmp_path, MEAN, ("Dense", scores), ("Normalize", None))
    assert "module 3 is Normalize, which is not supported after a reranker's scores" in error_of(
        tmp_path
    )


@pytest.mark.parametrize("kind", ["WordWeights", "CNN", "LSTM", "WeightedLayerPooling", "Asym"])
def test_another_module_is_named(kind: str, tmp_path: Path) -> None:
    write_modules(tmp_path, MEAN, (kind, {}))
    assert error_of(tmp_path) == (
        f"{tmp_path}/modules.json: module 2 is {kind}; supported there: Pooling, Dense, LayerNorm, "
        f"Normalize, Dropout. {ELSEWHERE}"
    )


@pytest.mark.parametrize("kind", ["custom_st.Dense", "pylate.models.Dense", "os.system"])
def test_a_class_in_remote_code_is_never_run(kind: str, tmp_path: Path) -> None:
    write_modules(tmp_path, MEAN, (kind, {"in_features": 32, "out_features": 8}))
    assert error_of(tmp_path) == (
        f"{tmp_path}/modules.json: module 2 is {kind}, a class in remote code, which is never run. "
        f"{ELSEWHERE}"
    )


def test_an_encoder_in_remote_code_or_of_another_kind_is_named(tmp_path: Path) -> None:
    for kind, problem in (
        ("custom_st.Transformer", "module 0 is custom_st.Transformer, a class in remote code"),
        ("sentence_transformers.models.BoW", "module 0 is BoW; supported there: Transformer"),
    ):
        (tmp_path / "modules.json").write_text(json.dumps([{"type": kind, "path": ""}]))
        assert problem in error_of(tmp_path)


def test_the_layout_of_an_old_version_is_made_new_by_the_command(
    dense_folder: Path, tmp_path: Path
) -> None:
    expected = Embedder.from_pretrained(dense_folder)(TEXTS)
    old = tmp_path / "old model"
    inner = old / "0_Transformer"
    shutil.copytree(dense_folder, inner)
    for name in ("1_Pooling", "2_Dense", "modules.json", "config_sentence_transformers.json"):
        shutil.move(inner / name, old / name)
    listed = json.loads((old / "modules.json").read_text())
    (old / "modules.json").write_text(json.dumps([{**listed[0], "path": inner.name}, *listed[1:]]))
    with pytest.raises(CheckpointError, match="the encoder is in 0_Transformer") as raised:
        Embedder.from_pretrained(old)
    run_python_fix(str(raised.value))
    assert Embedder.from_pretrained(old)(TEXTS).tobytes() == expected.tobytes()


def test_the_encoder_of_an_old_version_is_in_a_folder_of_its_own(tmp_path: Path) -> None:
    module = {"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"}
    (tmp_path / "modules.json").write_text(json.dumps([module]))
    assert error_of(tmp_path) == (
        f"{tmp_path}/modules.json: the encoder is in 0_Transformer, as old versions of "
        "sentence-transformers saved it. Load the model with it, and save it again"
    )


@pytest.mark.parametrize("path", ["../other", "2_Dense/../../other", "/etc", ""])
def test_a_path_outside_of_the_folder_is_an_error(path: str, tmp_path: Path) -> None:
    listed = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": path},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    assert error_of(tmp_path, CheckpointError) == (
        f"{tmp_path}/modules.json: module 1 has the path {path!r}; expected a folder inside of "
        "this one. Restore the file"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}", "expected a JSON array"),
        ("[7]", "module 0 has no type"),
        ('[{"path": ""}]', "module 0 has no type"),
        ("[", "modules.json:1:2"),
    ],
)
def test_a_file_that_lists_no_modules_is_an_error(
    content: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "modules.json").write_text(content)
    assert problem in error_of(tmp_path, CheckpointError)


def test_tokens_are_not_changed_before_they_are_pooled(tmp_path: Path) -> None:
    """As in late interaction, whose vectors are those of tokens."""
    dense = {"in_features": 32, "out_features": 8, "module_input_name": "token_embeddings"}
    write_modules(tmp_path, ("Dense", dense))
    assert error_of(tmp_path).endswith(f"module 1 is Dense; supported there: Pooling. {ELSEWHERE}")
    write_modules(tmp_path, MEAN, ("Dense", dense))
    assert error_of(tmp_path) == (
        f"{tmp_path}/2_Dense/config.json: reads 'token_embeddings' and writes 'token_embeddings'; "
        "supported is a module that reads 'sentence_embedding' and writes that or 'scores'. "
        f"{ELSEWHERE}"
    )
    write_modules(tmp_path, MEAN, MEAN)
    assert error_of(tmp_path).endswith(
        f"module 2 is Pooling, which is not supported after Pooling. {ELSEWHERE}"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"use_residual": True}, "use_residual is true, which is not supported"),
        ({"activation_function": "torch.nn.modules.activation.ELU"}, "activation_function "),
        ({"activation_function": "custom.activations.ReLU"}, "'custom.activations.ReLU' is not"),
        ({"activation_function": "torch.nn.functional.tanh"}, "'torch.nn.functional.tanh' is not"),
    ],
)
def test_a_setting_of_a_dense_layer_is_named(
    change: dict[str, object], problem: str, tmp_path: Path
) -> None:
    dense = {"in_features": 32, "out_features": 8} | change
    write_modules(tmp_path, MEAN, ("Dense", dense))
    message = error_of(tmp_path)
    assert message.startswith(f"{tmp_path}/2_Dense/config.json: ")
    assert problem in message
    assert message.endswith(f". {ELSEWHERE}")


@pytest.mark.parametrize("value", [None, 0, "32", True])
def test_a_size_that_is_none_is_an_error(value: object, tmp_path: Path) -> None:
    write_modules(tmp_path, MEAN, ("Dense", {"in_features": value, "out_features": 8}))
    message = error_of(tmp_path, CheckpointError)
    assert "2_Dense/config.json: in_features must be a positive integer" in message


# ------------------------------------------------------------------------------ with weights


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_dense_layer_is_that_of_sentence_transformers(
    activation: type[nn.Module], tmp_path: Path
) -> None:
    bias = activation is not nn.ReLU
    modules = [Pooling(SIZE, "mean"), Dense(SIZE, 12, bias, activation())]
    check_parity(write_embedding_folder(tmp_path, modules=modules), 12)


@pytest.mark.parametrize(
    "modules",
    [
        [Pooling(SIZE, ["cls", "mean"]), Dense(2 * SIZE, 40), LayerNorm(40), Normalize()],
        [Pooling(SIZE, "max"), Normalize(), Dense(SIZE, 7), Dense(7, 9, bias=False)],
        [Pooling(SIZE, "cls"), LayerNorm(SIZE), Dropout(0.5)],
    ],
    ids=("dense and norm", "two dense", "norm and dropout"),
)
def test_modules_are_those_of_sentence_transformers(
    modules: Sequence[nn.Module], tmp_path: Path
) -> None:
    size = modules[1].out_features if isinstance(modules[1], Dense) else SIZE
    size = 9 if isinstance(modules[-1], Dense) else size
    check_parity(write_embedding_folder(tmp_path, modules=modules), size)


def check_parity(folder: Path, size: int) -> None:
    embedder = Embedder.from_pretrained(folder)
    found, expected = embedder(TEXTS), reference_vectors(folder)
    assert found.shape == expected.shape == (len(TEXTS), size)
    assert embedder.size == size
    torch.testing.assert_close(
        torch.from_numpy(found), torch.from_numpy(expected), rtol=0, atol=1e-5
    )
    assert expected.std(0).max() > 0.05


@pytest.fixture(scope="module")
def dense_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    modules = [Pooling(SIZE, "mean"), Dense(SIZE, 12)]
    return write_embedding_folder(tmp_path_factory.mktemp("dense"), modules=modules)


@pytest.fixture
def own_folder(dense_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dense_folder, tmp_path / "model"))


def test_weights_of_half_the_size_are_read(own_folder: Path) -> None:
    path = own_folder / "2_Dense/model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    check_parity(own_folder, 12)


def test_weights_that_are_missing_unexpected_or_misshapen_are_named(own_folder: Path) -> None:
    path = own_folder / "2_Dense/model.safetensors"
    stored = load_file(path)
    weight, bias = stored["linear.weight"], stored["linear.bias"]
    for tensors, problem in (
        ({"linear.weight": weight}, "linear.bias is missing. Restore the file"),
        ({"linear.bias": bias}, "linear.weight is missing. Restore the file"),
        ({**stored, "linear.scale": bias + 1}, "unexpected: linear.scale. Restore it"),
        (
            {"linear.weight": weight[:7].clone(), "linear.bias": bias},
            "linear.weight has the shape [7, 32], and its config.json says [12, 32]. Restore both",
        ),
    ):
        save_file(tensors, path)
        with pytest.raises(TensorMismatchError, match=re.escape(f"{path}: {problem}")):
            Embedder.from_pretrained(own_folder)
    save_file({**stored, "linear.bias": bias / 0}, path)
    with pytest.raises(CheckpointError, match=r"linear\.bias contains NaN or infinity"):
        Embedder.from_pretrained(own_folder)


def test_a_module_without_weights_is_an_error(own_folder: Path) -> None:
    (own_folder / "2_Dense/model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="2_Dense: contains neither model"):
        Embedder.from_pretrained(own_folder)
    torch.save({}, own_folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(CheckpointError, match="2_Dense: has only pytorch_model"):
        Embedder.from_pretrained(own_folder)


def test_a_module_that_takes_other_numbers_than_it_gets_is_an_error(own_folder: Path) -> None:
    edit_json(own_folder / "1_Pooling/config.json", pooling_mode=["cls", "mean"])
    with pytest.raises(CheckpointError) as raised:
        Embedder.from_pretrained(own_folder)
    assert str(raised.value) == (
        f"{own_folder}/modules.json: 2_Dense takes vectors of 32 numbers, and gets 64 of the "
        "modules before it. Restore the folder"
    )
    Embedder.from_pretrained(own_folder, pooling="cls")
    edit_json(own_folder / "2_Dense/config.json", in_features=64)
    with pytest.raises(CheckpointError, match=r'gets 32 .* Omit pooling="cls"'):
        Embedder.from_pretrained(own_folder, pooling="cls")


def test_a_reranker_of_modules_is_a_classifier_and_no_embedding_model(tmp_path: Path) -> None:
    modules = [
        Pooling(SIZE, "mean"),
        Dense(SIZE, 1, activation_function=nn.Identity(), module_output_name="scores"),
    ]
    folder = write_embedding_folder(tmp_path, modules=modules)
    with pytest.raises(MissingHeadError, match="Pass pooling="):
        Embedder.from_pretrained(folder)
    assert Embedder.from_pretrained(folder, pooling="mean")("good").shape == (SIZE,)
    classifier = Classifier.from_pretrained(folder)
    assert classifier.logits(TEXTS).shape == (len(TEXTS), 1)

"""The drop-in model against transformers' own: masks, gradients, losses, names, errors."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from tiny_checkpoints import (
    DECODERS,
    FAMILIES,
    WITH_DISTANCES,
    Tiny,
    TinyFolder,
    pad_left,
    pad_right,
    random_ids,
    reference_model,
)

from isobatch import AutoModelForSequenceClassification, MissingAttentionMaskWarning
from isobatch.checkpoint import place_of
from isobatch.compat.model import PaddedClassifier
from isobatch.compat.module_tree import FusedLinear
from isobatch.errors import CheckpointError, InputError, OptionError

LENGTHS = [9, 3, 14, 14, 2]
CASES = [(family, "") for family in FAMILIES] + [("bert", "torch"), ("distilbert", "torch")]
"""Families with compiled kernels where there are any, and two with torch's own."""


@pytest.fixture(params=CASES, ids=lambda case: "-".join(filter(None, case)))
def tiny(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    family, forced = request.param
    if forced:
        monkeypatch.setenv("ISOBATCH_INSTRUCTION_SET", forced)
    return Tiny(family, num_labels=3, dropout=0.0)


@pytest.fixture
def model(tiny: Tiny, tiny_folder: TinyFolder) -> PaddedClassifier:
    return AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny))


@pytest.fixture
def reference(tiny: Tiny, tiny_folder: TinyFolder) -> transformers.PreTrainedModel:
    return reference_model(tiny_folder(tiny))


def test_with_the_mask_as_transformers(
    model: PaddedClassifier, reference: transformers.PreTrainedModel, tiny: Tiny
) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    expected = reference(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, expected, atol=1e-5, rtol=0)


def test_with_the_mask_the_same_bits_as_alone(model: PaddedClassifier, tiny: Tiny) -> None:
    rows = random_ids(LENGTHS, tiny)
    right = model(*pad_right(rows, tiny.pad_token_id)).logits
    left = model(*pad_left(rows, tiny.pad_token_id)).logits
    alone = torch.cat([model(torch.tensor([row])).logits for row in rows])
    assert torch.equal(right, alone)
    assert torch.equal(left, alone)


def test_without_the_mask_as_transformers_and_with_a_warning(
    model: PaddedClassifier, reference: transformers.PreTrainedModel, tiny: Tiny
) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns too, for some families
        expected = reference(input_ids=ids, attention_mask=torch.ones_like(mask)).logits
    if tiny.model_type in DECODERS:
        with pytest.raises(InputError, match=r"rows \[0, 1, 4\] end with the pad token"):
            model(ids)
        return
    with pytest.warns(MissingAttentionMaskWarning, match=r"rows \[0, 1, 4\]") as caught:
        logits = model(ids).logits
    assert len(caught) == 1
    assert caught[0].filename == __file__
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert (logits - model(ids, attention_mask=mask).logits)[[0, 1, 4]].abs().max() > 1e-3


def test_padding_between_tokens_is_rejected_where_distances_count(
    model: PaddedClassifier, tiny: Tiny
) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    mask[2, 5] = 0
    if tiny.model_type in WITH_DISTANCES:
        with pytest.raises(InputError, match="row 2: attention_mask has a gap"):
            model(ids, attention_mask=mask)
    else:
        model(ids, attention_mask=mask)


def test_no_warning_where_nothing_is_padded(model: PaddedClassifier, tiny: Tiny) -> None:
    model(torch.tensor(random_ids([7, 7], tiny)))  # warnings are errors here


def fused_gradients(model: PaddedClassifier) -> dict[str, torch.Tensor]:
    """The gradients by the names of transformers' parameters."""
    parts: dict[str, dict[int, torch.Tensor]] = {}
    for name, parameter in model.packed.named_parameters():
        place = place_of(model.packed.config.family.public, name)
        assert parameter.grad is not None
        parts.setdefault(place.name, {})[place.index] = parameter.grad
    return {name: torch.cat([found[i] for i in range(len(found))]) for name, found in parts.items()}


def test_gradients_agree_with_transformers(
    model: PaddedClassifier, reference: transformers.PreTrainedModel, tiny: Tiny
) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    labels = torch.tensor([0, 1, 2, 0, 1])
    ours = model(ids, attention_mask=mask, labels=labels)
    theirs = reference(input_ids=ids, attention_mask=mask, labels=labels)
    torch.testing.assert_close(ours.loss, theirs.loss, atol=1e-5, rtol=0)
    ours.loss.backward()
    theirs.loss.backward()
    expected = {
        name: parameter.grad
        for name, parameter in reference.named_parameters()
        if parameter.grad is not None
    }
    gradients = fused_gradients(model)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        scale = max(1.0, float(expected[name].abs().max()))
        torch.testing.assert_close(gradient, expected[name], atol=2e-5 * scale, rtol=0, msg=name)


@pytest.mark.usefixtures("each_way_to_compute")
def test_frozen_blocks_let_gradients_through(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert", dropout=0.0)
    models = [
        AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny)),
        reference_model(tiny_folder(tiny)),
    ]
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    gradients = []
    for model in models:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("encoder.layer" not in name)
        model(ids, attention_mask=mask, labels=torch.tensor([0, 1, 1, 0, 1])).loss.backward()
        named = model.named_parameters()
        gradients.append({name: each.grad for name, each in named if each.grad is not None})
    ours, theirs = gradients
    assert ours.keys() == theirs.keys()
    assert "bert.embeddings.word_embeddings.weight" in ours
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=2e-5, rtol=0, msg=name)


def test_bits_do_not_depend_on_gradients(model: PaddedClassifier, tiny: Tiny) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    with_gradients = model(ids, attention_mask=mask).logits
    with torch.no_grad():
        without = model(ids, attention_mask=mask).logits
    assert with_gradients.grad_fn is not None
    assert without.grad_fn is None
    assert torch.equal(with_gradients, without)


def test_a_training_step_takes_effect_at_once(model: PaddedClassifier, tiny: Tiny) -> None:
    ids, mask = pad_right(random_ids(LENGTHS, tiny), tiny.pad_token_id)
    labels = torch.tensor([0, 1, 2, 0, 1])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model(ids, attention_mask=mask, labels=labels)
    before.loss.backward()
    optimizer.step()
    after = model(ids, attention_mask=mask, labels=labels)
    assert after.loss < before.loss
    for parameter in model.parameters():
        parameter.data.zero_()
    assert model(ids, attention_mask=mask).logits.abs().max() == 0


@pytest.mark.usefixtures("each_way_to_compute")
def test_train_mode_drops_out_and_eval_mode_does_not(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert", dropout=0.5)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny))
    ids = torch.tensor(random_ids([8, 8], tiny))
    assert not model.training
    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)


def test_parameters_and_state_dict_have_the_hub_s_names(
    model: PaddedClassifier, reference: transformers.PreTrainedModel
) -> None:
    state = model.state_dict()
    expected = {n: p for n, p in reference.named_parameters() if "pooler" not in n or n in state}
    assert state.keys() == expected.keys()
    if not any(isinstance(each, FusedLinear) for each in model.modules()):
        assert state.keys() == dict(model.named_parameters()).keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    state = {name: tensor + 1 for name, tensor in state.items()}
    model.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_save_pretrained_is_read_by_transformers(
    model: PaddedClassifier, tiny: Tiny, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    ids = torch.tensor(random_ids([11], tiny))
    expected = reference_model(tmp_path)(input_ids=ids).logits
    torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels"),
    [
        (1, None, torch.tensor([0.5, -1.0])),
        (1, "regression", torch.tensor([[0.5], [-1.0]])),
        (3, "regression", torch.tensor([[0.5, 1, 2], [0, 0, 1]])),
        (3, None, torch.tensor([2, 0])),
        (3, None, torch.tensor([[1.0, 0, 1], [0, 0, 1]])),
        (3, "multi_label_classification", torch.tensor([[1.0, 0, 1], [0, 0, 1]])),
    ],
)
def test_losses_as_transformers(
    tiny_folder: TinyFolder, num_labels: int, problem_type: str | None, labels: torch.Tensor
) -> None:
    tiny = Tiny("distilbert", num_labels=num_labels, problem_type=problem_type)
    ids = torch.tensor(random_ids([6, 6], tiny))
    expected = reference_model(tiny_folder(tiny))(input_ids=ids, labels=labels).loss
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny))
    torch.testing.assert_close(model(ids, labels=labels).loss, expected, atol=1e-5, rtol=1e-5)


def test_the_output_reads_as_transformers_does(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("distilbert")
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny))
    ids = torch.tensor(random_ids([6, 6], tiny))
    output = model(ids, labels=torch.tensor([0, 1]))
    assert output[0] is output.loss is output["loss"]
    assert output[1] is output.logits is output["logits"]
    assert list(output) == list(output.keys()) == ["loss", "logits"]
    assert list(model(ids).keys()) == ["logits"]
    assert model(ids)[0].shape == (2, 2)
    with pytest.raises(KeyError, match="logits"):
        model(ids)["hidden_states"]


def test_the_configuration_reads_as_transformers_does(tiny_folder: TinyFolder) -> None:
    tiny = Tiny("bert", num_labels=3)
    config = AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny)).config
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.label2id["LABEL_2"] == 2
    assert (config.num_labels, config.model_type, config.hidden_size) == (3, "bert", 32)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"input_ids": torch.tensor([5, 6])}, r"\[2\]"),
        ({"input_ids": torch.ones(1, 2)}, "float32"),
        ({"input_ids": [[5, 6]]}, "list"),
        ({"input_ids": torch.tensor([[5, 6], [5, 500]])}, "row 1, column 1: input_ids has 500"),
        ({"input_ids": torch.tensor([[5, -1]])}, "-1"),
        (
            {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 3)},
            "attention_mask",
        ),
        (
            {
                "input_ids": torch.tensor([[5, 6], [7, 8]]),
                "attention_mask": torch.tensor([[1, 1], [0, 0]]),
            },
            "row 1",
        ),
        (
            {"input_ids": torch.tensor([[5, 6]]), "token_type_ids": torch.tensor([[0, 2]])},
            "token_type_ids has 2",
        ),
        (
            {"input_ids": torch.full((2, 600), 5)},
            "row 0: has tokens beyond the model's 512 positions",
        ),
        ({"input_ids": torch.tensor([[5, 6]]), "labels": torch.tensor([0, 1])}, "labels"),
    ],
)
def test_invalid_inputs_are_rejected(
    tiny_folder: TinyFolder, inputs: dict[str, torch.Tensor], words: str
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    with pytest.raises(InputError, match=words):
        model(**inputs)


def test_a_hole_in_the_mask_keeps_later_positions(tiny_folder: TinyFolder) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    ids, mask = torch.full((2, 513), 5), torch.ones(2, 513, dtype=torch.int64)
    mask[0, 512], mask[1, 1:512] = 0, 0
    with pytest.raises(InputError, match="row 1: has tokens beyond"):
        model(ids, attention_mask=mask)


def test_token_types_are_ignored_where_the_family_has_none(tiny_folder: TinyFolder) -> None:
    """As in transformers 5, whose tokenizer class for DistilBERT, BertTokenizer, returns them."""
    folder = tiny_folder(Tiny("distilbert"))
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids, types = torch.tensor([[5, 6]]), torch.tensor([[0, 1]])
    typed = model(ids, token_type_ids=types).logits
    assert torch.equal(typed, model(ids).logits)
    assert torch.allclose(typed, theirs(ids, token_type_ids=types).logits, atol=1e-5)


def test_unknown_arguments_are_not_dropped(tiny_folder: TinyFolder) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    ids = torch.tensor([[5, 6]])
    for name, value in (("nonsense", 1), ("use_cache", True), ("head_mask", torch.ones(4))):
        with pytest.raises(OptionError, match=f"{name}=.*supported: input_ids, attention_mask"):
            model(ids, **{name: value})
    assert torch.equal(model(ids, head_mask=None, use_cache=False).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels", "words"),
    [
        (3, None, torch.tensor([0, 3]), "row 1: its label is 3, expected 0 to 2, or -100"),
        (3, None, torch.tensor([-1, 0]), "row 0: its label is -1"),
        (3, "single_label_classification", torch.tensor([0.0, 1.0]), r"labels\.long\(\)"),
        (3, None, torch.tensor([0]), "needs 2 numbers"),
        (3, "multi_label_classification", torch.tensor([0, 1]), "needs 6 numbers"),
        (1, "single_label_classification", torch.tensor([0, 0]), "num_labels=2"),
        (3, "ranking", torch.tensor([0, 0]), "problem_type is 'ranking'"),
        (3, None, [0, 1], "must be a tensor, got list"),
    ],
)
def test_labels_that_do_not_fit_are_named(
    tiny_folder: TinyFolder,
    num_labels: int,
    problem_type: str | None,
    labels: torch.Tensor,
    words: str,
) -> None:
    tiny = Tiny("distilbert", num_labels=num_labels)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny))
    model.config.problem_type = problem_type
    with pytest.raises((InputError, OptionError), match=words):
        model(torch.tensor(random_ids([6, 6], tiny)), labels=labels)
    assert model.config.problem_type == problem_type


def test_a_problem_type_that_labels_imply_is_kept_and_saved(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    tiny = Tiny("distilbert", num_labels=3)
    ids = torch.tensor(random_ids([6, 6], tiny))
    for labels in (torch.tensor([0, -100]), torch.tensor([[1.0, 0, 1], [0, 0, 1]])):
        models = [
            AutoModelForSequenceClassification.from_pretrained(tiny_folder(tiny)),
            reference_model(tiny_folder(tiny)),
        ]
        ours, theirs = (model(ids, labels=labels).loss for model in models)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        assert models[0].config.problem_type == models[1].config.problem_type is not None
        models[0].save_pretrained(tmp_path)
        saved = transformers.AutoConfig.from_pretrained(tmp_path)
        assert saved.problem_type == models[0].config.problem_type


def test_modules_have_the_names_of_transformers(
    model: PaddedClassifier, reference: transformers.PreTrainedModel
) -> None:
    theirs = {name for name, _ in reference.named_modules()}
    fused = [name for name, each in model.named_modules() if isinstance(each, FusedLinear)]
    ours = {name for name, _ in model.named_modules()}
    assert {name for name in ours if name.rpartition(".")[0] not in fused} <= theirs
    layers = [name for name in theirs if name.endswith(("layer", "layers", "layer_groups"))]
    for parameter in model.get_submodule(layers[0])[:1].parameters():
        parameter.requires_grad = False
    frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
    assert frozen
    assert all(name.startswith(f"{layers[0]}.0.") for name in frozen)


def test_a_change_of_modules_that_would_have_no_effect_is_rejected(
    tiny_folder: TinyFolder,
) -> None:
    ids = torch.tensor([[5, 6]])

    def replace_head(model: PaddedClassifier) -> None:
        model.classifier = torch.nn.Linear(32, 5)

    def remove_layer(model: PaddedClassifier) -> None:
        del model.bert.encoder.layer[1]

    def shorten(model: PaddedClassifier) -> None:
        model.bert.encoder.layer = model.bert.encoder.layer[:1]

    for change in (replace_head, remove_layer, shorten):
        model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
        model(ids)
        change(model)
        with pytest.raises(OptionError, match="modules were changed"):
            model(ids)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    with pytest.raises(OptionError, match="output_hidden_states"):
        model.bert.encoder.layer[0].register_forward_hook(print)
    with pytest.raises(OptionError, match="AutoModel"):
        model.bert.encoder.layer[0](torch.zeros(1, 2, 32))
    torch.nn.init.zeros_(model.classifier.weight)  # in place: it takes effect
    torch.nn.init.zeros_(model.classifier.bias)
    assert not model(ids).logits.any()


def test_a_part_in_eval_mode_drops_nothing_out(tiny_folder: TinyFolder) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_folder(Tiny("bert", dropout=0.5))
    )
    ids = torch.tensor([[5, 6, 7]])

    def varies() -> bool:
        states = [model(ids, output_hidden_states=True).hidden_states[-1] for _ in range(2)]
        return not torch.equal(*states)

    model.train()
    assert varies()
    model.bert.eval()
    assert not varies()
    assert not torch.equal(model(ids).logits, model(ids).logits), "the head's own dropout"


def test_copies_are_independent(model: PaddedClassifier, tiny: Tiny) -> None:
    ids = torch.tensor(random_ids([7], tiny))
    expected = model(ids).logits
    other = copy.deepcopy(model)
    assert torch.equal(other(ids).logits, expected)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not other(ids).logits.any()
    assert torch.equal(model(ids).logits, expected)


def test_autocast_changes_no_bit(tiny_folder: TinyFolder) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    ids = torch.tensor([[5, 6, 7]])
    expected = model(ids).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(ids).logits, expected)
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, expected)


def test_attributes_that_scripts_ask_for(tiny_folder: TinyFolder) -> None:
    folder = tiny_folder(Tiny("bert", num_labels=3))
    ours = AutoModelForSequenceClassification.from_pretrained(folder)
    theirs = reference_model(folder)
    ids = torch.tensor([[5, 6, 7]])
    for name in ("device", "dtype", "num_labels", "main_input_name", "base_model_prefix"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("can_generate", "num_parameters"):
        assert getattr(ours, name)() == getattr(theirs, name)(), name
    frozen = {"only_trainable": True, "exclude_embeddings": True}
    assert ours.num_parameters(**frozen) == theirs.num_parameters(**frozen)
    table = ours.get_input_embeddings()
    assert torch.equal(table(ids), theirs.get_input_embeddings()(ids))
    assert ours.resize_token_embeddings(ours.config.vocab_size) is table
    with pytest.raises(OptionError, match="Resize it in transformers"):
        ours.resize_token_embeddings(501)
    with pytest.raises(OptionError, match="gradient_checkpointing=False"):
        ours.gradient_checkpointing_enable()
    with pytest.raises(OptionError, match="save_pretrained"):
        ours.push_to_hub("name")
    with pytest.raises(OptionError, match="safe_serialization"):
        ours.save_pretrained("x", safe_serialization=False)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler
def test_a_compiled_model_has_the_same_bits(tiny_folder: TinyFolder) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(torch.compile(model, backend="eager")(ids).logits, model(ids).logits)


def test_a_cast_to_half_is_refused(tiny_folder: TinyFolder) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert"))).half()
    ids = torch.tensor([[5, 6]])
    with pytest.raises(OptionError, match=r"float16.*model\.float\(\)"):
        model(ids)
    assert model.float()(ids).logits.dtype == torch.float32


def test_a_missing_folder() -> None:
    with pytest.raises(CheckpointError, match=r"\./nowhere"):
        AutoModelForSequenceClassification.from_pretrained("./nowhere")


def test_an_empty_batch_has_no_rows(tiny_folder: TinyFolder) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_folder(Tiny("bert")))
    with pytest.raises(InputError, match="no rows"):
        model(torch.empty(0, 5, dtype=torch.int64))

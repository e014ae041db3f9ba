"""The model against transformers, the reference: logits, gradients and activations.

1e-5 is absolute and needs no scaling: the tiny checkpoints' logits are of ordinary size (up to 5),
and float32's own error is a few 1e-6 there.
"""

import copy
import os
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from tiny_checkpoints import (
    BERT_FAMILIES,
    COUNTED_FROM_PADDING,
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
from torch import Tensor
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from isobatch.batching.packed import concatenate, pack, unpad
from isobatch.checkpoint import hub_name, place_of
from isobatch.kernels import activation_named
from isobatch.kernels.activations import _BY_NAME
from isobatch.kernels.compiled import unavailable
from isobatch.kernels.compiled.variants import VARIABLE
from isobatch.model import EncoderModel, read_model, read_packed_model, select_kernels
from isobatch.types import Encoding

LENGTHS = (2, 3, 5, 5, 8, 17, 17, 64, 129, 300, 511, 512)
SHAPES = (
    {"num_heads": 4, "head_dim": 16, "intermediate_size": 128},
    {"num_heads": 4, "head_dim": 8},
    {"num_heads": 2, "head_dim": 32, "num_labels": 3, "num_layers": 3},
    {"num_heads": 3, "head_dim": 7, "num_labels": 1, "num_layers": 1, "intermediate_size": 33},
)
CASES = [
    *(("bert", shape) for shape in SHAPES),
    # The others of BERT's layers differ in their names and embeddings.
    *((family, SHAPES[0]) for family in BERT_FAMILIES if family != "bert"),
    *((family, shape) for family in WITH_DISTANCES for shape in (SHAPES[0], SHAPES[2])),
]
CLOSE = {"rtol": 0.0, "atol": 1e-5}

Models = tuple[EncoderModel, PreTrainedModel]
ModelsOf = Callable[[Tiny], Models]


@pytest.fixture(scope="session")
def models_of(tiny_folder: TinyFolder) -> ModelsOf:
    """Our model, kernels chosen but not prepacked, and transformers', of one checkpoint."""

    @cache
    def made(tiny: Tiny, forced: str | None) -> Models:
        ours = read_model(tiny_folder(tiny))
        select_kernels(ours)
        return ours, reference_model(tiny_folder(tiny))

    def both(tiny: Tiny) -> Models:
        return made(tiny, os.environ.get(VARIABLE))

    return both


def encodings_of(
    rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
) -> list[Encoding]:
    types = types or [[0] * len(row) for row in rows]
    return [Encoding(row, kinds) for row, kinds in zip(rows, types, strict=True)]


def packed_logits(model: EncoderModel, rows: Sequence[Sequence[int]], tiny: Tiny) -> Tensor:
    with torch.no_grad():
        return model(pack(encodings_of(rows), tiny.positions))


def unpadded_logits(
    model: EncoderModel, padded: tuple[Tensor, Tensor], tiny: Tiny, **kwargs: Tensor
) -> Tensor:
    """Logits of a padded batch in the order of its rows."""
    sequences = unpad(*padded, kwargs.get("token_type_ids"), tiny.positions)
    with torch.no_grad():
        return model(concatenate(sequences))


def reference_logits(
    model: PreTrainedModel, padded: tuple[Tensor, Tensor], **kwargs: Tensor
) -> Tensor:
    with torch.no_grad():
        return model(input_ids=padded[0], attention_mask=padded[1], **kwargs).logits


def sorted_reference(model: PreTrainedModel, rows: Sequence[Sequence[int]], tiny: Tiny) -> Tensor:
    """Logits of rows that are sorted by length, in two batches: most pads are left out."""
    parts = (rows[: len(rows) * 2 // 3], rows[len(rows) * 2 // 3 :])
    return torch.cat(
        [reference_logits(model, pad_right(part, tiny.pad_token_id)) for part in parts]
    )


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize(("model_type", "shape"), CASES)
def test_packed_texts_have_the_logits_of_transformers(
    model_type: str, shape: dict[str, int], models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type, **shape)
    ours, theirs = models_of(tiny)
    rows = random_ids(LENGTHS, tiny)
    expected = sorted_reference(theirs, rows, tiny)
    assert expected.std(0).min() > 0.1, "logits that hardly vary would be no test"
    torch.testing.assert_close(packed_logits(ours, rows, tiny), expected, **CLOSE)


def test_every_shape_is_computed_by_compiled_blocks_and_by_layers(
    models_of: ModelsOf, each_way_to_compute: str
) -> None:
    """The control: without it the tests here might compare one of the two alone."""
    compiled = [models_of(Tiny("bert", **shape))[0].blocks[0].is_compiled for shape in SHAPES]
    expected = each_way_to_compute == "compiled" and unavailable("fp32") is None
    assert compiled == [expected] * len(SHAPES)


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_packed_weights_give_the_bits_of_plain_ones(
    model_type: str, models_of: ModelsOf, tiny_folder: TinyFolder
) -> None:
    tiny = Tiny(model_type)
    plain, _ = models_of(tiny)
    packed, _ = read_packed_model(tiny_folder(tiny), torch.device("cpu"))
    rows = random_ids(LENGTHS, tiny)
    assert torch.equal(packed_logits(packed, rows, tiny), packed_logits(plain, rows, tiny))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_text_has_the_same_bits_alone_and_in_a_batch(
    model_type: str, models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type)
    ours, _ = models_of(tiny)
    rows = random_ids(LENGTHS, tiny)
    together = packed_logits(ours, rows, tiny)
    alone = torch.cat([packed_logits(ours, [row], tiny) for row in rows])
    assert torch.equal(together, alone)
    assert torch.equal(packed_logits(ours, rows[::-1], tiny), together.flip(0))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_padded_batch_has_the_logits_of_transformers(
    model_type: str, models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type)
    ours, theirs = models_of(tiny)
    padded = pad_right(random_ids((17, 2, 512, 5, 300, 5), tiny), tiny.pad_token_id)
    expected = reference_logits(theirs, padded)
    torch.testing.assert_close(unpadded_logits(ours, padded, tiny), expected, **CLOSE)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_pads_on_the_left_give_the_same_bits_as_on_the_right(
    model_type: str, models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type)
    ours, _ = models_of(tiny)
    rows = random_ids((17, 2, 90, 5, 5), tiny)
    right = unpadded_logits(ours, pad_right(rows, tiny.pad_token_id), tiny)
    left = unpadded_logits(ours, pad_left(rows, tiny.pad_token_id), tiny)
    assert torch.equal(left, right)
    assert torch.equal(right, packed_logits(ours, rows, tiny))


@pytest.mark.parametrize("model_type", [each for each in FAMILIES if each not in WITH_DISTANCES])
def test_holes_in_the_mask_mean_what_they_mean_to_transformers(
    model_type: str, models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type)
    ours, theirs = models_of(tiny)
    ids, mask = pad_right(random_ids((17, 30, 6), tiny), tiny.pad_token_id)
    whole = unpadded_logits(ours, (ids, mask), tiny)
    holed = mask.clone()
    holed[0, 3:6], holed[1, 28], holed[2, 1] = 0, 0, 0
    logits = unpadded_logits(ours, (ids, holed), tiny)
    torch.testing.assert_close(logits, reference_logits(theirs, (ids, holed)), **CLOSE)
    assert (logits - whole).abs().max() > 0.01, "holes without an effect would be no test"


@pytest.mark.parametrize("model_type", COUNTED_FROM_PADDING)
def test_a_pad_id_inside_a_text_counts_as_transformers_counts_it(
    model_type: str, models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type)
    ours, theirs = models_of(tiny)
    rows = random_ids((9, 20), tiny)
    rows[0][4] = rows[1][2] = rows[1][3] = rows[1][19] = tiny.pad_token_id
    expected = reference_logits(theirs, pad_right(rows, tiny.pad_token_id))
    torch.testing.assert_close(packed_logits(ours, rows, tiny), expected, **CLOSE)
    padded = pad_right(rows, tiny.pad_token_id)
    assert torch.equal(unpadded_logits(ours, padded, tiny), packed_logits(ours, rows, tiny))


@pytest.mark.parametrize("model_type", ["bert", "electra", "nomic_bert"])
def test_token_types_reach_the_logits_as_in_transformers(
    model_type: str, models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type)
    ours, theirs = models_of(tiny)
    rows = random_ids((17, 6, 90), tiny)
    types = [[0] * (len(row) // 2) + [1] * (len(row) - len(row) // 2) for row in rows]
    padded, padded_types = pad_right(rows, tiny.pad_token_id), pad_right(types, 0)[0]
    expected = reference_logits(theirs, padded, token_type_ids=padded_types)
    with torch.no_grad():
        logits = ours(pack(encodings_of(rows, types), tiny.positions))
    torch.testing.assert_close(logits, expected, **CLOSE)
    unpadded = unpadded_logits(ours, padded, tiny, token_type_ids=padded_types)
    assert torch.equal(unpadded, logits)
    assert (logits - packed_logits(ours, rows, tiny)).abs().max() > 0.01


@pytest.mark.parametrize("name", _BY_NAME)
def test_an_activation_is_the_function_of_that_name_in_transformers(name: str) -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-1e4, -0.0, 0.0, 1e4])])
    torch.testing.assert_close(activation_named(name).function(x), ACT2FN[name](x))
    assert torch.isfinite(activation_named(name).function(x)).all()


@pytest.mark.parametrize("name", _BY_NAME)
def test_a_model_with_any_listed_activation_has_the_logits_of_transformers(
    name: str, models_of: ModelsOf
) -> None:
    tiny = Tiny("bert", hidden_act=name, num_layers=1)
    ours, theirs = models_of(tiny)
    rows = random_ids((2, 9, 33), tiny)
    expected = reference_logits(theirs, pad_right(rows, tiny.pad_token_id))
    torch.testing.assert_close(packed_logits(ours, rows, tiny), expected, **CLOSE)


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("training", [False, True], ids=("eval", "train"))
@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_gradient_is_that_of_transformers(
    model_type: str, training: bool, models_of: ModelsOf
) -> None:
    tiny = Tiny(model_type, dropout=0.0, num_labels=3)
    ours, theirs = copy.deepcopy(models_of(tiny))
    ours.train(training)
    theirs.train(training)
    rows, labels = random_ids((2, 7, 7, 40, 130), tiny), torch.tensor([0, 2, 1, 1, 0])
    ids, mask = pad_right(rows, tiny.pad_token_id)
    logits = ours(pack(encodings_of(rows), tiny.positions))
    expected = theirs(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(logits, expected, **CLOSE)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    torch.nn.functional.cross_entropy(expected, labels).backward()
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    unseen = set(wanted)
    family = ours.config.family.spelled_as(list(wanted))
    for name, parameter in ours.named_parameters():
        place = place_of(family, name)
        unseen -= {place.name}
        gradient = wanted[place.name].chunk(place.of)[place.index]
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        torch.testing.assert_close(parameter.grad, gradient, **CLOSE, msg=name)
        # A key's bias moves all scores of a query alike, so that softmax takes its gradient away.
        assert name.endswith("key.bias") or parameter.grad.abs().max() > 1e-3, name
    assert not unseen


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_gradients_change_no_bit(model_type: str, models_of: ModelsOf) -> None:
    tiny = Tiny(model_type)
    ours, _ = models_of(tiny)
    rows = random_ids(LENGTHS, tiny)
    with_gradients = ours(pack(encodings_of(rows), tiny.positions))
    assert with_gradients.grad_fn is not None
    assert torch.equal(with_gradients, packed_logits(ours, rows, tiny))


@pytest.mark.usefixtures("each_way_to_compute")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_dropout_is_active_in_training_only(model_type: str, models_of: ModelsOf) -> None:
    tiny = Tiny(model_type)
    model = copy.deepcopy(models_of(tiny)[0])
    batch = pack(encodings_of(random_ids((4, 9), tiny)), tiny.positions)
    assert torch.equal(model(batch), model(batch))
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(model(batch), model(batch))


@pytest.mark.parametrize("model_type", [each for each in FAMILIES if each not in DECODERS])
def test_the_head_drops_its_input_where_transformers_does(
    model_type: str, tiny_folder: TinyFolder
) -> None:
    """A dropped input feature leaves a column of the dense layer's gradient at zero."""
    tiny = Tiny(model_type, dropout=0.5)
    ours, theirs = read_model(tiny_folder(tiny)).train(), reference_model(tiny_folder(tiny)).train()
    row = random_ids((9,), tiny)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours(pack(encodings_of(row), tiny.positions)).sum().backward()
        theirs(input_ids=torch.tensor(row)).logits.sum().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    expected = gradients[hub_name(ours.config.family, "head.dense.weight")]
    drops, should_drop = ((g == 0).all(0).any() for g in (ours.head.dense.weight.grad, expected))
    assert bool(drops) is bool(should_drop)

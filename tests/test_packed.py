"""Packing: ids, positions and borders by hand, and unpadding of a padded batch."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import pad_left, pad_right
from torch import Tensor

from isobatch.batching.packed import PackedBatch, concatenate, pack, unpad
from isobatch.batching.plan import plan_batches
from isobatch.errors import InputError
from isobatch.specification import PositionRule
from isobatch.types import Encoding, Rows, Segment

PAD = 1
PLAIN, ROBERTA = PositionRule(), PositionRule(padding_idx=PAD)
Ids = list[list[int]]


def encodings_of(rows: Ids, types: Ids | None = None) -> list[Encoding]:
    types = types or [[0] * len(row) for row in rows]
    return [Encoding(row, kinds) for row, kinds in zip(rows, types, strict=True)]


def unpad_lists(ids: Ids, mask: Ids, positions: PositionRule = PLAIN) -> PackedBatch:
    return concatenate(unpad(torch.tensor(ids), torch.tensor(mask), None, positions))


def assert_same_batch(one: PackedBatch, other: PackedBatch) -> None:
    assert one.segments == other.segments
    for name in ("input_ids", "position_ids", "token_type_ids", "cu_seqlens"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_pack_lays_sequences_one_after_another() -> None:
    batch = pack(encodings_of([[7, 8, 9], [5, 6]], [[0, 1, 1], [0, 1]]), PLAIN)
    assert batch.input_ids.tolist() == [7, 8, 9, 5, 6]
    assert batch.token_type_ids.tolist() == [0, 1, 1, 0, 1]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 1]
    assert batch.cu_seqlens.tolist() == [0, 3, 5]
    hidden = torch.arange(5.0)[:, None]
    assert batch.select(hidden, Rows.FIRST).flatten().tolist() == [0, 3]
    assert batch.select(hidden, Rows.LAST).flatten().tolist() == [2, 4]
    assert batch.select(hidden, Rows.ALL) is hidden


def test_neighbours_of_equal_length_are_one_segment_and_others_are_not() -> None:
    batch = pack(encodings_of([[2] * length for length in (4, 4, 4, 1, 2, 2, 4)]), PLAIN)
    assert batch.segments == (
        Segment(0, 0, 3, 4),
        Segment(3, 12, 1, 1),
        Segment(4, 13, 2, 2),
        Segment(6, 17, 1, 4),
    )
    assert batch.cu_seqlens.tolist() == [0, 4, 8, 12, 13, 15, 17, 21]


def test_a_segment_has_its_sequences_and_tokens_and_splits_into_them() -> None:
    segment = Segment(first_sequence=4, first_token=13, num_sequences=2, length=3)
    assert (segment.sequences, segment.tokens) == (slice(4, 6), slice(13, 19))
    assert list(segment.split()) == [Segment(4, 13, 1, 3), Segment(5, 16, 1, 3)]


@pytest.mark.parametrize(
    ("ids", "positions"),
    [
        ([5, 6, 7], [2, 3, 4]),
        ([5, PAD, 7, 8], [2, 1, 3, 4]),
        ([5, PAD, PAD, 7], [2, 1, 1, 3]),
        ([5, 6, PAD], [2, 3, 1]),
        ([PAD, 5], [1, 2]),
    ],
)
def test_robertas_positions_skip_the_pad_id_inside_a_text(
    ids: list[int], positions: list[int]
) -> None:
    assert pack(encodings_of([ids]), ROBERTA).position_ids.tolist() == positions
    # From a padded batch: the pad that is a token is kept by the mask, those that fill are not.
    filled, mask = [[*ids, PAD, PAD]], [[1] * len(ids) + [0, 0]]
    assert unpad_lists(filled, mask, ROBERTA).position_ids.tolist() == positions
    in_front, mask = [[PAD, PAD, *ids]], [[0, 0] + [1] * len(ids)]
    assert unpad_lists(in_front, mask, ROBERTA).position_ids.tolist() == positions


def test_robertas_positions_restart_with_each_sequence() -> None:
    batch = pack(encodings_of([[5, 6], [7, PAD, 8]]), ROBERTA)
    assert batch.position_ids.tolist() == [2, 3, 2, 1, 3]


def test_unpadded_rows_are_planned_longest_first() -> None:
    ids = torch.tensor([[2, 3, 0, 0], [4, 5, 6, 7], [8, 9, 0, 0], [6, 5, 4, 0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    sequences = unpad(ids, mask, None, PLAIN)
    (order,) = plan_batches([len(sequence) for sequence in sequences], 100)
    assert order == (1, 3, 0, 2)
    batch = concatenate([sequences[index] for index in order])
    assert batch.input_ids.tolist() == [4, 5, 6, 7, 6, 5, 4, 2, 3, 8, 9]
    assert batch.segments == (Segment(0, 0, 1, 4), Segment(1, 4, 1, 3), Segment(2, 7, 2, 2))


def test_unpad_takes_the_tokens_of_each_row_on_its_own_side() -> None:
    batch = unpad_lists(
        [[0, 0, 4, 5], [6, 7, 0, 0], [0, 8, 9, 0]], [[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]]
    )
    assert batch.input_ids.tolist() == [4, 5, 6, 7, 8, 9]
    assert batch.position_ids.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_hole_in_the_mask_leaves_out_a_token_but_not_its_position() -> None:
    batch = unpad_lists([[3, 4, 5, 6, 0]], [[1, 0, 1, 1, 0]])
    assert batch.input_ids.tolist() == [3, 5, 6]
    assert batch.position_ids.tolist() == [0, 2, 3]
    counted = unpad_lists([[3, 4, 5, 6, PAD]], [[1, 0, 1, 1, 0]], ROBERTA)
    assert counted.position_ids.tolist() == [2, 4, 5]


def test_token_types_are_unpadded_with_their_tokens_and_zero_where_none_are_given() -> None:
    ids, mask = torch.tensor([[0, 3, 4], [5, 6, 7]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    types = torch.tensor([[9, 0, 1], [0, 0, 1]])
    assert concatenate(unpad(ids, mask, types, PLAIN)).token_type_ids.tolist() == [0, 1, 0, 0, 1]
    assert concatenate(unpad(ids, mask, None, PLAIN)).token_type_ids.tolist() == [0] * 5


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32], ids=str)
def test_a_mask_of_any_dtype_keeps_what_is_not_zero(dtype: torch.dtype) -> None:
    ids, mask = torch.tensor([[3, 4, 0]]), torch.tensor([[1, 1, 0]])
    found, expected = (unpad(ids, each, None, PLAIN) for each in (mask.to(dtype), mask))
    assert_same_batch(concatenate(found), concatenate(expected))


def test_all_tensors_are_int64_also_from_smaller_integers() -> None:
    ids, mask = torch.tensor([[3, 4, 0]], dtype=torch.int32), torch.tensor([[1, 1, 0]])
    batch = concatenate(unpad(ids, mask, torch.zeros_like(ids), PLAIN))
    tensors = (batch.input_ids, batch.position_ids, batch.token_type_ids, batch.cu_seqlens)
    assert [tensor.dtype for tensor in tensors] == [torch.int64] * 4


def test_a_row_that_its_mask_leaves_empty_is_refused_by_its_number() -> None:
    with pytest.raises(InputError, match="row 1: its attention_mask is all zeros"):
        unpad_lists([[3, 4], [5, 6]], [[1, 1], [0, 0]])


@pytest.mark.parametrize("positions", [PLAIN, ROBERTA])
def test_an_encoding_without_tokens_is_rejected(positions: PositionRule) -> None:
    """Its first row would be the next sequence's: a prediction from a neighbour."""
    with pytest.raises(InputError):
        pack(encodings_of([[3, 4], [], [5]]), positions)


def test_the_rule_of_positions_cannot_be_forgotten() -> None:
    with pytest.raises(TypeError, match="positions"):
        pack(encodings_of([[3, 4]]))  # type: ignore[call-arg]


def test_a_batch_cannot_be_changed() -> None:
    batch = pack(encodings_of([[3, 4]]), PLAIN)
    with pytest.raises(FrozenInstanceError):
        batch.segments = ()  # type: ignore[misc]


def test_a_batch_moves_as_a_whole() -> None:
    batch = pack(encodings_of([[3, 4], [5]]), PLAIN)
    moved = batch.to(torch.device("meta"))
    assert moved.input_ids.device.type == moved.cu_seqlens.device.type == "meta"
    assert_same_batch(batch.to(torch.device("cpu")), batch)


rows_of_ids = st.lists(
    st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=9
)


def both_sides(rows: Ids) -> list[tuple[Tensor, Tensor]]:
    return [pad_right(rows, PAD), pad_left(rows, PAD)]


@given(rows_of_ids, st.sampled_from([None, 0, PAD]))
def test_unpadding_a_padded_batch_is_packing_its_rows(rows: Ids, padding_idx: int | None) -> None:
    positions = PositionRule(padding_idx)
    for ids, mask in both_sides(rows):
        batch = concatenate(unpad(ids, mask, None, positions))
        assert_same_batch(batch, pack(encodings_of(rows), positions))


@given(rows_of_ids)
def test_segments_cover_all_sequences_and_agree_with_their_borders(rows: Ids) -> None:
    batch = pack(encodings_of(rows), PLAIN)
    singles = [single for segment in batch.segments for single in segment.split()]
    assert [single.first_sequence for single in singles] == list(range(len(rows)))
    assert [single.first_token for single in singles] == batch.cu_seqlens[:-1].tolist()
    assert [single.length for single in singles] == batch.cu_seqlens.diff().tolist()
    assert batch.cu_seqlens[-1] == len(batch.input_ids)
    assert [batch.input_ids[single.tokens].tolist() for single in singles] == rows

"""Packing: ids, positions and borders checked by hand, and unpadding of a padded batch."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import pad_left, pad_right
from torch import Tensor

from isobatch.core import Encoding, Run
from isobatch.errors import InputError
from isobatch.packed import PackedBatch, pack, unpad

PAD = 1
Rows = list[list[int]]


def encodings_of(rows: Rows, types: Rows | None = None) -> list[Encoding]:
    types = types or [[0] * len(row) for row in rows]
    return [Encoding(row, kinds) for row, kinds in zip(rows, types, strict=True)]


def unpad_lists(ids: Rows, mask: Rows, padding_idx: int | None = None) -> PackedBatch:
    return unpad(torch.tensor(ids), torch.tensor(mask), padding_idx=padding_idx)[0]


def assert_same_batch(one: PackedBatch, other: PackedBatch) -> None:
    assert one.runs == other.runs
    for name in ("input_ids", "position_ids", "token_type_ids", "cu_seqlens"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_pack_lays_sequences_one_after_another() -> None:
    batch = pack(encodings_of([[7, 8, 9], [5, 6]], [[0, 1, 1], [0, 1]]))
    assert batch.input_ids.tolist() == [7, 8, 9, 5, 6]
    assert batch.token_type_ids.tolist() == [0, 1, 1, 0, 1]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 1]
    assert batch.cu_seqlens.tolist() == [0, 3, 5]
    assert batch.first_rows.tolist() == [0, 3]


def test_neighbours_of_equal_length_are_one_run_and_others_are_not() -> None:
    batch = pack(encodings_of([[2] * length for length in (4, 4, 4, 1, 2, 2, 4)]))
    assert batch.runs == (Run(0, 0, 3, 4), Run(3, 12, 1, 1), Run(4, 13, 2, 2), Run(6, 17, 1, 4))
    assert batch.cu_seqlens.tolist() == [0, 4, 8, 12, 13, 15, 17, 21]


def test_a_run_has_slices_of_sequences_and_tokens_and_splits_into_sequences() -> None:
    run = Run(first_sequence=4, first_token=13, num_sequences=2, length=3)
    assert (run.sequences, run.tokens) == (slice(4, 6), slice(13, 19))
    assert list(run.split()) == [Run(4, 13, 1, 3), Run(5, 16, 1, 3)]


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
    assert pack(encodings_of([ids]), padding_idx=PAD).position_ids.tolist() == positions
    # From a padded batch: the pad that is a token is kept by the mask, those that fill are not.
    filled, mask = [[*ids, PAD, PAD]], [[1] * len(ids) + [0, 0]]
    assert unpad_lists(filled, mask, PAD).position_ids.tolist() == positions
    in_front, mask = [[PAD, PAD, *ids]], [[0, 0] + [1] * len(ids)]
    assert unpad_lists(in_front, mask, PAD).position_ids.tolist() == positions


def test_robertas_positions_restart_with_each_sequence() -> None:
    batch = pack(encodings_of([[5, 6], [7, PAD, 8]]), padding_idx=PAD)
    assert batch.position_ids.tolist() == [2, 3, 2, 1, 3]


def test_unpad_puts_the_longest_first_and_returns_the_row_of_each_sequence() -> None:
    ids = torch.tensor([[2, 3, 0, 0], [4, 5, 6, 7], [8, 9, 0, 0], [6, 5, 4, 0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    batch, order = unpad(ids, mask)
    assert order == (1, 3, 0, 2)
    assert batch.input_ids.tolist() == [4, 5, 6, 7, 6, 5, 4, 2, 3, 8, 9]
    assert batch.runs == (Run(0, 0, 1, 4), Run(1, 4, 1, 3), Run(2, 7, 2, 2))


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
    counted = unpad_lists([[3, 4, 5, 6, PAD]], [[1, 0, 1, 1, 0]], PAD)
    assert counted.position_ids.tolist() == [2, 4, 5]


def test_token_types_are_unpadded_with_their_tokens_and_zero_where_none_are_given() -> None:
    ids, mask = torch.tensor([[0, 3, 4], [5, 6, 7]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    types = torch.tensor([[9, 0, 1], [0, 0, 1]])
    assert unpad(ids, mask, types)[0].token_type_ids.tolist() == [0, 0, 1, 0, 1]
    assert unpad(ids, mask)[0].token_type_ids.tolist() == [0] * 5


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32], ids=str)
def test_a_mask_of_any_dtype_keeps_what_is_not_zero(dtype: torch.dtype) -> None:
    ids, mask = torch.tensor([[3, 4, 0]]), torch.tensor([[1, 1, 0]])
    assert_same_batch(unpad(ids, mask.to(dtype))[0], unpad(ids, mask)[0])


def test_all_tensors_are_int64_also_from_smaller_integers() -> None:
    ids, mask = torch.tensor([[3, 4, 0]], dtype=torch.int32), torch.tensor([[1, 1, 0]])
    batch, _ = unpad(ids, mask, torch.zeros_like(ids))
    tensors = (batch.input_ids, batch.position_ids, batch.token_type_ids, batch.cu_seqlens)
    assert [tensor.dtype for tensor in tensors] == [torch.int64] * 4


def test_a_row_that_its_mask_leaves_empty_is_refused_by_its_number() -> None:
    with pytest.raises(InputError, match="row 1: its attention_mask is all zeros"):
        unpad_lists([[3, 4], [5, 6]], [[1, 1], [0, 0]])


@pytest.mark.parametrize("padding_idx", [None, PAD])
def test_an_encoding_without_tokens_is_refused(padding_idx: int | None) -> None:
    """Its first row would be the next sequence's: logits of a neighbour."""
    with pytest.raises(InputError):
        pack(encodings_of([[3, 4], [], [5]]), padding_idx)


def test_a_batch_cannot_be_changed() -> None:
    batch = pack(encodings_of([[3, 4]]))
    with pytest.raises(FrozenInstanceError):
        batch.runs = ()  # type: ignore[misc]


def test_a_batch_moves_as_a_whole() -> None:
    batch = pack(encodings_of([[3, 4], [5]]))
    moved = batch.to(torch.device("meta"))
    assert moved.input_ids.device.type == moved.cu_seqlens.device.type == "meta"
    assert_same_batch(batch.to(torch.device("cpu")), batch)


rows_of_ids = st.lists(
    st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=9
)


def both_sides(rows: Rows) -> list[tuple[Tensor, Tensor]]:
    return [pad_right(rows, PAD), pad_left(rows, PAD)]


@given(rows_of_ids, st.sampled_from([None, 0, PAD]))
def test_unpadding_a_padded_batch_is_packing_its_rows(rows: Rows, padding_idx: int | None) -> None:
    for ids, mask in both_sides(rows):
        batch, order = unpad(ids, mask, padding_idx=padding_idx)
        assert sorted(order) == list(range(len(rows)))
        assert [len(rows[index]) for index in order] == sorted(map(len, rows), reverse=True)
        assert_same_batch(batch, pack(encodings_of([rows[index] for index in order]), padding_idx))


@given(rows_of_ids)
def test_runs_cover_all_sequences_and_agree_with_their_borders(rows: Rows) -> None:
    batch = pack(encodings_of(rows))
    singles = [single for run in batch.runs for single in run.split()]
    assert [single.first_sequence for single in singles] == list(range(len(rows)))
    assert [single.first_token for single in singles] == batch.cu_seqlens[:-1].tolist()
    assert [single.length for single in singles] == batch.cu_seqlens.diff().tolist()
    assert batch.cu_seqlens[-1] == len(batch.input_ids)
    assert [batch.input_ids[single.tokens].tolist() for single in singles] == rows

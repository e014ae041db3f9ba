"""Logit comparisons, on numbers whose bits are known."""

import struct

from isobatch.page.logit_comparison import (
    compare_logits,
    float_bits,
    plain_number,
    ulps_between,
)


def test_summaries() -> None:
    assert compare_logits((1.0, 2.0), (1.0, 2.0)).summary == "same bits as alone"
    assert compare_logits((1.0, 2.5), (1.0, 2.0)).summary == "moved by 0.5 (2,097,152 ULPs)"
    assert compare_logits((3.0, 2.0), (1.0, 2.0)).summary.endswith(", and the label flipped")
    smallest = struct.unpack(">f", bytes.fromhex("3f800001"))[0]
    assert compare_logits((smallest,), (1.0,)).summary == "moved by 0.00000012 (1 ULP)"
    assert plain_number(0.000099) == "0.000099"
    assert plain_number(0.0056) == "0.0056"


def test_ulps_are_counted_across_zero() -> None:
    tiny = struct.unpack(">f", bytes.fromhex("00000001"))[0]
    assert ulps_between(tiny, -tiny) == 2
    assert ulps_between(0.0, -0.0) == 0
    assert not compare_logits((0.0,), (-0.0,)).same_bits
    assert float_bits(-2.0) == "c0000000"

"""Verdicts and bits, on numbers whose bits are known."""

import struct

from isobatch.page.verdict import compare, float_bits, plain_number, steps_between


def test_verdicts_in_words() -> None:
    assert compare((1.0, 2.0), (1.0, 2.0)).text == "same bits as alone"
    assert compare((1.0, 2.5), (1.0, 2.0)).text == "moved by 0.5 (2,097,152 steps of float32)"
    assert compare((3.0, 2.0), (1.0, 2.0)).text.endswith(", and the label flipped")
    smallest = struct.unpack(">f", bytes.fromhex("3f800001"))[0]
    assert compare((smallest,), (1.0,)).text == "moved by 0.00000012 (1 step of float32)"
    assert plain_number(0.000099) == "0.000099"
    assert plain_number(0.0056) == "0.0056"


def test_steps_count_float32_numbers_across_zero() -> None:
    tiny = struct.unpack(">f", bytes.fromhex("00000001"))[0]
    assert steps_between(tiny, -tiny) == 2
    assert steps_between(0.0, -0.0) == 0
    assert not compare((0.0,), (-0.0,)).same_bits
    assert float_bits(-2.0) == "c0000000"

"""The integers of QUIC."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.errors import WireError
from moq_relay.wire import varint

VALUES = st.one_of(st.integers(0, varint.MAX), st.sampled_from([63, 64, 16383, 16384, 2**30]))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("c2197c5eff14e88c", 151_288_809_941_952_652),
        ("9d7f3e7d", 494_878_333),
        ("7bbd", 15_293),
        ("25", 37),
    ],
)
def test_the_examples_of_rfc_9000_hold(raw, value):
    assert varint.encode(value).hex() == raw
    assert varint.decode(bytes.fromhex(raw), 0) == (value, len(raw) // 2)


@given(VALUES, st.binary(max_size=3), st.binary(max_size=3))
def test_a_varint_comes_back_from_wherever_it_stands(value, before, behind):
    raw = varint.encode(value)

    assert varint.decode(before + raw + behind, len(before)) == (value, len(before) + len(raw))


@given(VALUES)
def test_a_varint_cut_short_is_not_there_yet(value):
    raw = varint.encode(value)

    assert [varint.decode(raw[:end], 0) for end in range(len(raw))] == [None] * len(raw)


@given(VALUES)
def test_a_varint_takes_the_fewest_bytes(value):
    size = len(varint.encode(value))

    assert size == 1 or value >= 1 << (8 * size // 2 - 2)


@pytest.mark.parametrize("raw", ["4025", "80000025", "c000000000000025"])
def test_a_longer_form_than_needed_is_understood(raw):
    assert varint.decode(bytes.fromhex(raw), 0) == (37, len(raw) // 2)


@pytest.mark.parametrize("value", [-1, varint.MAX + 1])
def test_a_value_that_does_not_fit_is_refused(value):
    with pytest.raises(WireError):
        varint.encode(value)

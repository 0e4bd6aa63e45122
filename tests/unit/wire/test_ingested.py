"""Times that nodes tell each other beside a link, out of any cut of the stream."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moq_relay.errors import WireError
from moq_relay.wire import ingested, varint
from moq_relay.wire.ingested import Ingested

NUMBER = st.one_of(st.integers(0, 100), st.integers(0, varint.MAX))
MESSAGE = st.builds(Ingested, NUMBER, NUMBER, NUMBER, NUMBER)

quick = settings(max_examples=100, deadline=None)


@quick
@given(st.lists(MESSAGE, max_size=5))
def test_messages_come_back_one_after_the_other(messages):
    raw = b"".join(map(ingested.encode, messages))
    found, at = [], 0

    while (read := ingested.parse(raw, at)) is not None:
        message, at = read
        found.append(message)

    assert (found, at) == (messages, len(raw))


@quick
@given(MESSAGE)
def test_every_proper_prefix_is_not_yet_a_message(message):
    raw = ingested.encode(message)

    assert [ingested.parse(raw[:end], 0) for end in range(len(raw))] == [None] * len(raw)
    assert len(raw) <= 1 + ingested.LONGEST


@quick
@given(st.binary(max_size=60))
def test_junk_is_a_wire_error_or_a_message_that_says_the_same_again(junk):
    try:
        read = ingested.parse(junk, 0)
    except WireError:
        return
    if read is not None:
        assert ingested.parse(ingested.encode(read[0]), 0)[0] == read[0]


def test_a_message_that_is_too_long_is_refused_by_its_length_alone():
    with pytest.raises(WireError, match="33 bytes announced, 32 allowed"):
        ingested.parse(b"\x21", 0)


def test_a_message_with_more_in_it_is_refused():
    with pytest.raises(WireError, match="1 bytes after the last field"):
        ingested.parse(b"\x05\x01\x02\x03\x04\x05", 0)


@pytest.mark.parametrize("number", [-1, varint.MAX + 1])
def test_a_number_that_does_not_fit_is_not_written(number):
    with pytest.raises(WireError):
        ingested.encode(Ingested(0, 0, number, 0))


def test_the_bytes_are_these():
    raw = ingested.encode(Ingested(3, 70, 1_000_000, 2500))

    assert raw.hex() == "09" + "03" + "4046" + "800f4240" + "49c4"

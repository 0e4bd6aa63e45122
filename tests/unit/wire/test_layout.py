"""Tables that cannot work fail where they are written."""

from dataclasses import dataclass

import pytest

from moq_relay.errors import WireError
from moq_relay.wire.fields import string, uint
from moq_relay.wire.layout import Layout, Length
from moq_relay.wire.lite.messages import Announce, Group
from moq_relay.wire.lite.versions import LITE_06
from moq_relay.wire.version import Features, Slot, after, first


@dataclass(frozen=True)
class Note:
    text: str
    size: int = 0
    slot = Slot.GROUP


def test_a_layout_that_names_an_unknown_field_fails_where_it_is_written():
    with pytest.raises(TypeError, match="Note has no field 'txet'"):
        Layout(Note, string("txet"))


def test_a_layout_that_names_a_field_twice_fails_where_it_is_written():
    with pytest.raises(TypeError, match="twice"):
        Layout(Note, string("text"), string("text"))


def test_a_layout_without_a_field_that_has_no_default_fails_where_it_is_written():
    with pytest.raises(TypeError, match=r"Note\.text has no default"):
        Layout(Note, uint("size"))


def test_two_messages_of_one_slot_need_types_to_tell_them_apart():
    with pytest.raises(TypeError, match="cannot be told"):
        first(
            "one",
            Layout(Group, uint("subscribe"), uint("sequence")),
            Layout(Note, string("text")),
            features=Features(),
        )


def test_a_version_cannot_drop_what_the_one_before_lacks():
    with pytest.raises(TypeError, match="moq-lite-06 has no Announce to drop"):
        after(LITE_06, "next", dropped=[Announce])


def test_a_length_that_does_not_fit_its_form_is_not_written():
    layout = Layout(Note, string("text"), length=Length.U16)

    with pytest.raises(WireError, match="u16"):
        layout.encode(Note("a" * 65_534))

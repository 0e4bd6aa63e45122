"""What SETUP says, by name."""

from moq_relay.wire.lite.messages import Role, Setup
from moq_relay.wire.lite.versions import LITE_05
from moq_relay.wire.version import Slot


def test_a_setup_says_what_it_was_made_of():
    setup = Setup.of(hop=9, path="/a?jwt=b", role=2, cost=0, probe=1)

    assert (setup.hop, setup.path, setup.cost, setup.probe) == (9, "/a?jwt=b", 0, 1)
    assert setup.role is Role.SUBSCRIBER


def test_an_empty_setup_says_the_defaults():
    setup = Setup.of()

    assert setup.parameters == ()
    assert (setup.hop, setup.path, setup.role, setup.cost, setup.probe) == (0, None, None, 1, 0)


def test_a_role_that_nobody_knows_is_both_directions():
    assert Setup.of(role=3).role is None


def test_a_parameter_that_nobody_knows_is_kept():
    setup = Setup(((0x7F, b"later"), (5, b"\x09")))

    message, _ = LITE_05.parse(Slot.SETUP, LITE_05.encode(setup), 0, 64)

    assert message == setup

"""What codes mean, in words."""

import pytest

from moq_relay.errors import ApplicationError, Internal, NotFound
from moq_relay.sessions.lite import codes


def test_every_code_has_a_meaning_of_its_own():
    told = [str(codes.error(code)) for code in set(codes.REQUEST_CODES.values())]

    assert not [text for text in told if "does not know" in text]
    assert len({text.partition(" (code ")[0] for text in told}) == len(told)


def test_an_error_says_who_said_it_what_it_means_and_its_code():
    error = codes.error(0x33, "node https://two.example/")

    assert isinstance(error, NotFound)
    assert str(error) == "node https://two.example/ says: no such track or group (code 0x33)"


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (0x2F, Internal, "the peer says: something that this relay does not know (code 0x2f)"),
        (0x4D, ApplicationError, "application code 77"),
    ],
)
def test_a_code_of_nobody_or_of_an_application_is_told_as_it_is(code, kind, text):
    error = codes.error(code)

    assert (type(error), str(error)) == (kind, text)

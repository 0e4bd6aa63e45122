"""What the public may do, by the URL it comes by."""

import pytest

from moq_relay.daemon.auth import Authority
from moq_relay.daemon.config.values import Public
from moq_relay.errors import Unauthorized
from moq_relay.relay.access import Access

ALL = Public(("",), ("",))


@pytest.mark.parametrize("target", ["", "/", "/?jwt=", "/?a=b", "//"])
def test_without_a_path_the_root_is_everything(target):
    assert Authority(ALL).authorise(target) == Access("", ("",), ("",))


def test_the_path_is_the_root_and_no_right_reaches_above_it():
    access = Authority(ALL).authorise("/room/a/?x=y#z")

    assert access == Access("room/a", ("room/a",), ("room/a",))
    assert not access.may_subscribe("room/b")


def test_an_escaped_path_means_what_it_stands_for():
    assert Authority(ALL).authorise("/gr%C3%BCn").root == "grün"


def test_rights_are_the_public_prefixes_below_the_root():
    authority = Authority(Public(subscribe=("",), publish=("anon", "room/a/b", "other")))

    assert authority.authorise("/room") == Access("room", ("room/a/b",), ("room",))
    assert authority.authorise("/anon/me") == Access("anon/me", ("anon/me",), ("anon/me",))


@pytest.mark.parametrize(
    ("public", "target", "reason"),
    [
        (None, "/", "nothing below / is public"),
        (Public(), "/a", "nothing below /a is public"),
        (Public(("anon",), ("anon",)), "/anonymous", "nothing below /anonymous is public"),
        (ALL, "/%ff", "the path cannot be a root"),
        (ALL, "/a" * 33, "the path cannot be a root: a path has more than 32 segments"),
    ],
)
def test_who_has_no_right_at_all_is_refused(public, target, reason):
    with pytest.raises(Unauthorized, match=reason):
        Authority(public).authorise(target)


def test_nothing_configured_refuses_all():
    assert Authority(None).refuses_all
    assert Authority(Public()).refuses_all
    assert not Authority(Public(subscribe=("a",))).refuses_all

"""A token that was taken back, or is over, lets nobody in and ends who is there."""

import pytest

from moq_relay.cluster.revocations import FOREVER, Revocation, Revocations
from moq_relay.daemon.auth import Authority
from moq_relay.daemon.tokens.claims import digest
from moq_relay.daemon.tokens.standing import Standing
from moq_relay.errors import Unauthorized
from moq_relay.relay.access import Access, Holder
from moq_relay.wire.lite.versions import VERSIONS
from tests.support.node import node
from tests.unit.daemon.test_tokens import KEY, OneKey

NOW = 1_000.0


@pytest.fixture
def revocations():
    return Revocations(lambda: NOW)


def rights(standing, **claims):
    authority = Authority(None, keys=OneKey(KEY), standing=standing)
    return authority.authorise(f"/?jwt={KEY.sign(get='', **claims)}")


def test_a_token_that_was_taken_back_by_its_own_name_is_refused_and_no_other(revocations):
    standing = Standing(revocations)
    revocations.add(Revocation("jti", digest("one")))

    with pytest.raises(Unauthorized, match="taken back"):
        rights(standing, jti="one")

    for claims in ({"jti": "two"}, {"sub": "one"}, {}):
        assert rights(standing, **claims).subscribe == ("",)


@pytest.mark.parametrize(
    ("issued", "stands"), [(None, False), (99, False), (100, False), (100.5, True), (101, True)]
)
def test_of_a_subject_s_tokens_those_signed_by_then_are_refused(revocations, issued, stands):
    standing = Standing(revocations)
    revocations.add(Revocation("sub", digest("bob"), before=100))
    claims = {"sub": "bob"} | ({} if issued is None else {"iat": issued})

    if stands:
        assert rights(standing, **claims).subscribe == ("",)
    else:
        with pytest.raises(Unauthorized, match="taken back"):
            rights(standing, **claims)


@pytest.mark.parametrize(
    ("policy", "in_touch", "claims", "refused"),
    [
        ("open", False, {"jti": "a"}, False),
        ("closed", True, {"jti": "a"}, False),
        ("closed", False, {"jti": "a"}, True),
        ("closed", False, {"sub": "a"}, True),
        ("closed", False, {}, False),
    ],
)
def test_while_nobody_knows_what_was_taken_back_the_policy_says_who_gets_in(
    revocations, policy, in_touch, claims, refused
):
    standing = Standing(revocations, policy, lambda: in_touch)

    if refused:
        with pytest.raises(Unauthorized, match="is not known now; come again"):
            rights(standing, **claims)
    else:
        assert rights(standing, **claims).subscribe == ("",)


def test_what_is_known_to_be_taken_back_is_refused_by_either_policy(revocations):
    revocations.add(Revocation("jti", digest("a")))

    for policy in ("open", "closed"):
        with pytest.raises(Unauthorized, match="taken back"):
            rights(Standing(revocations, policy, lambda: False), jti="a")


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_a_session_ends_when_its_token_does_and_no_other_ends(version):
    ends = {"/a": 100.0, "/b": 200.0, "/c": None}
    standing = Standing(Revocations(lambda: NOW))
    async with node(access=lambda target: Access(expires=ends[target])) as relay:
        peers = {}
        for target in ends:
            peers[target] = (await relay.publisher(version, f"of{target}", target=target)).peer

        standing.end(relay.host.sessions, 99.9)
        assert not any(peer.close for peer in peers.values())
        standing.end(relay.host.sessions, 100.0)

        await peers["/a"].was_closed()
        assert peers["/a"].close == (2, "the token has expired")
        for target in ("/b", "/c"):
            await peers[target].round_trip()
        assert relay.counters.sessions_refused["unauthorized"] == 0
        assert standing.ended == {"expired": 1}


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_a_session_ends_when_its_token_is_taken_back_and_no_other_ends(version, revocations):
    holders = {
        "/a": Holder(token=digest("a")),
        "/b": Holder(subject=digest("s"), issued=5.0),
        "/c": Holder(token=digest("c"), subject=digest("s"), issued=7.0),
        "/d": Holder(),
    }
    standing = Standing(revocations)
    async with node(access=lambda target: Access(holder=holders[target])) as relay:
        peers = {}
        for target in holders:
            peers[target] = (await relay.publisher(version, f"of{target}", target=target)).peer
        standing.end(relay.host.sessions, NOW)
        assert not any(peer.close for peer in peers.values())

        revocations.add(Revocation("jti", digest("a"), until=FOREVER))
        revocations.add(Revocation("sub", digest("s"), before=6))
        for _ in range(2):  # who has not gone yet is not counted again
            standing.end(relay.host.sessions, NOW)

        for target in ("/a", "/b"):
            await peers[target].was_closed()
            assert peers[target].close == (2, "the token was taken back")
        for target in ("/c", "/d"):
            await peers[target].round_trip()
        assert standing.ended == {"revoked": 2}

"""The end of a token is the end of its session."""

import pytest

from moq_relay.daemon.expiry import end_expired
from moq_relay.relay.access import Access
from moq_relay.wire.lite.versions import VERSIONS
from tests.support.node import node


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_a_session_ends_when_its_token_does_and_no_other_ends(version):
    ends = {"/a": 100.0, "/b": 200.0, "/c": None}
    async with node(access=lambda target: Access(expires=ends[target])) as relay:
        peers = {}
        for target in ends:
            peers[target] = (await relay.publisher(version, f"of{target}", target=target)).peer

        end_expired(relay.host.sessions, 99.9)
        assert not any(peer.close for peer in peers.values())
        end_expired(relay.host.sessions, 100.0)

        await peers["/a"].was_closed()
        assert peers["/a"].close == (2, "the token has expired")
        for target in ("/b", "/c"):
            await peers[target].round_trip()
        assert relay.counters.sessions_refused["unauthorized"] == 0
